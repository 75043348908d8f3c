"""Stragglers: they are drawn as they should be, change no result, and are compared rightly."""

import time
from dataclasses import replace
from math import sqrt

import pytest

from pilotcut import PilotManager
from pilotcut.errors import UserError
from pilotcut.pilots.description import embedded
from pilotcut.study.slowdown import compare
from pilotcut.study.stragglers import (
    Condition,
    Injection,
    Setting,
    Straggling,
    Workload,
    conditions,
    measure,
)
from pilotcut.tasks import TaskManager, eager, wait
from pilotcut.tasks.runtime_estimates import LEAST_KNOWN

SMALL = Setting(delay_s=0.02, device_s=0.002, rows=4, shots=4096)


@pytest.fixture(scope="module")
def workload():
    return Workload.of(SMALL)


@pytest.fixture(scope="module")
def pilots():
    with PilotManager(embedded(3)) as manager:
        yield manager


# -- injection ---------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.2])
def test_as_many_runs_are_delayed_as_the_probability_says(probability):
    runs = 4000
    injection = Injection(probability, seed=5)
    for launch in (0, 1):
        found = sum(injection.delays(task, launch) for task in range(runs))
        deviation = sqrt(runs * probability * (1 - probability))
        assert abs(found - runs * probability) < 4 * deviation


def test_nobody_is_delayed_at_probability_0_and_everybody_at_1():
    assert not any(Injection(0.0).delays(task, 0) for task in range(100))
    assert all(Injection(1.0).delays(task, 0) for task in range(100))


def test_a_repetition_draws_the_same_and_another_launch_or_seed_draws_anew():
    def drawn(seed, launch):
        return [Injection(0.5, seed=seed).delays(task, launch) for task in range(200)]

    assert drawn(seed=1, launch=0) == drawn(seed=1, launch=0)
    others = [drawn(seed=1, launch=0), drawn(seed=1, launch=1), drawn(seed=2, launch=0)]
    for k, one in enumerate(others):
        for other in others[:k]:
            assert 50 < sum(a == b for a, b in zip(one, other, strict=True)) < 150


def test_who_is_delayed_at_a_low_probability_is_so_at_a_higher_one():
    low, high = Injection(0.05, seed=3), Injection(0.2, seed=3)
    assert all(high.delays(task, 0) for task in range(500) if low.delays(task, 0))


@pytest.mark.parametrize("mode", ["counts", "sampled", "exact"])
def test_stragglers_and_their_duplicates_change_no_bit_of_the_results(pilots, mode):
    workload = Workload.of(replace(SMALL, mode=mode, shots=256))
    alone = workload.evaluate(workload.estimator(None))
    with Straggling(pilots, Injection(0.5, delay_s=0.02, seed=1)) as tasks:
        found = workload.evaluate(workload.estimator(tasks))
        delayed = [one.delayed for one in tasks.drain()]
    assert found.tobytes() == alone.tobytes()
    assert delayed == [Injection(0.5, seed=1).delays(k, 0) for k in range(len(delayed))]


class FirstRunOf(Injection):
    """Delays the first run of one task, and no other run."""

    def delays(self, task, launch):
        return (task, launch) == (LEAST_KNOWN, 0)


@pytest.mark.parametrize("duplicates", [True, False])
def test_a_duplicate_of_a_straggler_draws_anew_and_wins(pilots, duplicates):
    with Straggling(pilots, FirstRunOf(1.0, delay_s=1.5), duplicates=duplicates) as tasks:
        wait([tasks.submit_task(time.sleep, 0.01) for _ in range(LEAST_KNOWN)])
        assert not any(one.delayed or one.won for one in tasks.drain())
        tasks.submit_task(time.sleep, 0.01).result(30)
        (slow,) = tasks.drain()
    assert (slow.delayed, slow.won, slow.launches) == (True, duplicates, 1 + duplicates)


