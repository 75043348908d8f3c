"""Load of elastic pilots: what of the ready work is theirs, and what runs on them."""

import time

import pytest

from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.pilots.elastic_pilots import members_of
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.resources import make_pilot
from pilotcut.tasks.load import UNKNOWN_S, Unguessed, loads, pilot_names
from pilotcut.tasks.ready_queue import ReadyQueue
from pilotcut.tasks.runtime_estimates import PilotRates
from pilotcut.tasks.slot_accounting import SlotAccount
from pilotcut.tasks.snapshots import TaskView
from pilotcut.tasks.task_record import TaskRecord

RATES = PilotRates()


def elastic(name="e", most=2, **fields):
    rule = ElasticDescription(most=most, wait_s=10.0)
    entry = {"name": name, "resource": "local", "workers_per_node": 4, "elastic": rule}
    return list(members_of([PilotDescription(**entry | fields)]))


def accounts(*described, active=()):
    found = {d.name: SlotAccount(make_pilot(d), RATES) for d in described}
    for name in active:
        found[name].pilot.move(PilotState.ACTIVE)
    return found


def load_of(tasks, known, entry="e", unguessed=None):
    found = loads(ReadyQueue(tasks), known.values(), unguessed or Unguessed(), time.time())
    return found.get(entry)


def reserve(account, number, cost_s=None, age_s=0.0):
    record = TaskRecord("t", TaskView(number, cost_s=cost_s), max, (), {}, ("", ""), 0, 0, 0)
    account.reserve(record, time.time() - age_s)


def test_ready_work_is_in_slots_that_do_it_in_time_and_a_long_task_is_one():
    tasks = [TaskView(1, cost_s=2.0), TaskView(2, cost_s=3.0), TaskView(3, cost_s=500.0)]
    load = load_of(tasks, accounts(*elastic()))
    assert load.ready_slots == pytest.approx(0.2 + 0.3 + 1.0)
    assert load.longest_s == pytest.approx(600.0)


def test_a_task_as_wide_as_most_of_a_pilot_takes_all_of_it():
    load = load_of([TaskView(1, cores=3, cost_s=50.0)], accounts(*elastic()))
    assert load.ready_slots == pytest.approx(4.0)


def test_tasks_without_a_guess_take_what_others_took():
    tasks, known, unguessed = [TaskView(1), TaskView(2)], accounts(*elastic()), Unguessed()
    assert load_of(tasks, known, unguessed=unguessed).ready_slots == pytest.approx(
        2 * UNKNOWN_S / 10
    )
    for run_s in (3.0, 5.0):
        unguessed.add(run_s)
    assert load_of(tasks, known, unguessed=unguessed).ready_slots == pytest.approx(0.8)


def test_where_none_has_ended_they_take_as_long_as_others_have_run():
    known = accounts(*elastic(), active=["e-0"])
    reserve(known["e-0"], 1, age_s=7.0)
    load = load_of([TaskView(2)], known)
    assert load.ready_slots == pytest.approx(0.7, abs=0.01)


def test_what_other_pilots_do_in_time_is_not_theirs():
    fixed = PilotDescription(name="fixed", resource="local", workers_per_node=2)
    tasks = [TaskView(k, cost_s=10.0) for k in range(5)]
    assert load_of(tasks, accounts(fixed, *elastic())).ready_slots == pytest.approx(5.0)
    known = accounts(fixed, *elastic(), active=["fixed"])
    assert load_of(tasks, known).ready_slots == pytest.approx(3.0)
    pinned = [TaskView(k, cost_s=10.0, pilots=frozenset({"e-0", "e-1"})) for k in range(5)]
    assert load_of(pinned, known).ready_slots == pytest.approx(5.0)


def test_tasks_that_cannot_run_there_ask_for_nothing():
    known = accounts(*elastic(resource="slurm", walltime="00:01:00"))
    assert load_of([TaskView(1, gpus=1)], known).ready_slots == 0.0
    assert load_of([TaskView(1, cost_s=55.0)], known).ready_slots == 0.0
    assert load_of([TaskView(1, cost_s=45.0)], known).ready_slots == 1.0


def test_of_two_entries_the_first_has_the_work_until_it_is_full():
    known = accounts(*elastic("a", most=1), *elastic("b"))
    wide = [TaskView(k, cores=k, cost_s=100.0) for k in (1, 2, 4)]
    assert load_of(wide, known, "a").ready_slots == pytest.approx(1 + 2 + 4)
    assert load_of(wide, known, "b").ready_slots == 0.0
    more = [*wide, TaskView(9, cores=3, cost_s=100.0)]
    assert load_of(more, known, "b").ready_slots == pytest.approx(4.0)


def test_taken_slots_are_held_as_long_as_their_tasks_take_and_late_ones_as_long_again():
    known = accounts(*elastic(), active=["e-0"])
    reserve(known["e-0"], 1, cost_s=6.0, age_s=2.0)
    reserve(known["e-0"], 2, cost_s=1.0, age_s=30.0)
    load = load_of([], known)
    assert load.busy == {"e-0": 2}
    assert load.held["e-0"] == pytest.approx(0.4 + 1.0, abs=0.01)


def test_the_name_of_an_entry_is_that_of_all_its_pilots():
    known = accounts(*elastic())
    assert pilot_names("e", known) == ("e-0", "e-1")
    assert pilot_names(["e-1", "x"], known) == ("e-1", "x")
    assert pilot_names(None, known) is None


def test_a_task_that_names_one_of_them_pins_it():
    load = load_of([TaskView(1, pilots=frozenset({"e-1"}))], accounts(*elastic()))
    assert load.pinned == {"e-1"}
