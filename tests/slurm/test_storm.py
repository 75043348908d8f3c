"""Whatever dies, and whatever Slurm's commands answer: each task has one result, the right one.

One seed is part of `make test`. Twenty:

    CHAOS_SEEDS=20 CHAOS_SECONDS=10 .venv/bin/python -m pytest tests/slurm/test_storm.py -s

CHAOS_FIRST names the first seed, to repeat one that failed.
"""

import os
import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from chaos.workload import Workload

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots import daemon, registry
from pilotcut.pilots.agent import keepers
from pilotcut.tasks import wait

from . import testbed
from .testbed import slurm, wait_until

pytestmark = pytest.mark.slurm

SEEDS = int(os.environ.get("CHAOS_SEEDS", 1))
FIRST = int(os.environ.get("CHAOS_FIRST", 0))
SECONDS = float(os.environ.get("CHAOS_SECONDS", 4))
TASKS = int(os.environ.get("CHAOS_TASKS", 100))

PILOTS = """
pilots:
  - {name: p, resource: slurm, queue: cpu, count: 2, cores_per_node: 2, walltime: '00:10:00',
     replace: true, most_replacements: 100}
"""
#: What happens, and how often compared with the others.
DISASTERS = {
    "kill a worker": 4,
    "cancel a job": 1,
    "kill the keeper": 2,
    "kill the scheduler": 1,
    "lose the connection": 2,
    "squeue fails": 2,
    "squeue is slow": 1,
    "squeue has a banner": 1,
    "sbatch fails": 2,
    "sbatch is slow": 1,
    "sbatch has a banner": 1,
}
#: Keepers are not started any more if they die too often.
MOST_KEEPERS = 4
PAUSE_S = 0.8
CALM_S = 120.0

#: A site's wrapper, in the mood that stands in a file; it fails once.
WRAPPER = """#!/bin/bash
mood=$(cat {home}/{name}.mood 2>/dev/null)
case $mood in
    fails) rm -f {home}/{name}.mood
           echo "{name}: error: Unable to contact slurm controller (connect failure)" >&2; exit 1;;
    slow) sleep 2;;
    banner) echo "Welcome to Cluster4"; {real} "$@"; code=$?; echo "6 jobs run"; exit $code;;
esac
exec {real} "$@"
"""


class Storm:
    """A thread that has things go wrong."""

    def __init__(self, run_dir, site, pilots, seed):
        self.happened = Counter()
        self._run_dir, self._site, self._pilots = run_dir, site, pilots
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.abate()

    def abate(self):
        self._over.set()
        self._thread.join()
        for mood in self._site.glob("*.mood"):
            mood.unlink(missing_ok=True)

    def _rage(self):
        while not self._over.wait(self._rng.expovariate(1 / PAUSE_S)):
            (what,) = self._rng.choices(list(DISASTERS), DISASTERS.values())
            if self._do(what):
                self.happened[what] += 1

    def _do(self, what):
        command, _, mood = what.partition(" ")
        if command in ("squeue", "sbatch"):
            (self._site / f"{command}.mood").write_text(mood.split()[-1])
            return True
        return getattr(
            self, "_" + what.replace(" the ", " ").replace(" a ", " ").replace(" ", "_")
        )()

    def _kill_worker(self):
        agents = processes(self._run_dir, "agent.main node")
        workers = [w for agent in agents for w in below(agent) if "spawn_main" in command_of(w)]
        return bool(workers) and end(self._rng.choice(workers))

    def _cancel_job(self):
        jobs = [entry.job["number"] for entry in entries(self._run_dir) if not entry.state.final]
        if len(jobs) > 1:
            slurm("scancel", self._rng.choice(jobs))
        return len(jobs) > 1

    def _may_kill_keeper(self):
        return self.happened["kill the keeper"] + self.happened["kill the scheduler"] < MOST_KEEPERS

    def _kill_keeper(self):
        keeper = keepers.alive(self._run_dir)
        # Both at once are not started again by each other: that is a test of its own.
        there = processes(self._run_dir, "agent.main scheduler")
        return bool(keeper and there) and self._may_kill_keeper() and end(keeper)

    def _kill_scheduler(self):
        found = processes(self._run_dir, "agent.main scheduler")
        is_kept = (self._run_dir / "keeper.ready").exists() and keepers.alive(self._run_dir)
        return bool(found and is_kept) and self._may_kill_keeper() and end(found[0])

    def _lose_connection(self):
        link = self._pilots.scheduler
        if not link.is_alive:
            return False
        link.client.loop.add_callback(link.client.scheduler_comm.comm.abort)
        return True


def processes(run_dir, words):
    return [
        process
        for process in psutil.process_iter()
        if words in (line := command_of(process)) and str(run_dir) in line
    ]


def below(process):
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def command_of(process):
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def end(process):
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def entries(run_dir):
    return [entry for entry in registry.read(run_dir / "pilots.json") if entry.job]


@pytest.fixture
def site(cluster, tmp_path, monkeypatch):
    """Wrappers of a site around Slurm's commands; their moods are files there."""
    home = tmp_path / "site"
    home.mkdir()
    for name in ("sbatch", "squeue"):
        path = home / name
        path.write_text(WRAPPER.format(home=home, name=name, real=shutil.which(name)))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    # Workers must find what the tests send them.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    return home


@pytest.mark.timeout(300 + 3 * SECONDS)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_task_has_one_result_and_the_right_one(seed, site, tmp_path, monkeypatch):
    before, run_dir = set(testbed.jobs()), tmp_path / "run"
    (tmp_path / "pilots.yaml").write_text(PILOTS)
    daemon.up(run_dir, tmp_path / "pilots.yaml")
    monkeypatch.setenv("PILOTCUT_CONNECTION", str(run_dir / "connection.json"))
    load = Workload(TASKS, random.Random(seed), tmp_path / "diary")
    try:
        with (
            PilotManager.from_environment() as pilots,
            Storm(run_dir, site, pilots, seed) as storm,
            TaskManager(pilots, most_preemptions=100) as tasks,
        ):
            load.submit_over(tasks, SECONDS)
            storm.abate()
            calm = time.monotonic()
            left = wait(load.futures, CALM_S).not_done
            calm = time.monotonic() - calm
            if left:
                tasks.close(wait=False)
            assert left == set()
        runs = Counter(map(int, load.diary.read_text().split()))
        print(
            f"\nseed {seed}: {dict(storm.happened)}; {len(runs)} tasks ran {runs.total()} times; "
            f"the last result {calm:.1f} s after the storm"
        )
        assert [fault for k in range(TASKS) if (fault := load.fault(k))] == []
        assert load.called_back == Counter(range(TASKS))
    finally:
        wait_until(lambda: keepers.alive(run_dir) is not None)
        wait_until((run_dir / "keeper.ready").exists)
        daemon.down(run_dir)
    wait_until(lambda: set(testbed.jobs()) <= before, 90)
    words = ("agent.main", "pilots.daemon")
    wait_until(lambda: not [p for word in words for p in processes(run_dir, word)], 60)
