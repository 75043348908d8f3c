"""Stages with pilots of their own: they come when a stage is ready, and go when it is done."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.tasks import TaskManager

PATIENCE_S = 120.0


def nap(seconds, *before):
    time.sleep(seconds)
    return seconds


def stage(name, *groups):
    rule = ElasticDescription(most=1, done_s=0.5, wait_s=1.0)
    return PilotDescription(name=name, resource="local", groups=groups, elastic=rule)


def test_pilots_come_when_their_stage_is_ready_and_go_when_it_is_done(tmp_path):
    run_dir = tmp_path / "run"
    with (
        PilotManager([stage("p", "first"), stage("q", "second")], run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        first = [tasks.submit_task(nap, 0.1, group="first") for _ in range(4)]
        second = [tasks.submit_task(nap, 0.5, first, group="second") for _ in range(2)]
        ready = max(future.result(PATIENCE_S) and future.task.finished for future in first)
        assert [future.result(PATIENCE_S) for future in second] == [0.5] * 2
        done = max(future.task.finished for future in second)
        assert {future.task.pilot for future in first} == {"p-0"}
        assert {future.task.pilot for future in second} == {"q-0"}
    events = [e for e in read_jsonl(run_dir / "events.jsonl") if e["event"] == "pilot"]
    began = {name: _first(events, name, "starting", "active") for name in ("p-0", "q-0")}
    assert began["p-0"] < ready <= began["q-0"] + 0.5  # clocks of workers and of the manager
    released = [e for e in events if e["pilot"] == "p-0" and e["state"] == "done"]
    assert released[0]["reason"] == "released: not needed any more"
    assert released[0]["time"] < done


def test_pilots_that_stand_by_are_not_started_with_every_task_manager():
    ordinary = PilotDescription(name="ordinary", resource="local")
    with PilotManager([stage("p", "first"), ordinary]) as pilots:
        first = pilots._scheduler.pid
        for _ in range(2):
            with TaskManager(pilots) as tasks:
                assert tasks.submit_task(nap, 0.01).result(PATIENCE_S) == 0.01
        assert pilots._scheduler.pid == first
        assert tasks.pilots.pilots[0].state is PilotState.NEW


def test_task_managers_that_are_made_at_once_start_the_pilots_once():
    pilots, found = PilotManager([PilotDescription(name="ordinary", resource="local")]), []

    def run(number):
        with TaskManager(pilots) as tasks:
            found.append((tasks.submit_task(pow, 2, number).result(60), pilots._scheduler.pid))

    with contextlib.closing(pilots), ThreadPoolExecutor(2) as threads:
        list(threads.map(run, (3, 4)))
    assert sorted(result for result, _ in found) == [8, 16]
    assert len({scheduler for _, scheduler in found}) == 1


def _first(events, name, *states):
    return min(e["time"] for e in events if e["pilot"] == name and e["state"] in states)
