"""Elastic pilots of this machine: they come with the work and go after it."""

import time

import pytest

from pilotcut.errors import PilotError
from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotManager, PilotState, registry
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.pilots.manager import RemoteManager
from pilotcut.pilots.usage import usage_of
from pilotcut.tasks import TaskManager

PATIENCE_S = 60.0


def elastic(**fields):
    rule = ElasticDescription(most=2, idle_s=2.0, wait_s=1.0)
    return PilotDescription(**{"name": "e", "resource": "local", "elastic": rule} | fields)


def wait_until(condition):
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def names(manager, *states):
    return {pilot.name for pilot in manager.pilots if pilot.state in states}


def nap(seconds):
    time.sleep(seconds)
    return seconds


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Return what was there over a burst, the pause after it, and a task of another program."""
    run_dir = tmp_path_factory.mktemp("elastic") / "run"
    seen = {}
    with PilotManager([elastic()], run_dir=run_dir) as pilots:
        seen["before"] = names(pilots, PilotState.NEW)
        with TaskManager(pilots) as tasks:
            futures = [tasks.submit_task(nap, 0.3, pilot="e") for _ in range(30)]
            seen["why"] = futures[-1].explain()
            wait_until(lambda: len(names(pilots, PilotState.ACTIVE)) == 2)
            seen["values"] = [future.result(PATIENCE_S) for future in futures]
        wait_until(lambda: len(names(pilots, PilotState.NEW)) == 2)
        # Both may end at once: what stands by then is listed for those who join.
        listed = run_dir / registry.FILE_NAME
        wait_until(lambda: sum(not entry.state.final for entry in registry.read(listed)) == 2)
        seen["events"] = read_jsonl(run_dir / "events.jsonl")
        other = RemoteManager(pilots.connection_file)
        with other, TaskManager(other) as tasks:
            seen["other"] = tasks.submit_task(nap, 0.5).result(PATIENCE_S)
            seen["by_other"] = other.usage.used_core_s
        seen["left"] = names(pilots, PilotState.ACTIVE)
    seen["usage"] = pilots.usage
    seen["all_events"] = read_jsonl(run_dir / "events.jsonl")
    return seen


def test_none_is_there_before_there_is_work_and_a_task_says_what_it_waits_for(played):
    assert played["before"] == {"e-0", "e-1"}
    assert "pilot 'e' is new (stands by" in played["why"] or "pilot 'e-0' is" in played["why"]


def test_a_burst_loses_nothing_and_all_go_after_it(played):
    assert played["values"] == [0.3] * 30
    ends = [e for e in played["events"] if e["event"] == "pilot" and e["state"] == "done"]
    assert {e["pilot"] for e in ends} == {"e-0", "e-1"}
    assert {e["reason"] for e in ends} == {"released: not needed any more"}
    lost = [e for e in played["events"] if e["event"] == "task" and "reason" in e]
    assert lost == []


def test_a_program_that_borrows_the_pilots_has_one_asked_for(played):
    assert played["other"] == 0.5
    assert len(played["left"]) == 1


def test_held_and_used_core_seconds_are_those_of_the_events_and_of_borrowers(played):
    usage, read = played["usage"], usage_of(played["all_events"])
    assert usage.allocated_core_s() == pytest.approx(read.allocated_core_s())
    assert usage.used_core_s == pytest.approx(read.used_core_s)
    assert read.used_core_s == pytest.approx(30 * 0.3 + played["by_other"], rel=0.2)
    assert read.used_core_s < read.allocated_core_s()


def test_where_none_can_start_tasks_fail_and_do_not_wait_for_ever():
    with (
        PilotManager([elastic(setup=["exit 3"])]) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(PilotError, match="3 failed in a row"),
    ):
        tasks.submit_task(nap, 0.1).result(PATIENCE_S)