def test_a_delay_does_not_count_as_work(pilots):
    with Straggling(pilots, Injection(1.0, delay_s=0.5, device_s=0.01)) as tasks:
        assert tasks.submit_task(pow, 2, 3, name="mine").result(30) == 8
        (ran,) = tasks.drain()
        assert tasks.drain() == []
    assert ran.ended - ran.submitted >= 0.5
    assert 0.01 <= ran.run_s < 0.4


def test_a_task_that_fails_still_fails_and_one_without_a_result_is_not_counted(pilots):
    with Straggling(pilots, Injection(1.0, delay_s=0.01)) as tasks:
        first = tasks.submit_task(pow, 2, "x")
        second = tasks.submit_task(pow, 2, 3, after=first)
        with pytest.raises(TypeError):
            first.result(30)
        assert second.exception(30) is not None
        assert len(tasks.drain()) == 1


def test_every_bundle_belongs_to_the_group_of_its_fragment(pilots, workload):
    seen = set()

    def watching(ready, views, now):
        seen.update(task.group for task in ready)
        return eager(ready, views, now)

    with TaskManager(pilots, policy=watching) as tasks:
        workload.evaluate(workload.estimator(tasks))
    assert seen == {fragment.label for fragment in workload.plan.fragments}


def test_what_cannot_be_injected_is_told_at_once():
    with pytest.raises(UserError) as caught:
        Injection(1.5, delay_s=-1.0, seed=-2, device_s=float("nan"))
    told = str(caught.value)
    for fault in ("probability is 1.5", "delay_s is -1.0", "seed is -2", "device_s is nan"):
        assert fault in told


# -- measuring ---------------------------------------------------------------------------


def test_a_round_measures_every_condition_once_on_the_same_draws(pilots, workload):
    cells = conditions(["eager", "staggered:spacing_s=0.001"], [0.0, 0.5])
    records = [measure(pilots, cell, workload, seed=4, batches=2) for cell in cells]
    named = {Condition(r["policy"], r["probability"], r["duplicates"]): r for r in records}
    assert named.keys() == set(cells)
    assert len({record["results"] for record in records}) == 1
    assert len({record["tasks"] for record in records}) == 1
    for condition, record in named.items():
        assert len(record["wall_s"]) == len(record["span_s"]) == 2
        assert all(a < b for a, b in zip(record["span_s"], record["wall_s"], strict=True))
        twin = named[replace(condition, policy="eager", duplicates=False)]
        assert record["delayed"] == twin["delayed"]
        assert (record["delayed"] > 0) is (condition.probability > 0)
        assert condition.duplicates or record["duplicated"] == record["won"] == 0
    assert {row.rounds for row in compare(records)} == {1}


def test_batches_must_be_some(pilots, workload):
    with pytest.raises(UserError, match="batches is 0, expected a whole number from 1 up"):
        measure(pilots, Condition("eager", 0.0, False), workload, seed=0, batches=0)


def test_a_mode_that_is_none_is_told_at_once():
    with pytest.raises(UserError, match="mode is 'count', expected one of counts"):
        Setting(mode="count")


# -- comparing ---------------------------------------------------------------------------


def record(probability, duplicates, span_s, seed=0, delayed=0, policy="eager", **other):
    """Two batches of 10 tasks of 20 ms on 4 slots."""
    shared = {"policy": policy, "probability": probability, "duplicates": duplicates}
    setting = {"delay_s": 0.1, "device_s": 0.02, "mode": "sampled", "qubits": 4}
    setting |= {"cuts": 2, "rows": 16, "shots": 1024, "slots": 4, "batches": 2}
    found = {"tasks": 20, "task_s": 0.02, "delayed": delayed, "duplicated": 0, "won": 0}
    spans = {"span_s": [span_s, span_s], "wall_s": [2 * span_s, 2 * span_s]}
    return shared | setting | {"seed": seed} | found | spans | other


