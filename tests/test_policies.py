"""Policies, by property: never too much, never the wrong pilot, never idle for nothing."""

from hypothesis import given
from hypothesis import strategies as st

from pilotcut.tasks.policies import PATIENCE_S, POLICIES, PilotView, TaskView, eager, longest_first

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
        alone=st.booleans(),
    ),
    unique_by=lambda task: task.id,
    max_size=12,
)
policies_strategy = st.sampled_from(list(POLICIES.values()))


@given(policies_strategy, tasks_strategy, pilots_strategy, st.floats(0, 4 * PATIENCE_S))
def test_no_policy_binds_a_task_twice_or_where_it_does_not_fit(choose, tasks, pilots, now):
    bound = choose(tasks, pilots, now)
    by_id, room = {task.id: task for task in tasks}, {pilot.name: pilot for pilot in pilots}
    assert len({number for number, _ in bound}) == len(bound)
    for number, name in bound:
        assert room[name].has_room(by_id[number])
        room[name] = room[name].holding(by_id[number])
    for pilot in room.values():
        assert min(pilot.free, pilot.prefetch, pilot.gpus_free) >= 0


@given(policies_strategy, tasks_strategy, pilots_strategy)
def test_no_task_is_left_that_still_fits_somewhere(choose, tasks, pilots):
    bound = choose(tasks, pilots, 0.0)
    by_id, room = {task.id: task for task in tasks}, {pilot.name: pilot for pilot in pilots}
    # In the order of binding: whether a task takes a slot or waits in line depends on it.
    for number, name in bound:
        room[name] = room[name].holding(by_id[number])
    left = [task for task in tasks if task.id not in dict(bound)]
    assert not any(pilot.has_room(task) for task in left for pilot in room.values())


@given(policies_strategy, tasks_strategy, pilots_strategy)
def test_a_choice_depends_on_its_arguments_alone(choose, tasks, pilots):
    assert choose(tasks, pilots, 1.0) == choose(list(tasks), list(pilots), 1.0)


def test_eager_keeps_the_order_and_longest_first_does_not():
    tasks = [TaskView(1, cost_s=1.0), TaskView(2), TaskView(3, cost_s=5.0)]
    pilots = [PilotView("a", 2, 2)]
    assert [number for number, _ in eager(tasks, pilots, 0)] == [1, 2]
    assert [number for number, _ in longest_first(tasks, pilots, 0)] == [3, 1]


def test_a_free_slot_is_taken_before_a_place_in_line():
    pilots = [PilotView("busy", 2, 0, prefetch=2), PilotView("free", 1, 1)]
    assert eager([TaskView(1)], pilots, 0) == [(1, "free")]


def test_a_task_as_wide_as_the_pilot_is_not_overtaken_for_ever():
    wide, narrow = TaskView(1, cores=2, ready_s=0.0), TaskView(2, ready_s=0.0)
    half_free = [PilotView("a", slots=2, free=1)]
    assert eager([wide, narrow], half_free, now=0.0) == [(2, "a")]
    assert eager([wide, narrow], half_free, now=PATIENCE_S + 1) == []
