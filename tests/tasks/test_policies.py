"""Policies, by property: never too much, never the wrong pilot, never idle for nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotcut.errors import UserError
from pilotcut.tasks.explain import explain
from pilotcut.tasks.policies import (
    POLICIES,
    Batched,
    Staggered,
    as_policy,
    cost_aware,
    eager,
    longest_first,
    name_of,
)
from pilotcut.tasks.policy_base import PATIENCE_S, wake_s
from pilotcut.tasks.ready_queue import ReadyQueue
from pilotcut.tasks.snapshots import (
    WALLTIME_MARGIN,
    PilotView,
    TaskView,
    by_length,
    by_submission,
    when_free,
)

NAMES = ("a", "b", "c")

pilots_strategy = st.lists(
    st.builds(
        lambda name, slots, busy, prefetch, cores, gpus, gpus_busy: PilotView(
            name,
            slots,
            max(0, slots - busy),
            prefetch,
            cores,
            min(gpus, 1),
            max(0, gpus - gpus_busy),
        ),
        st.sampled_from(NAMES),
        st.integers(1, 4),
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(1, 2),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    unique_by=lambda pilot: pilot.name,
    max_size=3,
)
tasks_strategy = st.lists(
    st.builds(
        TaskView,
        id=st.integers(0, 1000),
        cores=st.integers(1, 4),
        gpus=st.integers(0, 1),
        pilots=st.none() | st.frozensets(st.sampled_from(NAMES), min_size=1),
        cost_s=st.none() | st.floats(0, 10),
        ready_s=st.floats(0, 2 * PATIENCE_S),
        isolated=st.booleans(),
        group=st.none() | st.sampled_from("AB"),
        costs=st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(0.01, 10)),
    ),
    unique_by=lambda task: task.id,
    max_size=12,
)
policies_strategy = st.sampled_from([*POLICIES.values(), Batched(3, 1.0), Staggered(0.0)])


@st.composite
def rated_pilots(draw):
    """Pilots with all that `cost_aware` looks at."""
    rated = []
    for pilot in draw(pilots_strategy):
        busy = draw(st.lists(st.floats(-2, 30), max_size=pilot.slots - pilot.free))
        rated.append(
            PilotView(
                pilot.name,
                pilot.slots,
                pilot.free,
                pilot.prefetch,
                pilot.cores_per_slot,
                pilot.gpus_per_slot,
                pilot.gpus_free,
                rate=draw(st.sampled_from([0.5, 1.0, 4.0])),
                ends_s=draw(st.none() | st.floats(0, 40)),
                free_at_s=tuple(sorted([*busy, *draw(st.just([]) | st.just([float("inf")]))])),
                last_bound_s=draw(st.none() | st.floats(0, 20)),
                last_group=draw(st.none() | st.sampled_from("AB")),
            )
        )
    return rated


any_pilots = pilots_strategy | rated_pilots()


@given(policies_strategy, tasks_strategy, any_pilots, st.floats(0, 4 * PATIENCE_S))
def test_no_policy_binds_a_task_twice_or_where_it_does_not_fit(choose, tasks, pilots, now):
    bound = choose(tasks, pilots, now)
    by_id, room = {task.id: task for task in tasks}, {pilot.name: pilot for pilot in pilots}
    assert len({number for number, _ in bound}) == len(bound)
    for number, name in bound:
        assert room[name].has_room(by_id[number])
        room[name] = room[name].holding(by_id[number])
    for pilot in room.values():
        assert min(pilot.free, pilot.prefetch, pilot.gpus_free) >= 0


@given(policies_strategy, tasks_strategy, rated_pilots(), st.floats(0, 4 * PATIENCE_S))
def test_no_policy_binds_a_task_to_a_pilot_that_ends_before_it(choose, tasks, pilots, now):
    by_id, by_name = {task.id: task for task in tasks}, {pilot.name: pilot for pilot in pilots}
    for number, name in choose(tasks, pilots, now):
        cost_s, ends_s = by_name[name].cost_s(by_id[number]), by_name[name].ends_s
        assert ends_s is None or now + WALLTIME_MARGIN * (cost_s or 0.0) <= ends_s + 1e-9


# Those that wait on purpose have their own tests.
@given(st.sampled_from([eager, longest_first]), tasks_strategy, pilots_strategy)
def test_no_task_is_left_that_still_fits_somewhere(choose, tasks, pilots):
    bound = choose(tasks, pilots, 0.0)
    by_id, room = {task.id: task for task in tasks}, {pilot.name: pilot for pilot in pilots}
    # In the order of binding: whether a task takes a slot or waits in line depends on it.
    for number, name in bound:
        room[name] = room[name].holding(by_id[number])
    left = [task for task in tasks if task.id not in dict(bound)]
    assert not any(pilot.has_room(task) for task in left for pilot in room.values())


@given(tasks_strategy, pilots_strategy)
def test_cost_aware_leaves_no_slot_idle_among_pilots_of_one_rate(tasks, pilots):
    tasks = [TaskView(t.id, t.cores, t.gpus, t.pilots, t.cost_s, 0.0, t.isolated) for t in tasks]
    bound = cost_aware(tasks, pilots, 0.0)
    by_id, room = {task.id: task for task in tasks}, {pilot.name: pilot for pilot in pilots}
    for number, name in bound:
        room[name] = room[name].holding(by_id[number])
    left = [task for task in tasks if task.id not in dict(bound)]
    idle = [pilot for pilot in room.values() if pilot.free > 0]
    assert not any(p.has_room(task) and p.width(task) <= p.free for task in left for p in idle)


@given(policies_strategy, tasks_strategy, any_pilots)
def test_a_choice_depends_on_its_arguments_alone(choose, tasks, pilots):
    assert choose(tasks, pilots, 1.0) == choose(list(tasks), list(pilots), 1.0)


@given(policies_strategy, tasks_strategy, any_pilots, st.floats(0, 4 * PATIENCE_S))
def test_a_ready_queue_and_a_list_give_the_same_choice(choose, tasks, pilots, now):
    queue = ReadyQueue(tasks)
    before = list(queue)
    assert choose(queue, pilots, now) == choose(tasks, pilots, now)
    assert choose(queue, pilots, now) == choose(tasks, pilots, now)  # sorted already
    assert list(queue) == before


def test_eager_keeps_the_order_and_longest_first_does_not():
    tasks = [TaskView(1, cost_s=1.0), TaskView(2), TaskView(3, cost_s=5.0)]
    pilots = [PilotView("a", 2, 2)]
    assert [number for number, _ in eager(tasks, pilots, 0)] == [1, 2]
    assert [number for number, _ in longest_first(tasks, pilots, 0)] == [3, 1]


def test_a_free_slot_is_taken_before_a_place_in_line():
    pilots = [PilotView("busy", 2, 0, prefetch=2), PilotView("free", 1, 1)]
    assert eager([TaskView(1)], pilots, 0) == [(1, "free")]
    assert cost_aware([TaskView(1)], pilots, 0) == [(1, "free")]


@pytest.mark.parametrize("choose", [eager, longest_first, cost_aware])
@pytest.mark.parametrize("ready", [list, ReadyQueue])
def test_a_task_as_wide_as_the_pilot_is_not_overtaken_for_ever(choose, ready):
    wide, narrow = TaskView(1, cores=2, ready_s=0.0), TaskView(2, ready_s=0.0)
    half_free = [PilotView("a", slots=2, free=1)]
    assert choose(ready([wide, narrow]), half_free, PATIENCE_S - 1) == [(2, "a")]
    assert choose(ready([wide, narrow]), half_free, PATIENCE_S + 1) == []


# -- the ready queue ---------------------------------------------------------------------


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["last", "first", "remove"]), tasks_strategy), max_size=8)
)
def test_a_ready_queue_is_a_list_that_stays_sorted(steps):
    queue, model = ReadyQueue(), []
    for step, tasks in steps:
        for task in tasks:
            known = next((other for other in model if other.id == task.id), None)
            if step == "remove" and known:
                assert queue.remove(task.id) == known
                model.remove(known)
            elif step != "remove" and not known:
                queue.add(task, first=step == "first")
                model.insert(0 if step == "first" else len(model), task)
        lines = queue.lines(by_length).values()
        assert sum(line.length_s for line in lines) == pytest.approx(sum(t.length_s for t in model))
        for line in lines:
            expected = sorted((t for t in model if t.needs == line.tasks[0].needs), key=by_length)
            assert line.tasks == expected
            assert line.lengths == [task.length_s for task in expected]
    assert list(queue) == model
    assert list(reversed(queue)) == model[::-1]
    assert len(queue) == len(model)
    assert queue[1:3] == model[1:3]
    assert all(queue.find(task.id) == task for task in model)
    assert queue.find(-1) is None


def test_grouped_lines_hold_one_group_each():
    queue = ReadyQueue([TaskView(1, group="A"), TaskView(2, group="B"), TaskView(3, group="A")])
    lines = queue.lines(by_submission, grouped=True).values()
    assert [[task.id for task in line.tasks] for line in lines] == [[1, 3], [2]]


# -- batches and groups ------------------------------------------------------------------


def test_a_batch_is_bound_when_it_is_full_or_has_waited():
    choose, free = Batched(size=3, delay_s=1.0), [PilotView("a", 8, 8)]
    two = [TaskView(1, ready_s=0.0), TaskView(2, ready_s=0.5)]
    assert choose(two, free, 0.6) == []
    assert wake_s(choose, two, free, 0.6) == 1.0
    assert len(choose(two, free, 1.0)) == 2
    assert len(choose([*two, TaskView(3, ready_s=0.6)], free, 0.6)) == 3


def test_the_rest_of_a_batch_does_not_wait_for_the_next():
    choose = Batched(size=3, delay_s=1.0)
    rest, fresh = TaskView(3, ready_s=0.0), TaskView(4, ready_s=0.3)
    pilots = [PilotView("a", 2, 2, last_bound_s=0.2)]
    assert choose([rest, fresh], pilots, 0.4) == [(3, "a")]
    assert wake_s(choose, [rest, fresh], pilots, 0.4) == pytest.approx(1.3)


def test_a_task_that_lost_its_worker_waits_for_no_batch():
    assert Batched()([TaskView(1, isolated=True)], [PilotView("a", 1, 1)], 0.0) == [(1, "a")]


def test_groups_are_bound_one_after_the_other_and_spaced():
    choose = Staggered(spacing_s=1.0)
    tasks = [TaskView(1, group="A"), TaskView(2, group="B"), TaskView(3, group="A")]
    assert choose(tasks, [PilotView("a", 8, 8)], 0.0) == [(1, "a"), (3, "a")]
    after = [PilotView("a", 8, 6, last_bound_s=0.0, last_group="A")]
    assert choose(tasks[1:2], after, 0.9) == []
    assert wake_s(choose, tasks[1:2], after, 0.9) == 1.0
    assert choose(tasks[1:2], after, 1.0) == [(2, "a")]
    # More of the group whose turn it is need not wait.
    assert choose([*tasks[1:2], TaskView(4, group="A")], after, 0.5) == [(4, "a")]


def test_a_group_without_room_holds_up_no_other():
    tasks = [TaskView(1, group="A", pilots=frozenset("b")), TaskView(2, group="B")]
    pilots = [PilotView("a", 1, 1), PilotView("b", 1, 0)]
    assert Staggered(1.0)(tasks, pilots, 0.0) == [(2, "a")]


def test_eager_is_not_asked_again_for_nothing():
    assert wake_s(eager, [TaskView(1)], [PilotView("a", 1, 0)], 0.0) is None


# -- costs -------------------------------------------------------------------------------


def test_a_task_waits_for_a_fast_pilot_only_if_it_ends_earlier_there():
    slow, fast = PilotView("slow", 1, 1), PilotView("fast", 1, 0, rate=4.0, free_at_s=(10.0,))
    assert cost_aware([TaskView(1, cost_s=20.0)], [slow, fast], 0.0) == []
    assert cost_aware([TaskView(1, cost_s=10.0)], [slow, fast], 0.0) == [(1, "slow")]
    assert cost_aware([TaskView(1)], [slow, fast], 0.0) == [(1, "slow")]


def test_a_slow_slot_takes_the_longest_task_that_it_ends_in_time():
    tasks = [TaskView(1, cost_s=2.0), TaskView(2, cost_s=16.0), TaskView(3, cost_s=3.0)]
    pilots = [PilotView("slow", 1, 1), PilotView("fast", 1, 1, rate=4.0)]
    assert cost_aware(tasks, pilots, 0.0) == [(2, "fast"), (3, "slow")]


def test_a_slot_that_is_late_is_not_waited_for_for_ever():
    task = TaskView(1, cost_s=8.0)
    pilots = [PilotView("slow", 1, 1), PilotView("fast", 1, 0, rate=8.0, free_at_s=(1.0,))]
    assert cost_aware([task], pilots, 2.0) == []
    assert cost_aware([task], pilots, 20.0) == [(1, "slow")]


def test_costs_by_pilot_send_each_task_where_it_is_fast():
    wide = [TaskView(i, costs={"cpu": 20.0, "gpu": 1.0}) for i in range(2)]
    narrow = [TaskView(i, costs={"cpu": 1.0, "gpu": 3.0}) for i in range(2, 4)]
    pilots = [PilotView("cpu", 2, 2), PilotView("gpu", 2, 2)]
    bound = cost_aware([*wide, *narrow], pilots, 0.0)
    assert dict(bound) == {0: "gpu", 1: "gpu", 2: "cpu", 3: "cpu"}


def test_a_pilot_near_its_end_takes_what_it_can_still_finish():
    ending = PilotView("a", 2, 2, ends_s=100.0)
    tasks = [TaskView(1, cost_s=50.0), TaskView(2, cost_s=10.0)]
    for choose in (eager, longest_first, cost_aware):
        assert choose(tasks, [ending], 80.0) == [(2, "a")]
        both = [ending, PilotView("b", 1, 1)]
        assert sorted(choose(tasks, both, 80.0)) == [(1, "b"), (2, "a")]


def test_nobody_waits_for_a_fast_pilot_that_ends_too_soon():
    slow = PilotView("slow", 1, 1)
    fast = PilotView("fast", 4, 4, rate=8.0, ends_s=100.0)
    many = [TaskView(i, cost_s=700.0) for i in range(20)]
    assert cost_aware(many, [slow, fast], 0.0) == [(0, "slow")]
    # With time for two rounds on the fast one, nothing is gained on the slow one.
    assert cost_aware(many[:8], [slow, fast], -500.0) == [(i, "fast") for i in range(4)]


def test_when_slots_are_free_again():
    assert when_free([3.0, 5.0, 4.0], []) == (3.0, 4.0, 5.0)
    assert when_free([3.0, 5.0], [1.0, 4.0]) == (5.0, 8.0)
    assert when_free([], []) == ()
    assert when_free([3.0, float("inf")], [1.0]) == (4.0, float("inf"))


# -- names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("eager", eager),
        ("longest-first", longest_first),
        ("cost-aware", cost_aware),
        ("batched", Batched()),
        ("batched:size=8", Batched(size=8)),
        ("batched: size = 8 , delay_s = 1e-1", Batched(8, 0.1)),
        ("staggered:spacing_s=2", Staggered(2.0)),
    ],
)
def test_policies_have_names_and_options(text, policy):
    assert as_policy(text) == policy
    assert as_policy(as_policy(text)) == policy
    assert as_policy(name_of(policy)) == policy


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("bached", "policy is 'bached', expected one of 'eager', .*; did you mean 'batched'?"),
        ("batched:sise=8", "policy 'batched': option is 'sise', expected size and delay_s; did"),
        ("batched:size=x", "policy 'batched': size is 'x', expected a whole number"),
        ("batched:size=0", "policy 'batched': size is 0, expected a whole number from 1 up"),
        ("batched:8", "policy 'batched': option is '8', expected NAME=VALUE, where names are size"),
        ("batched:delay_s=nan", "delay_s is nan, expected a number from 0 up"),
        ("staggered:spacing_s=-1", "spacing_s is -1.0, expected a number from 0 up"),
        ("eager:size=1", "policy 'eager': option is 'size', expected none"),
    ],
)
def test_a_wrong_name_or_option_is_told_in_one_line(text, fault):
    with pytest.raises(UserError, match=fault) as caught:
        as_policy(text)
    assert len(caught.value.faults) == 1


def test_a_callable_of_the_users_keeps_its_name():
    def mine(ready, pilots, now):
        return []

    assert as_policy(mine) is mine
    assert name_of(mine).endswith("mine")
    assert name_of(cost_aware) == "cost_aware"


# -- why a task waits ----------------------------------------------------------------------

T1 = TaskView(1, cost_s=8.0)


@pytest.mark.parametrize(
    ("task", "pilots", "policy", "line"),
    [
        (T1, [], "eager", "no pilot is active"),
        (
            TaskView(1, pilots=frozenset({"b"})),
            [PilotView("a", 1, 1)],
            "eager",
            "no active pilot suits it: it may run on 'b' alone, active is 'a'",
        ),
        (
            TaskView(1, gpus=2),
            [PilotView("a", 1, 1, gpus_per_slot=1, gpus_free=1)],
            "eager",
            "no active pilot suits it: needs 2 GPUs, a worker of pilot 'a' has 1 GPU",
        ),
        (
            TaskView(1, pilots=frozenset({"b"})),
            [PilotView("a", 1, 1), PilotView("b", 4, 0)],
            "eager",
            "only pilot 'b' can run it; all 4 slots of pilot 'b' are taken; 1 task before it",
        ),
        (
            TaskView(1, cores=3),
            [PilotView("a", 4, 2)],
            "eager",
            "needs 3 slots at a time, pilot 'a' has 2 free; 1 task before it",
        ),
        (
            TaskView(1, cost_s=120.0),
            [PilotView("b", 4, 4, ends_s=40.0)],
            "eager",
            "walltime left on pilot 'b' is 40 s, the task takes 120 s (20% kept in reserve)",
        ),
        (
            T1,
            [PilotView("a", 4, 4)],
            "batched:size=64,delay_s=5",
            "policy 'batched:size=64,delay_s=5.0': waits for a batch of 64, 2 there, "
            "for 5 s more at most",
        ),
        (
            TaskView(1, group="B"),
            [PilotView("a", 4, 4, last_bound_s=0.0, last_group="A")],
            "staggered:spacing_s=3",
            "policy 'staggered:spacing_s=3.0': waits for its group's turn: the next begins 3 s "
            "after the last of group 'A', in 3 s at the earliest",
        ),
        (
            T1,
            [PilotView("slow", 1, 1), PilotView("fast", 1, 0, rate=8.0, free_at_s=(2.0,))],
            "cost_aware",
            "policy 'cost_aware': ends earlier on pilot 'fast': in 3 s although that is busy for "
            "2 s, and in 8 s on pilot 'slow', which is free",
        ),
        (
            T1,
            [PilotView("a", 1, 0)],
            "longest_first",
            "the slot of pilot 'a' is taken; it is the next in line",
        ),
        (
            T1,
            [PilotView("a", 4, 4)],
            "eager",
            "it is bound next: policy 'eager' has just chosen it",
        ),
    ],
)
def test_why_a_task_waits(task, pilots, policy, line):
    ready = [TaskView(0, cost_s=1.0, group="A"), task]
    assert explain(task, ready, pilots, 0.0, policy) == line
