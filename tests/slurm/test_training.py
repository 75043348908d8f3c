"""Trainings on Slurm: the same weights wherever they run, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
import torch
from support.commands import Command

from pilotcut.io.jsonl import read_jsonl
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory

from . import testbed
from .testbed import ROOT, slurm, wait_until

pytestmark = pytest.mark.slurm

# In counts mode workers import Aer, which takes a tenth of the time that torch takes.
CONFIG = TrainingConfig("iris", qubits=4, cuts=2, shots=16, batch_size=120, epochs=1, seed=5)
# More batches than one, to be killed between.
SMALL = replace(CONFIG, qubits=2, cuts=1, batch_size=64)
#: What a job may take to notice that its manager was killed.
ORPHANED_S = 45

HYBRID = """
pilots:
  - name: cpu
    resource: slurm
    queue: cpu
    cores_per_node: 1
    walltime: "00:10:00"
  - name: gpu
    resource: slurm
    queue: gpu
    cores_per_node: 1
    gpus_per_node: 1
    walltime: "00:10:00"
    backend: {kind: aer, device: CPU}    # the cluster's GPUs are none
"""


@pytest.fixture
def undisturbed(tmp_path):
    """Return a function that trains without pilots and returns the run's directory."""

    def run_of(config):
        TrainingRun(config, RunDirectory(tmp_path / "undisturbed")).train()
        return tmp_path / "undisturbed"

    return run_of


@pytest.fixture
def hybrid(tmp_path):
    """Return the description of a CPU pilot and a GPU pilot."""
    path = tmp_path / "hybrid.yaml"
    path.write_text(HYBRID)
    return path


def options(config):
    """Return a configuration as options of `pilotcut train`."""
    # A switch that is off, `store`, has no option to say so.
    given = {name: value for name, value in asdict(config).items() if value not in (None, False)}
    return [
        given.pop("dataset"),
        *(f"--{name.replace('_', '-')}={value}" for name, value in given.items()),
    ]


