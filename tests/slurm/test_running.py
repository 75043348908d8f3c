"""Pilots on Slurm that run: one of two nodes, one with GPUs, and what may happen to them."""

import os
import signal
import stat
import time
from types import SimpleNamespace

import pytest

from pilotcut.pilots import PilotManager, PilotState, external
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import named, pilot_events, slurm_pilot, times_done, wait_active
from .testbed import ROOT, wait_until

pytestmark = pytest.mark.slurm

FIRST_TASK_S = 30  # benchmarks measure it; here machines may be slow


@pytest.fixture(scope="module")
def live(cluster, tmp_path_factory):
    """Return two running pilots with their managers, and how the first task went."""
    run_dir = tmp_path_factory.mktemp("live") / "run"
    described = [
        slurm_pilot("wide", nodes=2),
        slurm_pilot("gpus", queue="gpu", workers_per_node=2, gpus_per_node=2),
    ]
    began = time.monotonic()
    with (
        PilotManager(described, run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        value = tasks.submit_task(pow, 2, 10).result(testbed.PATIENCE_S)
        first = (value, time.monotonic() - began)
        wait_active(pilots)
        yield SimpleNamespace(pilots=pilots, tasks=tasks, run_dir=run_dir, first=first)


def on_every_worker(live, pilot, slots, fn):
    """Return what `fn` returns on each worker of a pilot, by the worker's name."""

    def hold():
        time.sleep(0.3)  # so that no worker gets two of these before the others have one
        return fn()

    found = {}

    def all_seen():
        futures = [live.tasks.submit_task(hold, pilot=pilot) for _ in range(slots)]
        found.update({f.task.worker: f.result(30) for f in futures if f.result(30) is not None})
        return len(found) == slots

    wait_until(all_seen)
    return found


def test_the_first_task_is_done_soon_after_a_start_with_an_empty_queue(live):
    value, seconds = live.first
    assert value == 1024
    assert seconds < FIRST_TASK_S


def test_a_pilot_of_two_nodes_has_workers_on_both(live):
    nodes = on_every_worker(live, "wide", 2, lambda: os.environ["SLURMD_NODENAME"])
    assert nodes == {"wide-0": "cpu1", "wide-1": "cpu2"}


def test_each_worker_of_a_gpu_pilot_sees_one_gpu_from_before_its_first_import(live):
    def look():
        # What the process was started with: no import has happened then.
        with open("/proc/self/environ", encoding="utf-8") as file:
            began_with = dict(line.partition("=")[::2] for line in file.read().split("\0"))
        return began_with.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_VISIBLE_DEVICES")

    seen = on_every_worker(live, "gpus", 2, look)
    assert sorted(seen.values()) == [("0", "0"), ("1", "1")]


def test_tasks_that_need_a_gpu_go_where_gpus_are(live):
    futures = [live.tasks.submit_task(os.getenv, "CUDA_VISIBLE_DEVICES", gpus=1) for _ in range(4)]
    assert {f.result(30) for f in futures} <= {"0", "1"}
    assert {f.task.pilot for f in futures} == {"gpus"}


@pytest.mark.mpi
def test_the_ranks_of_a_task_run_on_both_nodes_of_a_pilot(live):
    pytest.importorskip("mpi4py")

    def gather_nodes():
        from mpi4py import MPI

        return MPI.COMM_WORLD.gather(os.environ["SLURMD_NODENAME"])

    future = live.tasks.submit_task(gather_nodes, ranks=2, pilot="wide")
    assert sorted(future.result(60)) == ["cpu1", "cpu2"]


def test_what_lets_others_join_can_be_read_by_its_owner_alone(live):
    assert stat.S_IMODE(live.run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(live.pilots.connection_file.stat().st_mode) == 0o600
    for pilot in live.pilots.pilots:
        script = testbed.slurm("scontrol", "write", "batch_script", pilot.job_id, "-")
        assert "PRIVATE KEY" not in script


def test_what_happened_to_a_pilot_can_be_read(live):
    for pilot in ("wide", "gpus"):
        states = [event["state"] for event in pilot_events(live.run_dir, pilot)]
        assert list(dict.fromkeys(states)) == ["pending", "starting", "active"]


def test_a_worker_killed_in_a_job_costs_no_result(live, tmp_path):
    def square(number):
        time.sleep(0.1)
        if number == 3:
            try:
                (tmp_path / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    futures = [
        live.tasks.submit_task(square, n, name=f"square-{n}", pilot="wide") for n in range(12)
    ]
    assert [f.result(60) for f in futures] == [n**2 for n in range(12)]
    assert (tmp_path / "killed").exists()
    assert futures[3].task.retries == 1
    assert [times_done(live.run_dir)[f"square-{n}"] for n in range(12)] == [1] * 12
    assert named(live.pilots, "wide").state is PilotState.ACTIVE
    nodes = on_every_worker(live, "wide", 2, lambda: os.environ["SLURMD_NODENAME"])
    assert sorted(nodes.values()) == ["cpu1", "cpu2"]  # it has come back


def test_a_pilot_started_by_hand_joins_through_the_connection_file(live, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "EMPTY_S", 2.0)  # how long its workers may be away, then 15
    script = ROOT / "slurm" / "pilot.sbatch"
    job = testbed.sbatch(
        *["--nodes=2", "--partition=gpu", "--cpus-per-task=1"],
        *[script, live.pilots.connection_file, "--name", "hand"],
        cwd=tmp_path,
    )
    wait_until(lambda: "hand" in [pilot.name for pilot in live.pilots.pilots])
    wait_until(lambda: named(live.pilots, "hand").slots == 2)
    nodes = on_every_worker(live, "hand", 2, lambda: os.environ["SLURMD_NODENAME"])
    assert nodes == {"hand-0": "gpu1", "hand-1": "gpu2"}

    def double(number):
        time.sleep(0.2)
        return 2 * number

    futures = [live.tasks.submit_task(double, n, pilot=("hand", "wide")) for n in range(16)]
    wait_until(lambda: any(f.done() and f.task.pilot == "hand" for f in futures))
    testbed.slurm("scancel", job)
    assert [f.result(60) for f in futures] == [2 * n for n in range(16)]
    wait_until(lambda: named(live.pilots, "hand").state is PilotState.DONE)


def test_a_pilot_script_without_a_connection_file_says_what_it_wants(cluster, tmp_path):
    script = ROOT / "slurm" / "pilot.sbatch"
    job = testbed.sbatch(script, "no/connection.json", cwd=tmp_path)
    wait_until(lambda: testbed.state_of(job) == "FAILED")
    log = (tmp_path / f"pilotcut-pilot-{job}.log").read_text()
    assert "no/connection.json cannot be read, expected the connection.json" in log
