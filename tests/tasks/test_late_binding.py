"""Late binding in virtual time: the policies that `TaskManager` runs, without a cluster."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_pilots import lower_bound_s, preemptive_bound_s, simulate

from pilotcut.tasks.policies import POLICIES, Batched, Staggered
from pilotcut.tasks.snapshots import PilotView, TaskView

TASKS = 5_000
EQUAL, DOUBLE, EIGHTFOLD = (1.0,) * 4, (1.0, 1.0, 2.0, 2.0), (1.0, 2.0, 4.0, 8.0)
ODD = (0.3, 0.9, 1.0, 1.7, 2.9, 3.1, 3.6, 4.0)


def heavy_tailed(seed, count=TASKS, sigma=1.0):
    """Tasks whose longest is 40 times the median."""
    costs = np.random.default_rng(seed).lognormal(0.0, sigma, count)
    return [TaskView(i, cost_s=float(cost)) for i, cost in enumerate(costs)]


def power_law(seed, count=TASKS):
    """Tasks whose longest is 100 times the shortest."""
    costs = 0.5 * (1.0 + np.random.default_rng(seed).pareto(2.0, count))
    return [TaskView(i, cost_s=float(cost)) for i, cost in enumerate(costs)]


def equally_long(seed, count=TASKS):
    return [TaskView(i, cost_s=1.0) for i in range(count)]


def some_pilots(slots, rates, prefetch=0):
    """Pilots with `slots` in all, shared out evenly."""
    counts = [len(range(at, slots, len(rates))) for at in range(len(rates))]
    return [
        PilotView(f"pilot-{at}", count, count, prefetch * count, rate=rate)
        for at, (rate, count) in enumerate(zip(rates, counts, strict=True))
        if count
    ]


# -- how long it takes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "rates", "tasks", "seed", "prefetch"),
    [
        (1, EQUAL, heavy_tailed, 0, 0),
        (2, DOUBLE, heavy_tailed, 1, 1),
        (4, EIGHTFOLD, power_law, 2, 0),
        (16, EIGHTFOLD, heavy_tailed, 3, 1),
        (64, ODD, power_law, 4, 1),
        (256, EQUAL, equally_long, 5, 0),
        (256, DOUBLE, equally_long, 7, 0),
        (256, EIGHTFOLD, heavy_tailed, 8, 0),
        (256, EIGHTFOLD, heavy_tailed, 9, 1),
        (256, ODD, power_law, 11, 1),
    ],
)
def test_cost_aware_is_within_5_percent_of_the_lower_bound(slots, rates, tasks, seed, prefetch):
    count = TASKS if slots > 64 else TASKS // 4
    many, pilots = tasks(seed, count), some_pilots(slots, rates, prefetch)
    played = simulate(many, pilots, "cost_aware")
    assert sorted(run.task.id for run in played.runs) == list(range(count))
    assert played.makespan_s <= 1.05 * lower_bound_s(many, pilots)
    # A decision that sorts all that is ready takes 10 to 40 ms, and this 0.05 ms.
    assert played.policy_s / count < 1e-3


@pytest.mark.parametrize("policy", ["eager", "longest_first"])
def test_policies_that_ignore_rates_take_half_as_long_again(policy):
    tasks, pilots = heavy_tailed(0), some_pilots(256, EIGHTFOLD)
    assert simulate(tasks, pilots, policy).makespan_s > 1.5 * lower_bound_s(tasks, pilots)


def test_guesses_off_by_a_third_cost_less_than_a_tenth():
    truth, pilots = heavy_tailed(0, 3_000), some_pilots(64, EIGHTFOLD, 1)
    error = np.exp(np.random.default_rng(1).normal(0.0, 0.3, len(truth)))
    told = [TaskView(t.id, cost_s=t.cost_s * float(error[t.id])) for t in truth]
    played = simulate(
        told, pilots, "cost_aware", run_s=lambda task, pilot: truth[task.id].cost_s / pilot.rate
    )
    assert played.makespan_s < 1.1 * lower_bound_s(truth, pilots)


def list_scheduling_s(tasks, pilots):
    """The textbook's makespan: longest first, each where it ends earliest."""
    rates = [pilot.rate for pilot in pilots for _ in range(pilot.slots)]
    free_s = [0.0] * len(rates)
    for task in sorted(tasks, key=lambda task: -task.cost_s):
        ends = [free + task.cost_s / rate for free, rate in zip(free_s, rates, strict=True)]
        best = ends.index(min(ends))
        free_s[best] = ends[best]
    return max(free_s)


