"""Stored queries and contractions on MPI ranks."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support.failing import fail_on_ranks
from support.query_stores import CIRCUIT, OBSERVABLES, VALUES, estimated
from support.ranks import MPIEXEC, needs_mpi

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.errors import TaskError
from pilotcut.execution import contraction_target, query_store
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory


def command(*words, ranks):
    done = subprocess.run(
        [MPIEXEC, "-n", str(ranks), sys.executable, "-m", "pilotcut.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A training run that keeps its tensors."""
    run_dir = tmp_path_factory.mktemp("run") / "r"
    config = TrainingConfig("iris", qubits=2, cuts=1, epochs=1, mode="counts", shots=64, store=True)
    TrainingRun(config, RunDirectory(run_dir)).train()
    return run_dir


@pytest.mark.mpi
@needs_mpi
def test_the_command_gives_the_same_over_ranks_and_mends_the_store(call, finished_run):
    """Three ranks, to which rows and blocks do not divide evenly."""
    pytest.importorskip("mpi4py")
    code, out, err = call("reconstruct", finished_run, "--json")
    assert code == 0, err
    expected = json.loads(out)
    blocks = (
        query_store.directory_of(finished_run / query_store.FOLDER, expected["query"])
        / query_store.BLOCKS
    )
    heads = sorted(blocks.glob("*.json"))
    for head in heads[::2]:
        head.unlink()
    done = command("reconstruct", finished_run, "--json", ranks=3)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ranks"] == 3
    np.testing.assert_allclose(found["values"], expected["values"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["stds"], expected["stds"], rtol=0, atol=1e-12)
    assert sorted(blocks.glob("*.json")) == heads


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """An ordinary pilot and one of two ranks."""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec here")
    described = [
        PilotDescription(name="ordinary", resource="local", cores_per_node=1),
        PilotDescription(name="team", resource="local", cores_per_node=2, ranks=2),
    ]
    run_dir = tmp_path_factory.mktemp("team")
    with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        yield tasks


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.mpi
@pytest.mark.parametrize("mode", ["counts", "exact"])
def test_ranks_of_a_pilot_give_what_this_process_gives(team, mode):
    estimator = CutEstimator(
        team, labels="AABB", mode=mode, shots=200, seed=11, reconstruction="mpi"
    )
    found = estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data
    here = estimated(mode=mode, reconstruction="local")
    np.testing.assert_allclose(found.evs, here.evs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.stds, here.stds, rtol=0, atol=1e-12)
    record = next(r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["reconstruction"].startswith("mpi on 2 ranks: ")
    assert not list(team.pilots.connection_file.parent.glob("reconstruction-*"))


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.mpi
def test_auto_stays_here_for_small_contractions_and_says_why(team):
    estimator = CutEstimator(team, labels="AABB", mode="sampled", shots=200, seed=11)
    estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()
    record = next(r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["reconstruction"].startswith("local: ")
    assert "s and" in record["reconstruction"]


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.mpi
def test_auto_uses_ranks_for_large_ones(team, monkeypatch):
    monkeypatch.setattr(contraction_target, "LEAST_MPI_S", 0.0)
    estimator = CutEstimator(team, labels="AABB", mode="sampled", shots=200, seed=11)
    found = estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data
    record = next(r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["reconstruction"].startswith("mpi on 2 ranks")
    here = estimated(mode="sampled")
    np.testing.assert_allclose(found.evs, here.evs, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.mpi
def test_ranks_that_fail_lose_nothing_that_was_measured(team, monkeypatch, caplog):
    monkeypatch.setattr(contraction_target, "LEAST_MPI_S", 0.0)
    monkeypatch.setattr(contraction_target, "contract_on_ranks", fail_on_ranks)
    options = {"labels": "AABB", "mode": "sampled", "shots": 200, "seed": 11}
    found = CutEstimator(team, **options).run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data
    assert "it goes on in this process: not today" in caplog.text
    here = estimated(mode="sampled")
    np.testing.assert_allclose(found.evs, here.evs, rtol=0, atol=1e-12)
    with pytest.raises(TaskError, match="not today"):
        estimated(tasks=team, mode="sampled", reconstruction="mpi")


TWO_MISTAKES = """
import sys
from mpi4py import MPI
from pilotcut import cli
from pilotcut.execution import query_store
run = sys.argv[1]
sys.argv[1:] = ["reconstruct", run, "--query", "999"]
try:
    cli.main()
except SystemExit as ended:
    assert ended.code == 2
if MPI.COMM_WORLD.rank == 1:
    query_store.numbers = lambda root: []
sys.argv[1:] = ["reconstruct", run]
cli.main()
"""


@pytest.mark.mpi
@needs_mpi
def test_a_mistake_is_told_by_one_rank_only_and_a_rank_that_sees_no_store_ends_all(finished_run):
    pytest.importorskip("mpi4py")
    done = subprocess.run(
        [MPIEXEC, "-n", "2", sys.executable, "-c", TWO_MISTAKES, finished_run],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("query is 999, expected one that") == 1
    assert done.stderr.count("expected the directory of a run") == 1
    assert "Traceback" not in done.stderr
