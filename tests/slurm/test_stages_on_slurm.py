"""Stages of a graph whose pilots are Slurm jobs: these come and go with them."""

import time

import pytest

from pilotcut.pilots import PilotManager
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import pilot_events, slurm_pilot, times_done
from .testbed import wait_until

pytestmark = pytest.mark.slurm

RULE = ElasticDescription(most=1, wait_s=1.0, done_s=1.0)


def nap(seconds, *before):
    time.sleep(seconds)
    return seconds


def jobs_of(name):
    """Return the states of a pilot's jobs."""
    command = ("squeue", "--noheader", "--states=all", "--format=%T %j")
    lines = [line.split() for line in testbed.slurm(*command).splitlines()]
    return [state for state, called in lines if called.startswith(f"pilotcut-{name}-")]


def test_each_stage_has_a_job_of_its_own_while_it_lasts(cluster, tmp_path):
    run_dir = tmp_path / "run"
    described = [
        slurm_pilot("encoding", groups=("encode",), elastic=RULE),
        slurm_pilot("learning", queue="gpu", groups=("learn",), elastic=RULE),
    ]
    with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        encode, learn = tasks.stage("encode"), tasks.stage("learn")
        states = [encode.submit_task(nap, 0.2) for _ in range(6)]
        model = learn.submit_task(nap, 0.3, states)
        wait_until(lambda: all(state.done() for state in states))
        assert model.result(testbed.PATIENCE_S) == 0.3
        assert {state.task.pilot for state in states} == {"encoding-0"}
        assert model.task.pilot == "learning-0"
        wait_until(lambda: jobs_of("encoding") == jobs_of("learning") == ["CANCELLED"])
    assert set(times_done(run_dir).values()) == {1}
    asked = {e["pilot"]: e["time"] for e in reversed(events(run_dir)) if e["state"] == "pending"}
    assert asked["learning-0"] > max(state.task.finished for state in states) - 1.0


def events(run_dir):
    return pilot_events(run_dir, "encoding-0") + pilot_events(run_dir, "learning-0")


def test_a_stage_whose_job_waits_says_so_and_leaves_the_queue_when_it_is_canceled(
    cluster, tmp_path
):
    described = [
        slurm_pilot("pair", nodes=2, groups=("encode",), elastic=RULE),
        slurm_pilot("plain"),  # has one of the two nodes, so that there is no pair
    ]
    with PilotManager(described, run_dir=tmp_path / "run") as pilots, TaskManager(pilots) as tasks:
        assert tasks.submit_task(nap, 0.1).result(testbed.PATIENCE_S) == 0.1
        first = tasks.stage("encode").submit_task(nap, 0.1)
        last = tasks.submit_task(nap, 0.1, first)
        wait_until(lambda: "pilot 'pair-0' is pending" in first.explain())
        assert "waits for 1 task" in last.explain()
        assert first.cancel()
        assert "it was canceled" in str(last.exception(testbed.PATIENCE_S))
        wait_until(lambda: jobs_of("pair") == ["CANCELLED"])
        assert tasks.submit_task(nap, 0.1).result(testbed.PATIENCE_S) == 0.1
