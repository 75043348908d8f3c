"""Killed workers, killed trainings, Ctrl-C: they cost time, not results."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from support.commands import Command

from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.tasks import TaskManager
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory

# In counts mode workers import Aer, which takes a tenth of the time that torch takes.
CONFIG = TrainingConfig("iris", qubits=2, cuts=1, mode="counts", shots=16, batch_size=16, seed=5)
PATIENCE_S = 60


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function from a number of epochs to the directory of a run of so many."""

    @cache
    def run_of(epochs):
        path = tmp_path_factory.mktemp("undisturbed") / "run"
        TrainingRun(replace(CONFIG, epochs=epochs), RunDirectory(path)).train()
        return path

    return run_of


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    path = tmp_path_factory.mktemp("pilots") / "laptop.yaml"
    path.write_text("pilots: [{name: laptop, resource: local, cores_per_node: 2}]\n")
    return path


def records(path):
    """Return the records of a file that may not exist yet and may be written to just now."""
    return read_jsonl(path) if path.exists() else []


def wait_until(condition, process=None):
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        assert process is None or process.poll() is None, "the process ended too early"
        time.sleep(0.01)


def assert_same_result(path, other):
    ours, theirs = (torch.load(p / "weights.pt", weights_only=True) for p in (path, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    ours, theirs = (records(p / "metrics.jsonl") for p in (path, other))
    assert [r | {"seconds": 0} for r in ours] == [r | {"seconds": 0} for r in theirs]


def start(run_dir, *options):
    """Start a training that would go on for very long, so that no test can be too late."""
    settings = "--qubits 2 --cuts 1 --shots 16 --batch-size 16 --seed 5 --epochs 10000"
    command = [sys.executable, "-m", "pilotcut.cli", "train", "iris", *settings.split()]
    command += ["--mode", CONFIG.mode]
    return Command(
        [*command, "--run-dir", str(run_dir), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Under nohup or a shell's `&` the signal would be ignored from the start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def descendants(pid):
    """Return the ids of all processes below `pid`."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_killed_in_the_middle_of_training_changes_no_number(tmp_path, undisturbed):
    run = RunDirectory(tmp_path / "run")
    description = PilotDescription(
        name="laptop", resource="local", cores_per_node=2, workers_per_node=2
    )
    killed = threading.Event()

    def kill_a_worker(pid):
        seen = len(records(run.trace))
        wait_until(lambda: len(records(run.trace)) > seen)  # the next batch is on the workers
        os.kill(pid, signal.SIGKILL)
        killed.set()

    def progress(epoch, batch, batches, loss):
        if (epoch, batch) == (1, 2):
            pid = tasks.submit_task(os.getpid).result(PATIENCE_S)
            threading.Thread(target=kill_a_worker, args=(pid,)).start()
        if (epoch, batch) == (1, 4):
            assert killed.wait(PATIENCE_S), "the worker was to die before the last batches"

    with PilotManager([description]) as pilots, TaskManager(pilots) as tasks:
        TrainingRun(replace(CONFIG, epochs=2), run, tasks).train(progress=progress)
    assert killed.is_set()
    assert [r["kind"] for r in records(run.trace)].count("compile") == 1
    assert_same_result(run.path, undisturbed(2))


def test_a_training_killed_in_the_middle_of_an_epoch_is_resumed(tmp_path, undisturbed):
    path = tmp_path / "run"
    with start(path) as training:
        wait_until(lambda: records(path / "metrics.jsonl"), training)
        seen = len(records(path / "trace.jsonl"))
        wait_until(lambda: len(records(path / "trace.jsonl")) > seen + 2, training)
        os.kill(training.pid, signal.SIGKILL)
        training.wait(PATIENCE_S)
    done = records(path / "metrics.jsonl")
    assert [r["epoch"] for r in done] == list(range(1, len(done) + 1))
    assert len(records(path / "trace.jsonl")) > seen
    epochs = len(done) + 1
    TrainingRun(replace(CONFIG, epochs=epochs), RunDirectory(path)).train(resume=True)
    assert_same_result(path, undisturbed(epochs))


def test_ctrl_c_ends_soon_leaves_no_process_and_can_be_resumed(tmp_path, undisturbed, laptop):
    run = RunDirectory(tmp_path / "run")
    with start(run.path, "--pilots", laptop) as training:
        wait_until(lambda: records(run.metrics), training)
        family = descendants(training.pid)
        asked = time.monotonic()
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - asked < 15
    assert (training.returncode, out) == (130, "")
    assert f"continue with: pilotcut train iris --run-dir {run.path} --resume" in err
    assert "Traceback" not in err
    assert len(family) >= 4  # a scheduler, an agent, two workers
    wait_until(lambda: not any(map(is_running, family)))
    epochs = len(records(run.metrics)) + 1
    TrainingRun(replace(CONFIG, epochs=epochs), run).train(resume=True)
    assert_same_result(run.path, undisturbed(epochs))
