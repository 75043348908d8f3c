"""Core-seconds that pilots held and tasks used, from the records of a run."""

import pytest

from pilotcut.pilots.usage import usage_of


def pilot(time, state, name="p", cores=4):
    return {"event": "pilot", "time": time, "pilot": name, "state": state, "cores": cores}


def task(state, started, finished, number=1):
    run = {"started": started, "finished": finished, "cores": 2}
    return {"event": "task", "time": finished, "id": number, "pilot": "p", "state": state, **run}


def test_a_pilot_holds_cores_from_its_start_and_not_while_it_waits():
    usage = usage_of(
        [pilot(0.0, "pending"), pilot(10.0, "starting"), pilot(12.0, "active"), pilot(20.0, "done")]
    )
    assert usage.allocated_core_s(50.0) == 40.0


def test_pilots_that_follow_each_other_under_one_name_are_added_and_one_that_runs_counts_on():
    first = [pilot(0.0, "active"), pilot(10.0, "failed")]
    usage = usage_of([*first, pilot(20.0, "active")])
    assert usage.allocated_core_s(25.0) == 60.0


def test_one_that_never_came_holds_nothing():
    assert usage_of([pilot(0.0, "pending"), pilot(9.0, "canceled")]).in_words(9.0) == ""


def test_each_run_of_a_task_counts_once():
    raised = task("bound", 1.0, 2.0)
    again = task("done", 3.0, 5.0)
    assert usage_of([raised, again]).used_core_s == 6.0
    assert usage_of([raised, task("failed", 1.0, 2.0)]).used_core_s == 2.0


def test_tasks_of_other_programs_and_records_of_nothing_are_no_trouble():
    told = [{"event": "usage", "used": {"p": core_s}} for core_s in (3.0, 7.0)]  # all until then
    usage = usage_of([task("done", 1.0, 2.0), *told, {"event": "note"}, {}])
    assert usage.used_core_s == pytest.approx(9.0)