@pytest.mark.parametrize("seed", range(150))
def test_few_tasks_take_no_longer_than_by_list_scheduling(seed):
    rng = np.random.default_rng(seed)
    count = int(np.exp(rng.uniform(0, 5)))
    costs = [rng.lognormal(0, 1, count), rng.uniform(0.5, 2, count), rng.choice([1, 2, 5], count)]
    tasks = [TaskView(i, cost_s=float(cost)) for i, cost in enumerate(costs[seed % 3])]
    pilots = [
        PilotView(f"p{i}", slots, slots, int(rng.integers(2)) * slots, rate=float(rate))
        for i, (slots, rate) in enumerate(
            zip(rng.integers(1, 9, 4).tolist(), rng.choice([0.25, 0.5, 1, 2, 8], 4), strict=True)
        )
    ]
    makespan_s = simulate(tasks, pilots, "cost_aware").makespan_s
    # In 6,000 draws it was 8 % longer at most, and 7 % shorter at most.
    assert makespan_s <= 1.1 * list_scheduling_s(tasks, pilots)
    assert makespan_s >= preemptive_bound_s(tasks, pilots) * (1 - 1e-9)


def test_tasks_that_can_run_on_one_pilot_alone_go_there_first():
    pinned = [TaskView(i, cost_s=1.0, pilots=frozenset({"a"})) for i in range(100)]
    free = [TaskView(i, cost_s=1.0) for i in range(100, 200)]
    pilots = [PilotView("a", 2, 2), PilotView("b", 2, 2)]
    assert simulate([*free, *pinned], pilots, "eager").makespan_s > 60
    assert simulate([*free, *pinned], pilots, "cost_aware").makespan_s == pytest.approx(50)


def test_costs_by_pilot_are_worth_telling():
    rng = np.random.default_rng(0)
    factors = rng.choice([0.5, 10.0], 400)  # the GPU's gain, by the fragment's width
    costs = rng.lognormal(0, 0.3, 400)
    told = [
        TaskView(i, costs={"cpu": float(cost), "gpu": float(cost / factor)})
        for i, (cost, factor) in enumerate(zip(costs, factors, strict=True))
    ]
    pilots = [PilotView("cpu", 16, 16), PilotView("gpu", 2, 2)]
    aware = simulate(told, pilots, "cost_aware").makespan_s
    # Each where it is fast, spread without remainder; moving some would gain a little.
    split_s = max(costs[factors < 1].sum() / 16, (costs / factors)[factors > 1].sum() / 2)
    assert aware < 1.1 * split_s
    assert simulate(told, pilots, "eager").makespan_s > 1.5 * aware


# -- what every policy keeps to ------------------------------------------------------------

NAMES = ("a", "b", "c")
tasks_strategy = st.lists(
    st.builds(
        TaskView,
        id=st.integers(0, 1000),
        cores=st.integers(1, 2),
        gpus=st.integers(0, 1),
        pilots=st.none() | st.frozensets(st.sampled_from(NAMES), min_size=1),
        cost_s=st.none() | st.floats(0, 10),
        ready_s=st.floats(0, 10),
        group=st.none() | st.sampled_from("AB"),
        costs=st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(0.01, 10)),
    ),
    unique_by=lambda task: task.id,
    max_size=25,
)
pilots_strategy = st.lists(
    st.builds(
        lambda name, slots, prefetch, gpus, rate, ends_s: PilotView(
            name,
            slots,
            slots,
            slots * prefetch,
            gpus_per_slot=gpus,
            gpus_free=slots * gpus,
            rate=rate,
            ends_s=ends_s,
        ),
        st.sampled_from(NAMES),
        st.integers(1, 4),
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from([0.5, 1.0, 4.0]),
        st.none() | st.floats(1, 30),
    ),
    unique_by=lambda pilot: pilot.name,
    min_size=1,
    max_size=3,
)
policies_strategy = st.sampled_from([*POLICIES.values(), Batched(3, 1.0), Staggered(0.0)])


