"""Pilots that follow the load, as elements of an array; jobs of which the first to start wins."""

import os
import time

import pytest

from pilotcut.pilots import PilotManager, PilotState
from pilotcut.pilots.description.elastic import ElasticDescription, SizeDescription
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import pilot_events, slurm_pilot, times_done
from .testbed import wait_until

pytestmark = pytest.mark.slurm


def nap(seconds):
    time.sleep(seconds)
    return seconds


def ours(name):
    """Return states of all jobs of a pilot, by what squeue calls them."""
    command = ("squeue", "--noheader", "--array", "--states=all", "--format=%i %T %j")
    lines = [line.split() for line in testbed.slurm(*command).splitlines()]
    return {job: state for job, state, called in lines if called.startswith(f"pilotcut-{name}-")}


def test_a_burst_is_an_array_whose_elements_come_and_go_and_nothing_is_lost(cluster, tmp_path):
    rule = ElasticDescription(most=3, idle_s=3.0, wait_s=1.0)
    described = slurm_pilot("swarm", elastic=rule, array=True)
    run_dir = tmp_path / "run"
    with (
        PilotManager([described], run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        futures = [tasks.submit_task(nap, 0.3, cost_s=0.3) for _ in range(40)]
        assert [future.result(testbed.PATIENCE_S) for future in futures] == [0.3] * 40
        wait_until(lambda: all(pilot.state is PilotState.NEW for pilot in pilots.pilots))
        jobs = ours("swarm")
        array = {job.partition("_")[0] for job in jobs}
        assert (len(jobs), len(array)) == (3, 1)
        wait_until(lambda: set(ours("swarm").values()) <= {"CANCELLED", "COMPLETED"})
        last = tasks.submit_task(nap, 0.1, pilot="swarm")
        assert last.result(testbed.PATIENCE_S) == 0.1
    assert set(times_done(run_dir).values()) == {1}
    states = [event["state"] for event in pilot_events(run_dir, "swarm-0")]
    # Of its first life: where the last task ran on another one, its second may end before it began.
    first = dict.fromkeys(states[: states.index("done") + 1])
    assert list(first) == ["pending", "starting", "active", "draining", "done"]
    assert pilots.usage.used_core_s < pilots.usage.allocated_core_s()


def test_the_size_that_fits_starts_and_the_one_that_waits_leaves_the_queue(cluster, tmp_path):
    sizes = (SizeDescription(nodes=3), SizeDescription(nodes=1))  # of two
    described = slurm_pilot("sized", sizes=sizes)
    with (
        PilotManager([described], run_dir=tmp_path / "run") as pilots,
        TaskManager(pilots) as tasks,
    ):
        assert tasks.submit_task(pow, 2, 5).result(testbed.PATIENCE_S) == 32
        (pilot,) = pilots.pilots
        assert (pilot.slots, pilot.description.nodes) == (1, 1)
        wait_until(lambda: sorted(ours("sized").values()) == ["CANCELLED", "RUNNING"])


def test_components_of_a_heterogeneous_job_start_together_each_as_a_pilot(cluster, tmp_path):
    described = [
        slurm_pilot("plain", hetjob="both"),
        slurm_pilot("pair", queue="gpu", nodes=2, hetjob="both"),
    ]
    with PilotManager(described, run_dir=tmp_path / "run") as pilots, TaskManager(pilots) as tasks:
        futures = [tasks.submit_task(os.getenv, "SLURMD_NODENAME", pilot="plain")]
        futures += [tasks.submit_task(os.getenv, "SLURMD_NODENAME", pilot="pair") for _ in range(4)]
        nodes = [future.result(testbed.PATIENCE_S) for future in futures]
        assert nodes[0].startswith("cpu")
        assert all(node.startswith("gpu") for node in nodes[1:])
        jobs = {pilot.name: pilot.job_id for pilot in pilots.pilots}
        assert jobs["pair"] == jobs["plain"].replace("+0", "+1")
    wait_until(lambda: set(ours("both").values()) <= {"CANCELLED", "COMPLETED"})
