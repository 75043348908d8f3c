"""slurm/reconstruct.sbatch: MPI ranks in a job put together what a run has kept."""

import json

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes

from pilotcut import CutEstimator
from pilotcut.execution import query_store

from . import testbed
from .testbed import ROOT, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.mpi]

SCRIPT = ROOT / "slurm" / "reconstruct.sbatch"


def test_ranks_of_a_job_mend_a_store_and_give_what_the_run_gave(cluster, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    circuit = real_amplitudes(4, entanglement="linear", reps=1)
    values = np.random.default_rng(3).normal(size=(5, circuit.num_parameters))
    estimator = CutEstimator(
        labels="AABB", mode="sampled", seed=2, store=tmp_path / query_store.FOLDER
    )
    data = estimator.run([(circuit, "ZXXZ", values)]).result()[0].data
    blocks = query_store.directory_of(tmp_path / query_store.FOLDER, 0) / query_store.BLOCKS
    heads = sorted(blocks.glob("*.json"))
    heads[0].unlink()
    job = testbed.sbatch("--ntasks=3", "--nodes=2", SCRIPT, tmp_path, "--json", cwd=tmp_path)
    wait_until(lambda: testbed.state_of(job) in ("COMPLETED", "FAILED"))
    log = (tmp_path / f"pilotcut-reconstruct-{job}.log").read_text()
    assert testbed.state_of(job) == "COMPLETED", log
    found = json.loads(log.splitlines()[-1])
    assert found["ranks"] == 3
    np.testing.assert_allclose(np.ravel(found["values"]), data.evs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.ravel(found["stds"]), data.stds, rtol=0, atol=1e-12)
    assert sorted(blocks.glob("*.json")) == heads


def test_without_a_directory_it_says_how_it_is_used(cluster, tmp_path):
    job = testbed.sbatch("--ntasks=1", SCRIPT, cwd=tmp_path)
    wait_until(lambda: testbed.state_of(job) == "FAILED")
    log = (tmp_path / f"pilotcut-reconstruct-{job}.log").read_text()
    assert "usage: sbatch slurm/reconstruct.sbatch RUN_DIR" in log