def most_at_once(runs, weight):
    """The largest sum of `weight(task)` over runs that overlap."""
    changes = sorted(
        change
        for run in runs
        for change in ((run.started_s, weight(run.task)), (run.ended_s, -weight(run.task)))
        if run.ended_s > run.started_s
    )
    return max(np.cumsum([by for _, by in changes]), default=0)


@settings(max_examples=100, deadline=None)
@given(policies_strategy, tasks_strategy, pilots_strategy)
def test_what_a_task_needs_is_there_wherever_it_runs(policy, tasks, pilots):
    # `simulate` itself refuses what is bound twice or without room.
    played = simulate(tasks, pilots, policy)
    by_name = {pilot.name: pilot for pilot in pilots}
    for run in played.runs:
        assert by_name[run.pilot].suits(run.task)
        assert run.task.ready_s <= run.bound_s <= run.started_s <= run.ended_s
    for pilot in pilots:
        here = [run for run in played.runs if run.pilot == pilot.name]
        assert most_at_once(here, lambda task: task.cores) <= pilot.slots
        assert most_at_once(here, lambda task: task.gpus) <= pilot.slots * pilot.gpus_per_slot


@settings(max_examples=100, deadline=None)
@given(policies_strategy, tasks_strategy, pilots_strategy)
def test_every_task_ends_once_or_waits_for_a_pilot_that_lasts(policy, tasks, pilots):
    played = simulate(tasks, pilots, policy)
    ended = [run.task.id for run in played.runs if not run.lost]
    waiting = [task.id for task in played.waiting]
    assert sorted(ended + waiting) == sorted(task.id for task in tasks)
    for task in played.waiting:
        assert all(not p.suits(task) or p.ends_s is not None for p in pilots)


@settings(max_examples=100, deadline=None)
@given(policies_strategy, tasks_strategy, pilots_strategy)
def test_no_task_of_known_cost_is_lost_to_the_walltime(policy, tasks, pilots):
    known = [
        TaskView(t.id, t.cores, t.gpus, t.pilots, t.cost_s or 1.0, t.ready_s, group=t.group)
        for t in tasks
    ]
    assert not any(run.lost for run in simulate(known, pilots, policy).runs)


def test_a_task_of_unknown_cost_is_lost_with_its_pilot_and_runs_elsewhere():
    pilots = [PilotView("a", 1, 1, ends_s=5.0), PilotView("b", 1, 1)]
    tasks = [TaskView(i) for i in range(2)]
    played = simulate(tasks, pilots, "cost_aware", run_s=lambda task, pilot: 10.0)
    assert [(run.pilot, run.ended_s, run.lost) for run in played.runs] == [
        ("a", 5.0, True),
        ("b", 10.0, False),
        ("b", 20.0, False),
    ]


# -- batches and groups over time ------------------------------------------------------------


def test_batches_gather_for_as_long_as_they_may():
    tasks = [TaskView(i, cost_s=0.01, ready_s=0.1 * i) for i in range(10)]
    played = simulate(tasks, [PilotView("a", 8, 8)], Batched(size=4, delay_s=1.0))
    bound = {run.task.id: run.bound_s for run in played.runs}
    assert [round(bound[i], 9) for i in range(10)] == [0.3] * 4 + [0.7] * 4 + [1.8] * 2


def test_groups_start_apart():
    tasks = [TaskView(i, cost_s=0.01, group="ABC"[i % 3]) for i in range(9)]
    played = simulate(tasks, [PilotView("a", 16, 16)], Staggered(0.5))
    bound = {run.task.id: run.bound_s for run in played.runs}
    assert [bound[i] for i in range(9)] == [0.0, 0.5, 1.0] * 3


def test_a_policy_that_binds_without_room_is_refused():
    tasks = [TaskView(i, cost_s=1.0) for i in range(2)]
    with pytest.raises(ValueError, match="task 1 was bound to pilot 'a', which has no room"):
        simulate(tasks, [PilotView("a", 1, 1)], lambda ready, pilots, now: [(0, "a"), (1, "a")])


def test_bounds_of_an_easy_case():
    tasks = [TaskView(0, cost_s=6.0), TaskView(1, cost_s=6.0)]
    pilots = [PilotView("slow", 4, 4), PilotView("fast", 1, 1, rate=2.0)]
    assert lower_bound_s(tasks, pilots) == 3.0
    assert math.isclose(preemptive_bound_s(tasks, pilots), 4.0)
