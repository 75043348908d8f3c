"""Pilots that follow the load, in virtual time: no clock, no process."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.elastic_play import play

from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.pilots.elastic import (
    Change,
    Member,
    Needed,
    PilotLoad,
    decide,
    slots_needed,
    together,
)

RULE = ElasticDescription(most=8)


def members(*standings, slots=2, left_s=math.inf):
    return [Member(f"p-{k}", slots, one, left_s) for k, one in enumerate(standings)]


def decided(load, *standings, rule=RULE, most=0.0, **fields):
    there = members(*standings, **fields)
    needed = Needed()
    needed.add(0.0, most, rule.idle_s)
    needed.add(1.0, slots_needed(there, load), rule.idle_s)
    return decide(rule, there, load, needed, 1.0)


def test_a_task_without_any_pilot_has_one_asked_for_at_once():
    assert decided(PilotLoad(ready_slots=0.01), "standby", "standby").ask == ("p-0",)


def test_as_many_are_asked_for_as_the_work_fills_and_no_more_than_most():
    standby = ["standby"] * 8
    assert len(decided(PilotLoad(ready_slots=5.1), *standby).ask) == 3
    assert len(decided(PilotLoad(ready_slots=500.0), *standby).ask) == 8


def test_pilots_that_stand_in_a_queue_count_as_there():
    load = PilotLoad(ready_slots=4.0)
    assert decided(load, "pending", "pending", "standby") == Change()
    assert decided(load, "pending", "standby", "standby").ask == ("p-1",)


def test_work_that_the_slots_there_do_in_time_asks_for_nothing():
    busy = {"p-0": 2}
    soon_free = PilotLoad(ready_slots=1.0, busy=busy, held={"p-0": 0.5})
    assert decided(soon_free, "active", "standby") == Change()
    long_taken = PilotLoad(ready_slots=1.0, busy=busy, held={"p-0": 2.0})
    assert decided(long_taken, "active", "standby").ask == ("p-1",)


def test_a_pilot_whose_walltime_ends_before_the_work_does_not_count_as_there():
    load = PilotLoad(ready_slots=1.0, longest_s=60.0)
    assert decided(load, "active", "standby", left_s=61.0) == Change()
    assert decided(load, "active", "standby", left_s=59.0).ask == ("p-1",)


def test_what_was_needed_within_the_time_stays_and_the_rest_goes_the_idle_first():
    load = PilotLoad(busy={"p-0": 1})
    assert decided(load, "active", "active", "active", most=6.0) == Change()
    assert decided(load, "active", "active", "active").release == ("p-2", "p-1")


def test_pending_pilots_that_nothing_needs_are_canceled_and_active_ones_kept_for_longer():
    needed = Needed()
    needed.add(0.0, 6.0, RULE.idle_s)
    needed.add(61.0, 1.0, RULE.idle_s)
    there = members("active", "active", "pending")
    load = PilotLoad(busy={"p-0": 1})
    assert decide(RULE, there, load, needed, 61.0) == Change(cancel=("p-2",))


def test_the_least_are_there_whatever_the_load():
    rule = ElasticDescription(least=2, most=4)
    assert decided(PilotLoad(), "active", "standby", "standby", rule=rule).ask == ("p-1",)
    assert decided(PilotLoad(), "active", "active", "standby", rule=rule) == Change()


def test_a_pilot_that_a_task_names_is_asked_for_and_stays():
    pinned = PilotLoad(ready_slots=0.1, pinned=frozenset({"p-2"}))
    assert decided(pinned, "active", "standby", "standby").ask == ("p-2",)
    assert "p-2" not in decided(pinned, "active", "active", "active").release


def test_a_burst_has_all_pilots_which_are_gone_soon_after_it():
    tasks = [(0.0, 10.0)] * 160
    played = play(RULE, tasks)
    assert len(played.ended) == 160
    assert max(played.there) == 8
    last = max(end for end, _ in played.ended)
    assert last <= 160 * 10 / 16 + 3.0 + 1.0
    gone = max(when for when, _, kind in played.changes if kind == "release")
    assert RULE.idle_s <= gone - last <= RULE.idle_s + 10.0 + 1.0


@pytest.mark.parametrize("load", [0.3, 7.9, 12.0])
@pytest.mark.parametrize("seconds", [5.0, 40.0, 200.0])
def test_in_steady_load_no_pilot_changes_more_than_once_a_minute(load, seconds):
    """`load` slots of work are offered, by tasks that come at random and last at random."""
    rng = np.random.default_rng(0)
    count = rng.poisson(load * 1800 / seconds)
    costs = rng.exponential(seconds, count)
    tasks = list(zip(rng.uniform(0, 1800, count).tolist(), costs.tolist(), strict=True))
    played = play(RULE, tasks, start_s=5.0, until=1800.0)
    assert played.most_changes(300.0, 1800.0) <= 1


def test_an_even_load_changes_nothing_once_it_is_met():
    tasks = [(0.5 * k, 2.5) for k in range(3600)]  # five slots of work
    played = play(RULE, tasks, until=1800.0)
    assert [change for change in played.changes if change[0] > 300.0] == []
    assert played.there[-1] == 3


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0.1, 90)), min_size=1, max_size=40),
    st.integers(0, 2),
    st.integers(2, 5),
    st.floats(0.5, 40.0),
    st.sampled_from([math.inf, 150.0]),
    st.booleans(),
)
def test_whatever_the_load_all_is_done_within_the_bounds(tasks, least, most, start_s, wall, known):
    rule = ElasticDescription(least=least, most=most, idle_s=20.0, wait_s=10.0)
    played = play(rule, tasks, start_s=start_s, walltime_s=wall, known=known)
    assert sorted(cost for _, cost in played.ended) == sorted(cost for _, cost in tasks)
    assert all(there <= most for there in played.there)
    assert played.there[-1] <= least


def test_pilots_of_a_stage_go_soon_after_its_last_task_and_not_while_some_wait_for_others():
    rule = ElasticDescription(most=8, idle_s=60.0, done_s=5.0)
    there, needed = members("active", "active"), Needed()
    needed.add(0.0, 4.0, rule.idle_s)
    needed.add(6.0, 0.0, rule.idle_s)
    assert decide(rule, there, PilotLoad(left=3), needed, 6.0) == Change()
    assert decide(rule, there, PilotLoad(left=0), needed, 4.0) == Change()
    assert decide(rule, there, PilotLoad(left=0), needed, 6.0).release == ("p-1", "p-0")


def test_a_stage_is_done_once_no_program_has_a_task_of_it():
    assert together([PilotLoad(left=0), PilotLoad(left=2), PilotLoad()]).left == 2
    assert together([PilotLoad(), PilotLoad()]).left is None