def test_slowdown_bound_and_what_duplicates_removed_come_out_of_made_up_records():
    records = [
        record(0.0, False, 0.05),
        record(0.0, True, 0.051),
        record(0.1, False, 0.09, delayed=2),
        record(0.1, True, 0.08, delayed=2, duplicated=2, won=1),
    ]
    base, cost, without, with_ = compare(records[::-1])
    assert (base.slowdown, base.bound, base.over_one) == (1.0, 1.0, 0.0)
    assert cost.slowdown == pytest.approx(1.02)
    assert cost.removed is None
    assert without.slowdown == without.slowdown_of_wall == pytest.approx(1.8)
    assert without.bound == without.drawn == without.spread == pytest.approx(1.5)
    assert without.over_one == pytest.approx(0.8)
    assert without.over_bound == pytest.approx(0.3)
    assert without.removed is None
    assert with_.over_bound == pytest.approx(0.1)
    assert with_.removed == with_.removed_of_spread == pytest.approx(2 / 3)
    assert with_.removed_low is None  # of one round nobody knows
    assert (with_.tasks, with_.delayed, with_.duplicated, with_.won) == (10, 2, 2, 1)


def test_the_bound_knows_the_records_at_probability_0_alone():
    def bound(**changed):
        records = [record(0.0, False, 0.05), record(0.2, False, 0.1, delayed=4, **changed)]
        return compare(records)[1].bound

    assert bound() == bound(task_s=0.5) == bound(wall_s=[9.0, 9.0]) == pytest.approx(2.0)


def test_the_drawn_bound_counts_the_delays_that_there_were():
    row = compare([record(0.0, False, 0.05), record(0.1, False, 0.1, delayed=4)])[1]
    assert (row.bound, row.drawn) == (pytest.approx(1.5), pytest.approx(2.0))


def test_a_share_of_no_excess_is_none():
    records = [record(0.0, False, 0.05)]
    records += [record(0.1, duplicates, 0.06, delayed=2) for duplicates in (False, True)]
    assert compare(records)[-1].removed is None


def test_the_interval_of_rounds_that_agree_is_narrow_and_holds_the_share():
    records = []
    for seed in range(6):
        records += [record(0.0, False, 0.05, seed), record(0.1, False, 0.1, seed, delayed=2)]
        records.append(record(0.1, True, 0.085 + 0.001 * (seed % 2), seed, delayed=2))
    row = compare(records)[-1]
    assert row.removed_low <= row.removed <= row.removed_high
    assert row.removed_low > 0.5
    assert row.removed_high < 0.65


def test_a_cell_is_held_against_its_own_rounds():
    records = [record(0.0, False, 0.05, seed=0), record(0.0, False, 0.5, seed=1)]
    records.append(record(0.1, False, 0.1, seed=0, delayed=2))
    row = compare(records)[-1]
    assert (row.rounds, row.slowdown) == (1, pytest.approx(2.0))


def test_pooled_rows_are_about_all_policies_each_against_itself():
    records = []
    for policy, slow in (("eager", 1.0), ("batched", 2.0)):
        records.append(record(0.0, False, 0.05 * slow, policy=policy))
        for duplicates, span_s in ((False, 0.1), (True, 0.08)):
            own = {"policy": policy, "task_s": 0.02 * slow}
            records.append(record(0.1, duplicates, span_s * slow, delayed=2, **own))
    row = compare(records, pooled=True)[-1]
    assert (row.policy, row.rounds) == ("all", 2)
    assert row.slowdown == pytest.approx(1.6)
    assert row.removed == pytest.approx(0.8)
    assert compare(records)[-1].removed == pytest.approx(0.8)


def test_records_that_cannot_be_compared_say_why():
    with pytest.raises(UserError, match=r"no cell of policy 'eager' at probability 0 without"):
        compare([record(0.0, False, 0.05, seed=1), record(0.1, False, 0.1, seed=2)])
    with pytest.raises(UserError, match=r"records have slots 4 and 8, expected one setting"):
        compare([record(0.0, False, 0.05), record(0.1, False, 0.1, slots=8)])