def train(config, run_dir, pilots):
    """Start a training in a process of its own, to be killed."""
    command = [sys.executable, "-m", "pilotcut.cli", "train", *options(config)]
    return Command(
        [*command, "--pilots", str(pilots), "--run-dir", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_same_result(path, other):
    ours, theirs = (torch.load(p / "weights.pt", weights_only=True) for p in (path, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    ours, theirs = (read_jsonl(p / "metrics.jsonl") for p in (path, other))
    assert [r | {"seconds": 0} for r in ours] == [r | {"seconds": 0} for r in theirs]


def tasks_done(run_dir):
    """Return how many tasks each pilot has done."""
    events = read_jsonl(run_dir / "events.jsonl")
    done = [e["pilot"] for e in events if e["event"] == "task" and e["state"] == "done"]
    return {pilot: done.count(pilot) for pilot in done}


def test_a_training_on_a_cpu_and_a_gpu_pilot_gives_the_weights_of_one_without_pilots(
    cluster, tmp_path, hybrid, undisturbed, call
):
    before = set(testbed.jobs())
    where = ("--json", "--pilots", hybrid, "--run-dir", tmp_path / "run")
    code, out, err = call("train", *options(CONFIG), *where)
    assert code == 0, err
    assert json.loads(out)["cuts"] == 2
    assert set(tasks_done(tmp_path / "run")) == {"cpu", "gpu"}
    assert_same_result(tmp_path / "run", undisturbed(CONFIG))
    wait_until(lambda: set(testbed.jobs()) <= before)


def test_a_training_inside_one_allocation_gives_the_same_weights(cluster, tmp_path, undisturbed):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "allocation.yaml").write_bytes(
        (ROOT / "slurm" / "allocation.yaml").read_bytes()
    )
    script = ROOT / "slurm" / "train.sbatch"
    job = testbed.sbatch(script, *options(CONFIG), "--run-dir=run", cwd=tmp_path)
    wait_until(lambda: job not in testbed.jobs(), 100)
    log = (tmp_path / f"pilotcut-{job}.log").read_text()
    assert testbed.state_of(job) == "COMPLETED", log
    assert "test accuracy" in log
    assert set(tasks_done(tmp_path / "run")) == {"allocation"}
    workers = {e["worker"] for e in read_jsonl(tmp_path / "run/events.jsonl") if "worker" in e}
    assert workers == {f"allocation-{i}" for i in range(4)}  # two nodes of two cores
    assert_same_result(tmp_path / "run", undisturbed(CONFIG))


def test_a_training_script_for_sbatch_says_how_it_is_used(cluster, tmp_path):
    job = testbed.sbatch(ROOT / "slurm" / "train.sbatch", cwd=tmp_path)
    wait_until(lambda: testbed.state_of(job) == "FAILED")
    log = (tmp_path / f"pilotcut-{job}.log").read_text()
    assert "usage: sbatch slurm/train.sbatch DATASET" in log


def test_a_training_that_is_killed_leaves_no_job_and_is_resumed_to_the_same_weights(
    cluster, tmp_path, hybrid, undisturbed
):
    before = set(testbed.jobs())
    path = tmp_path / "run"
    metrics, trace = path / "metrics.jsonl", path / "trace.jsonl"
    with train(replace(SMALL, epochs=10_000), path, hybrid) as training:
        wait_until(lambda: metrics.exists() and read_jsonl(metrics), 90, training)
        seen = len(read_jsonl(trace))
        wait_until(lambda: len(read_jsonl(trace)) > seen, 90, training)  # amid an epoch
        assert len(set(testbed.jobs()) - before) == 2
        os.kill(training.pid, signal.SIGKILL)
        training.communicate(timeout=20)
    epochs = len(read_jsonl(metrics)) + 1
    config = replace(SMALL, epochs=epochs)
    TrainingRun(config, RunDirectory(path)).train(resume=True)
    assert_same_result(path, undisturbed(config))
    wait_until(lambda: set(testbed.jobs()) <= before, ORPHANED_S)


MANAGER = """
import signal, sys
from pilotcut.pilots import PilotManager
with PilotManager.from_yaml(sys.argv[1], run_dir=sys.argv[2]) as pilots:
    print(pilots.pilots[0].job_id, flush=True)
    signal.pause()
"""
HELD = """
pilots:
  - name: held
    resource: slurm
    queue: cpu
    directives: [--hold]
"""


@contextmanager
def manager_of_a_held_job(path):
    """Start a process with a pilot that waits; yield the process and the job's number."""
    (path / "manager.py").write_text(MANAGER)
    (path / "held.yaml").write_text(HELD)
    with subprocess.Popen(
        [sys.executable, "manager.py", "held.yaml", "run"],
        cwd=path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Under nohup or a shell's `&` the signal would be ignored from the start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as manager:
        job = manager.stdout.readline().strip()
        try:
            assert testbed.jobs()[job] == "PENDING"
            yield manager, job
        finally:
            manager.kill()


def test_a_job_that_starts_after_its_manager_was_killed_ends_by_itself(cluster, tmp_path):
    with manager_of_a_held_job(tmp_path) as (manager, job):
        manager.kill()
    slurm("scontrol", "release", job)
    wait_until(lambda: testbed.state_of(job) == "RUNNING")
    began = time.monotonic()
    wait_until(lambda: testbed.state_of(job) == "FAILED", ORPHANED_S)
    assert time.monotonic() - began < 15  # of which Python takes some; dask would try for 30 s


def test_ctrl_c_is_an_interrupt_also_with_pilots_on_slurm(cluster, tmp_path):
    with manager_of_a_held_job(tmp_path) as (manager, job):
        manager.send_signal(signal.SIGINT)
        _, err = manager.communicate(timeout=30)
    assert job not in testbed.jobs()
    assert manager.returncode == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"
