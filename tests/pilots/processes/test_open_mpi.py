"""Debian's Open MPI beside the wheel of MPICH: `mpi:` chooses, also for root."""

import pytest
from support import openmpi

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import PilotError
from pilotcut.pilots.description import PilotDescription

pytestmark = [pytest.mark.mpi, pytest.mark.openmpi]

PATIENCE_S = 60


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Return tasks on an ordinary pilot, and on one of two ranks."""
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py")
    if reason := openmpi.why_not():
        pytest.skip(reason)
    described = [
        PilotDescription(name="plain", resource="local", workers_per_node=2, mpi="openmpi"),
        PilotDescription(name="wide", resource="local", ranks=2, mpi="openmpi"),
    ]
    run_dir = tmp_path_factory.mktemp("openmpi") / "run"
    with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        yield tasks


def world(x):
    from mpi4py import MPI

    return MPI.COMM_WORLD.allreduce(x), MPI.Get_library_version().split(",")[0]


@pytest.mark.parametrize("pilot", ["plain", "wide"])
def test_two_ranks_of_open_mpi_are_one_world(tasks, pilot):
    total, library = tasks.submit_task(world, 3, ranks=2, pilot=pilot).result(PATIENCE_S)
    assert total == 6
    assert library.startswith("Open MPI v4")


def fail():
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 1:
        raise ValueError("rank one does not like it")
    MPI.COMM_WORLD.Barrier()


def test_an_exception_on_one_rank_of_open_mpi_is_that_of_the_task(tasks):
    with pytest.raises(ValueError, match="rank one does not like it"):
        tasks.submit_task(fail, ranks=2, pilot="wide").result(PATIENCE_S)
    assert tasks.submit_task(world, 3, ranks=2, pilot="wide").result(PATIENCE_S)[0] == 6


def test_a_launcher_of_another_mpi_is_refused_before_anything_starts(tasks, tmp_path):
    wide = PilotDescription(
        name="wide", resource="local", ranks=2, mpi="openmpi", launcher=hydra(tmp_path)
    )
    words = r"mpiexec of MPICH or Intel MPI does not start ranks of Open MPI"
    with pytest.raises(PilotError, match=rf"pilot 'wide': {words}"):
        PilotManager([wide], run_dir=tmp_path / "run").start()


def hydra(folder):
    """Return a launcher that says it is MPICH's."""
    path = folder / "mpiexec"
    path.write_text("#!/bin/sh\necho HYDRA build details:\n")
    path.chmod(0o755)
    return str(path)
