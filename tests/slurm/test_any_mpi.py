"""Any MPI in a job: Debian's Open MPI over pmix on two nodes, and worlds that would be wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes

from pilotcut import CutEstimator
from pilotcut.execution import query_store
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import named, slurm_pilot
from .testbed import ROOT, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.mpi, pytest.mark.openmpi]

COMMAND_S = 60


@pytest.fixture
def open_mpi(request, cluster):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    if reason := cluster.no_open_mpi:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return the directory of a run with a query, and the values of that."""
    run_dir = tmp_path_factory.mktemp("stored")
    circuit = real_amplitudes(4, entanglement="linear", reps=1)
    values = np.random.default_rng(3).normal(size=(2, circuit.num_parameters))
    store = run_dir / query_store.FOLDER
    estimator = CutEstimator(labels="AABB", mode="sampled", seed=2, store=store)
    return run_dir, estimator.run([(circuit, "ZXXZ", values)]).result()[0].data.evs


def where():
    from mpi4py import MPI

    library = MPI.Get_library_version().split(",")[0]
    return MPI.COMM_WORLD.gather(os.environ["SLURMD_NODENAME"]), library


def test_ranks_of_open_mpi_on_two_nodes_are_one_world(open_mpi, tmp_path):
    described = [
        slurm_pilot("wide", nodes=2, ranks=2, mpi="openmpi"),
        slurm_pilot("plain", nodes=2, mpi="openmpi"),
    ]
    with PilotManager(described, run_dir=tmp_path / "run") as pilots, TaskManager(pilots) as tasks:
        futures = [tasks.submit_task(where, ranks=2, pilot=name) for name in ("wide", "plain")]
        for future in futures:
            nodes, library = future.result(testbed.PATIENCE_S)
            assert len(set(nodes)) == 2
            assert library.startswith("Open MPI v4")


def test_a_pilot_whose_launcher_does_not_suit_its_mpi_fails_in_words(open_mpi, tmp_path):
    wrong = slurm_pilot("wrong", ranks=2, mpi="mpich", launcher="srun --overlap --mpi=pmix")
    with PilotManager([wrong], run_dir=tmp_path / "run") as pilots:
        wait_until(lambda: named(pilots, "wrong").state is PilotState.FAILED)
        reason = named(pilots, "wrong").reason
    assert "srun --mpi=pmix does not start ranks of MPICH" in reason
    assert "or in a job srun --mpi=pmi2" in reason


def test_a_job_reconstructs_with_open_mpi_and_a_launcher_with_options(
    open_mpi, stored, tmp_path, monkeypatch
):
    monkeypatch.setenv("PILOTCUT_MPI", "openmpi")
    monkeypatch.setenv("PILOTCUT_MPI_LAUNCHER", "srun --mpi=pmix --distribution='block:cyclic'")
    run_dir, values = stored
    script = ROOT / "slurm" / "reconstruct.sbatch"
    job = testbed.sbatch("--ntasks=2", "--nodes=2", script, run_dir, "--json", cwd=tmp_path)
    wait_until(lambda: testbed.state_of(job) in ("COMPLETED", "FAILED"))
    log = (tmp_path / f"pilotcut-reconstruct-{job}.log").read_text()
    assert testbed.state_of(job) == "COMPLETED", log
    found = json.loads(log.splitlines()[-1])
    assert found["ranks"] == 2
    np.testing.assert_allclose(np.ravel(found["values"]), values, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("plugin", "mpi", "words"),
    [
        ("pmix", "mpich", "srun --mpi=pmix does not start ranks of MPICH"),
        ("pmi2", "openmpi", "srun --mpi=pmi2 does not start ranks of Open MPI"),
        ("none", "mpich", "has 1 rank, expected 2 processes (SLURM_STEP_NUM_TASKS)"),
    ],
)
def test_two_worlds_of_one_compute_nothing_and_say_what_starts_them(
    open_mpi, stored, plugin, mpi, words
):
    srun = ["srun", "-n2", f"--mpi={plugin}", sys.executable, "-m", "mpi4py"]
    done = subprocess.run(
        [*srun, "-m", "pilotcut.cli", "reconstruct", str(stored[0]), "--json"],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        env=os.environ | {"PILOTCUT_MPI": mpi},
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
