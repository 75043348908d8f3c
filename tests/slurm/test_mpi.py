"""MPI pilots on Slurm: ranks over two nodes, in a job of their own or inside another one."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import slurm_pilot
from .testbed import wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.mpi]

DEATH_S = 10.0
IDLE_CPU = 0.05

SCRIPT = """
import os
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager

def nodes():
    from mpi4py import MPI
    return MPI.COMM_WORLD.gather(os.environ["SLURMD_NODENAME"])

if __name__ == "__main__":
    pilot = PilotDescription(name="inside", resource="allocation", nodes=2, ranks=4)
    with PilotManager([pilot], run_dir="run") as pilots, TaskManager(pilots) as tasks:
        futures = [tasks.submit_task(nodes, ranks=4) for _ in range(2)]
        print("ranks on", *(" ".join(future.result(60)) for future in futures))
"""


@pytest.fixture(scope="module")
def live(cluster, tmp_path_factory):
    """Return a running MPI pilot of two nodes with four ranks."""
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    run_dir = tmp_path_factory.mktemp("mpi") / "run"
    with (
        PilotManager([slurm_pilot("wide", nodes=2, ranks=4)], run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        assert tasks.submit_task(max, 1, 2, pilot="wide").result(testbed.PATIENCE_S) == 2
        yield SimpleNamespace(pilots=pilots, tasks=tasks, run_dir=run_dir)


def where():
    from mpi4py import MPI

    return MPI.COMM_WORLD.gather((os.environ["SLURMD_NODENAME"], os.getpid()))


def total(x):
    from mpi4py import MPI

    return MPI.COMM_WORLD.allreduce(x + MPI.COMM_WORLD.Get_rank())


def test_the_ranks_of_a_pilot_are_on_both_nodes_and_stay(live):
    first, again = [live.tasks.submit_task(where, ranks=4).result(60) for _ in range(2)]
    assert [node for node, _ in first] == ["cpu1", "cpu1", "cpu2", "cpu2"]
    assert again == first
    assert live.tasks.submit_task(total, 5, ranks=4).result(60) == 26


def test_idle_ranks_of_a_job_sleep(live):
    ranks = live.tasks.submit_task(where, ranks=4).result(60)
    processes = [psutil.Process(pid) for _, pid in ranks]
    time.sleep(1.0)  # after a task they look for the next one more often

    def spent():
        return [sum(process.cpu_times()[:2]) for process in processes]

    before, began = spent(), time.monotonic()
    time.sleep(3.0)
    seconds = time.monotonic() - began
    assert max(b - a for a, b in zip(before, spent(), strict=True)) / seconds < IDLE_CPU


def test_an_exception_on_one_rank_of_a_job_is_soon_that_of_the_task(live):
    def fail():
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 3:
            raise ValueError("rank three does not like it")
        MPI.COMM_WORLD.Barrier()

    began = time.monotonic()
    with pytest.raises(ValueError, match="rank three does not like it"):
        live.tasks.submit_task(fail, ranks=4).result(60)
    assert time.monotonic() - began < DEATH_S
    assert live.tasks.submit_task(total, 5, ranks=4).result(60) == 26


def test_a_task_whose_rank_is_killed_in_a_job_is_run_again_on_new_ranks(live, tmp_path):
    def kill_rank_one():
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 1:
            with (tmp_path / "times").open("a") as file:
                file.write(f"{time.monotonic()}\n")
            if len((tmp_path / "times").read_text().split()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return MPI.COMM_WORLD.allreduce(1)

    future = live.tasks.submit_task(kill_rank_one, ranks=4)
    assert future.result(60) == 4
    assert future.task.retries == 1
    killed, again = map(float, (tmp_path / "times").read_text().split())
    assert again - killed < DEATH_S


def test_no_rank_is_left_when_the_pilot_closes(live):
    """The last test of this pilot: it ends it."""
    ranks = live.tasks.submit_task(where, ranks=4).result(60)
    processes = [psutil.Process(pid) for _, pid in ranks]
    (pilot,) = live.pilots.pilots
    live.tasks.close()
    live.pilots.close()
    assert psutil.wait_procs(processes, 10)[1] == []
    wait_until(lambda: pilot.job_id not in testbed.jobs())


def test_inside_an_allocation_ranks_are_started_on_its_nodes(cluster, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    (tmp_path / "script.py").write_text(SCRIPT)
    job = testbed.sbatch(
        *["--partition=cpu", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2"],
        *["--output=job.log", f"--wrap=exec {sys.executable} script.py"],
        cwd=tmp_path,
    )
    wait_until(lambda: testbed.state_of(job) in ("COMPLETED", "FAILED"))
    nodes = ["cpu1", "cpu1", "cpu2", "cpu2"]
    assert (tmp_path / "job.log").read_text().split() == ["ranks", "on", *nodes, *nodes]
