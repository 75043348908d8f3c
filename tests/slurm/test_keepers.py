"""A job outlives the keeper that has submitted it, and the next one takes it over."""

import os
import signal
import time
from collections import Counter

import psutil
import pytest

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots import PilotState, daemon, registry
from pilotcut.pilots.agent import keepers
from pilotcut.tasks import wait

from . import testbed
from .testbed import wait_until

pytestmark = pytest.mark.slurm

PILOTS = "pilots: [{name: p, resource: slurm, queue: cpu, cores_per_node: 2, walltime: '00:10:00'}]"


@pytest.fixture
def up(cluster, tmp_path, monkeypatch):
    """Return the run directory of a pilot that is up; a script would find it."""
    (tmp_path / "pilots.yaml").write_text(PILOTS)
    run_dir = tmp_path / "run"
    monkeypatch.setenv("PILOTCUT_CONNECTION", str(run_dir / "connection.json"))
    before = set(testbed.jobs())
    daemon.up(run_dir, tmp_path / "pilots.yaml")
    yield run_dir
    if keepers.alive(run_dir) or (run_dir / "connection.json").exists():
        daemon.down(run_dir)
    wait_until(lambda: set(testbed.jobs()) <= before)


def scheduler(run_dir):
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "agent.main scheduler" in line and str(run_dir) in line:
            return process
    raise AssertionError("no scheduler")


def end_both(run_dir):
    keeper = keepers.alive(run_dir)
    os.kill(keeper.pid, signal.SIGSTOP)  # it would start another scheduler
    scheduler(run_dir).kill()
    keeper.kill()
    wait_until(lambda: keepers.alive(run_dir) is None)


def entry(run_dir):
    (only,) = registry.read(run_dir / "pilots.json")
    return only


def test_a_job_is_kept_whoever_of_its_managers_dies(up, tmp_path):
    """First the keeper, then all there is: one job all along, and every task done."""
    diary, run_dir = tmp_path / "diary", up
    first = entry(run_dir).job
    before = set(testbed.jobs())
    assert first["number"] in before

    def work(number):
        with open(diary, "ab", buffering=0) as file:
            file.write(f"{number}\n".encode())
        time.sleep(0.2)
        return number**2

    with PilotManager.from_environment() as pilots, TaskManager(pilots, duplicates=False) as tasks:

        def submit():
            return [tasks.submit_task(work, k) for k in range(20)]

        def are_right(futures):
            return not wait(futures, 90).not_done and [f.result() for f in futures] == squares

        squares = [k**2 for k in range(20)]
        futures = submit()
        futures[1].result(60)
        keeper = keepers.alive(run_dir)
        keeper.kill()
        assert are_right(futures)
        assert Counter(diary.read_text().split()) == Counter(map(str, range(20)))
        wait_until(lambda: (now := keepers.alive(run_dir)) is not None and now.pid != keeper.pid)
        wait_until(lambda: entry(run_dir).state is PilotState.ACTIVE)
        assert entry(run_dir).job == first
        futures = submit()
        futures[1].result(60)
        end_both(run_dir)
        daemon.up(run_dir, tmp_path / "pilots.yaml")
        assert are_right(futures)
    assert entry(run_dir).job == first
    assert set(testbed.jobs()) == before
    end_both(run_dir)
    daemon.down(run_dir)
    wait_until(lambda: testbed.state_of(first["number"]) == "CANCELLED")
