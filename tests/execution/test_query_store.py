"""Stored queries: blocks that outlive their writers, whole or told to be torn, and used once."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from support.failing import fail_on_ranks

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.circuits.program import read_circuit
from pilotcut.cli import reconstruct
from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.execution import query_store
from pilotcut.execution.contraction_target import choose
from pilotcut.execution.work_units import CircuitCall, ExactCall
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.pilots.slurm.pilot import SlurmPilot
from pilotcut.reconstruction.block_store import BlockStore, TornBlockError
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory

#: These share processes that take long to start, so they stay on one worker.
pytestmark = pytest.mark.xdist_group("query_store")

MODES = ["counts", "sampled", "exact"]
CIRCUIT = real_amplitudes(4, entanglement="linear", reps=1)
OBSERVABLES = [SparsePauliOp(["ZZZZ", "XIXI", "IIII"], [0.5, 2.0, 0.25]), SparsePauliOp("IZZI")]
VALUES = np.random.default_rng(5).normal(size=(6, 1, CIRCUIT.num_parameters))


@pytest.fixture(autouse=True)
def small_bundles(monkeypatch):
    """Several blocks for each fragment."""
    monkeypatch.setattr("pilotcut.execution.batching.TARGET_S", 0.005)
    monkeypatch.setattr("pilotcut.execution.batching._EXACT_AMPLITUDE_S", 1e-4)


def estimated(store=None, tasks=None, mode="counts", **options):
    estimator = CutEstimator(
        tasks, labels="AABB", mode=mode, shots=200, seed=11, store=store, **options
    )
    return estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data


def assert_same(a, b):
    np.testing.assert_array_equal(a.evs, b.evs)
    np.testing.assert_array_equal(a.stds, b.stds)


@pytest.fixture
def runs(monkeypatch):
    """Names of the blocks that are measured."""
    names = []
    for kind in (CircuitCall, ExactCall):
        own = kind.run
        monkeypatch.setattr(
            kind, "run", lambda call, f, own=own: names.append(call.block) or own(call, f)
        )
    return names


# -- blocks --------------------------------------------------------------------------------


@pytest.fixture
def block(tmp_path):
    store = BlockStore(tmp_path / "blocks")
    store.write("b", [np.arange(6.0).reshape(2, 3), np.ones((0, 4))], key="k", kind="test")
    return store


def test_a_block_comes_back_as_it_was(block):
    first, second = block.read("b", key="k")
    np.testing.assert_array_equal(first, np.arange(6.0).reshape(2, 3))
    assert second.shape == (0, 4)
    assert block.about("b") == {"kind": "test"}
    assert sorted(path.name for path in block.directory.iterdir()) == ["b.json", "b.npy"]
    assert block.directory.stat().st_mode & 0o777 == 0o700


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


TEARS = {
    "cut short": lambda d: os.truncate(d / "b.npy", 100),
    "one bit": lambda d: flip(d / "b.npy"),
    "empty": lambda d: (d / "b.npy").write_bytes(b""),
    "no data": lambda d: (d / "b.npy").unlink(),
    "no head": lambda d: (d / "b.json").unlink(),
    "half a head": lambda d: os.truncate(d / "b.json", 20),
    "another head": lambda d: (d / "b.json").write_text("[]"),
}


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS)
def test_a_torn_block_is_noticed(block, tear):
    tear(block.directory)
    with pytest.raises(TornBlockError, match="block b"):
        block.read("b", key="k")
    assert not block.has("b", key="k")


def test_a_block_of_something_else_is_not_taken(block):
    with pytest.raises(TornBlockError, match="of another query"):
        block.read("b", key="another")


def test_threads_may_write_one_block_at_the_same_time(tmp_path):
    store = BlockStore(tmp_path)
    large = [np.arange(200_000.0)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.write("b", large, key="k"), range(40)))
    np.testing.assert_array_equal(store.read("b", key="k"), large)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "b.npy"]


def test_many_blocks_are_held_without_a_file_open_for_each(block):
    held = []
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        held.append(block.read("b", key="k"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_is_told_and_leaves_no_pieces(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        BlockStore(tmp_path).write("b", [np.ones(3)], key="k")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr("pilotcut.reconstruction.block_store.write_whole", full)
    with pytest.raises(UserError, match=r"block .* cannot be written to .*blocks: .*No space left"):
        estimated(tmp_path, mode="sampled")


# -- queries -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_keeping_a_query_changes_no_number_and_it_is_measured_once(tmp_path, mode, runs):
    plain = estimated(mode=mode)
    runs.clear()
    assert_same(estimated(tmp_path, mode=mode), plain)
    assert len(runs) == len(set(runs)) > 4
    runs.clear()
    assert_same(estimated(tmp_path, mode=mode), plain)
    assert runs == []


@pytest.mark.parametrize("with_tasks", [False, True])
def test_only_what_is_torn_is_measured_again(tmp_path, with_tasks, runs):
    whole = estimated(tmp_path)
    every = sorted(runs)
    blocks = query_store.directory_of(tmp_path, 0) / query_store.BLOCKS
    flip(blocks / f"{every[0]}.npy")
    (blocks / f"{every[2]}.json").unlink()
    runs.clear()
    if with_tasks:
        with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
            assert_same(estimated(tmp_path, tasks), whole)
    else:
        assert_same(estimated(tmp_path), whole)
    assert sorted(runs) == [every[0], every[2]]


def test_blocks_of_other_angles_shots_or_seeds_are_not_taken(tmp_path, runs):
    estimated(tmp_path)
    every = len(runs)
    for options in ({"shots": 201}, {"seed": 12}):
        runs.clear()
        settings = {"shots": 200, "seed": 11} | options
        estimator = CutEstimator(labels="AABB", store=tmp_path, **settings)
        estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()
        assert len(runs) == every
    runs.clear()
    estimator = CutEstimator(labels="AABB", store=tmp_path, shots=201, seed=12)
    estimator.run([(CIRCUIT, OBSERVABLES, VALUES + 0.1)]).result()
    assert len(runs) == every


def test_a_store_that_tears_every_block_ends_with_one_clear_error(tmp_path, monkeypatch):
    write = BlockStore.write

    def write_and_tear(self, name, arrays, **about):
        write(self, name, arrays, **about)
        if name == "0-0":
            flip(self.directory / "0-0.npy")

    monkeypatch.setattr(BlockStore, "write", write_and_tear)
    with (
        PilotManager(embedded(2)) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(TaskError, match=r"block 0-0 was torn all 3 times .* with space left"),
    ):
        estimated(tmp_path, tasks)


def test_old_queries_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(query_store, "MOST_QUERIES", 3)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    estimator = CutEstimator(labels="AB", mode="sampled", store=tmp_path, seed=1)
    for _ in range(5):
        estimator.run([(circuit, "ZZ")]).result()
    assert query_store.numbers(tmp_path) == [2, 3, 4]


def test_queries_of_an_older_run_make_room_for_a_new_one_and_nothing_else_does(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(query_store, "MOST_QUERIES", 2)
    for number in (40, 41, 1_000_000):
        estimated(tmp_path, mode="sampled")
        query_store.directory_of(tmp_path, 0).rename(query_store.directory_of(tmp_path, number))
    for name in ("query-notes", "query-old", "query-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "query-notes" / query_store.FILE_NAME).write_text("my own")
    estimated(tmp_path, mode="sampled")
    assert query_store.numbers(tmp_path) == [0, 1_000_000]
    assert {p.name for p in tmp_path.iterdir()} >= {"query-notes", "query-old", "query-1"}


def test_a_directory_that_goes_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    """`Path.mkdir` raises FileExistsError if the directory goes before it is looked at."""
    make, calls = Path.mkdir, iter(range(100))

    def mkdir(path, *args, **kwargs):
        if next(calls) == 0:
            raise FileExistsError(17, "File exists", str(path))
        make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    store = BlockStore(tmp_path / "blocks")
    store.write("0-0", [np.arange(3.0)], key="k")
    assert store.has("0-0", key="k")


def test_more_queries_at_a_time_than_are_kept_all_end_and_leave_no_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(query_store, "MOST_QUERIES", 2)
    estimator = CutEstimator(labels="AABB", mode="sampled", seed=1, shots=50, store=tmp_path)
    jobs = [estimator.run([(CIRCUIT, "ZZZZ", VALUES[0])]) for _ in range(12)]
    for job in jobs:
        job.result()
    estimator.run([(CIRCUIT, "ZZZZ", VALUES[0])]).result()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_block_is_written_though_its_directory_goes_meanwhile(tmp_path, monkeypatch):
    write, gone = Path.write_bytes, []

    def remove_and_write(path, content):
        if not gone:
            gone.append(shutil.rmtree(path.parent))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", remove_and_write)
    store = BlockStore(tmp_path / "query-000000" / "blocks")
    store.write("b", [np.ones(3)], key="k")
    assert store.has("b", key="k")


def test_a_store_that_is_no_directory_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"store is .*file, expected a directory that can be writ"):
        estimated(tmp_path / "file", mode="sampled")


@pytest.mark.parametrize("mode", MODES)
def test_fragments_without_gates_are_kept_too(tmp_path, mode):
    circuit = QuantumCircuit(2)
    circuit.x(0)
    estimator = CutEstimator(labels="AB", mode=mode, store=tmp_path)
    data = estimator.run([(circuit, "ZZ")]).result()[0].data
    np.testing.assert_allclose(data.evs, -1, atol=1e-12)
    np.testing.assert_allclose(by_itself(tmp_path)[0], -1, atol=1e-12)


# -- reconstruction alone ------------------------------------------------------------------


def by_itself(root, batch=0):
    values, errors = query_store.reconstruct(query_store.load(root, batch))
    return values, errors


@pytest.mark.parametrize("mode", MODES)
def test_a_stored_query_is_put_together_without_the_estimator(tmp_path, mode, runs):
    data = estimated(tmp_path, mode=mode)
    runs.clear()
    values, errors = by_itself(tmp_path)
    np.testing.assert_allclose(values.reshape(data.evs.shape), data.evs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(errors.reshape(data.stds.shape), data.stds, rtol=0, atol=1e-12)
    assert runs == []


@pytest.mark.parametrize("mode", MODES)
def test_what_a_crash_has_left_out_or_torn_is_measured_first(tmp_path, mode, runs):
    estimated(tmp_path, mode=mode)
    every = sorted(runs)
    expected = by_itself(tmp_path)
    blocks = query_store.directory_of(tmp_path, 0) / query_store.BLOCKS
    for name in every[1::2]:
        (blocks / f"{name}.json").unlink()
    os.truncate(blocks / f"{every[0]}.npy", 90)
    runs.clear()
    found = by_itself(tmp_path)
    assert sorted(runs) == sorted([every[0], *every[1::2]])
    np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path):
    estimated(tmp_path, mode="sampled")
    with pytest.raises(UserError, match=r"query is 7, expected one that .* keeps: 0"):
        query_store.load(tmp_path, 7)
    (query_store.directory_of(tmp_path, 0) / query_store.FILE_NAME).write_bytes(b"something else")
    with pytest.raises(UserError, match=r"query\.pkl cannot be read .*, expected a query written"):
        query_store.load(tmp_path, 0)


# -- ranks ---------------------------------------------------------------------------------


MPIEXEC = Path(sys.executable).with_name("mpiexec")
FOUND = str(MPIEXEC) if MPIEXEC.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(FOUND is None, reason="there is no mpiexec here")


def command(*words, ranks=0):
    launcher = [FOUND, "-n", str(ranks)] if ranks else []
    done = subprocess.run(
        [*launcher, sys.executable, "-m", "pilotcut.cli", *map(str, words)],
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
def test_the_command_gives_the_same_over_ranks_and_mends_the_store(finished_run):
    """Three ranks, to which rows and blocks do not divide evenly."""
    pytest.importorskip("mpi4py")
    # In processes of their own, for bundles are not small there.
    alone = command("reconstruct", finished_run, "--json")
    assert alone.returncode == 0, alone.stderr
    expected = json.loads(alone.stdout)
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


@pytest.mark.mpi
@needs_mpi
def test_a_mistake_is_told_by_one_rank_only(finished_run):
    pytest.importorskip("mpi4py")
    done = command("reconstruct", finished_run, "--query", 999, ranks=2)
    assert done.returncode == 2
    assert done.stderr.count("query is 999, expected one that") == 1
    assert "Traceback" not in done.stderr


def test_a_directory_without_queries_is_told(call, tmp_path):
    code, _, err = call("reconstruct", tmp_path)
    assert code == 2
    assert "expected the directory of a run that keeps its tensors" in err


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """An ordinary pilot and one of two ranks."""
    pytest.importorskip("mpi4py")
    if FOUND is None:
        pytest.skip("there is no mpiexec here")
    described = [
        PilotDescription(name="ordinary", resource="local", cores_per_node=1),
        PilotDescription(name="team", resource="local", cores_per_node=2, ranks=2),
    ]
    run_dir = tmp_path_factory.mktemp("team")
    with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        yield tasks


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


@pytest.mark.mpi
def test_auto_stays_here_for_small_contractions_and_says_why(team):
    estimator = CutEstimator(team, labels="AABB", mode="sampled", shots=200, seed=11)
    estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()
    record = next(r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["reconstruction"].startswith("local: ")
    assert "s and" in record["reconstruction"]


@pytest.mark.mpi
def test_auto_uses_ranks_for_large_ones(team, monkeypatch):
    monkeypatch.setattr("pilotcut.execution.contraction_target.LEAST_MPI_S", 0.0)
    estimator = CutEstimator(team, labels="AABB", mode="sampled", shots=200, seed=11)
    found = estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data
    record = next(r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["reconstruction"].startswith("mpi on 2 ranks")
    here = estimated(mode="sampled")
    np.testing.assert_allclose(found.evs, here.evs, rtol=0, atol=1e-12)


@pytest.mark.mpi
def test_ranks_that_fail_lose_nothing_that_was_measured(team, monkeypatch, caplog):
    monkeypatch.setattr("pilotcut.execution.contraction_target.LEAST_MPI_S", 0.0)
    monkeypatch.setattr("pilotcut.execution.contraction_target.contract_on_ranks", fail_on_ranks)
    options = {"labels": "AABB", "mode": "sampled", "shots": 200, "seed": 11}
    found = CutEstimator(team, **options).run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data
    assert "it goes on in this process: not today" in caplog.text
    here = estimated(mode="sampled")
    np.testing.assert_allclose(found.evs, here.evs, rtol=0, atol=1e-12)
    with pytest.raises(TaskError, match="not today"):
        estimated(tasks=team, mode="sampled", reconstruction="mpi")


def test_auto_does_not_wait_for_ranks_that_are_not_there_yet(monkeypatch):
    monkeypatch.setattr("pilotcut.execution.contraction_target.LEAST_MPI_S", 0.0)
    described = PilotDescription(name="later", resource="slurm", cores_per_node=2, ranks=2)
    queued = SimpleNamespace(pilots=SimpleNamespace(pilots=[SlurmPilot(described)]))
    estimator = CutEstimator(labels="AABB", mode="sampled")
    program, binding = read_circuit(CIRCUIT)
    compiled = estimator.compile(program, binding, ["ZZZZ"])
    how = choose("auto", queued, compiled, rows=6, exact=False)
    assert how.reason.startswith("local: no pilot with ranks is active yet; ")
    assert choose("mpi", queued, compiled, rows=6, exact=False).pilots == ("later",)


def test_samples_of_terms_are_not_kept_or_divided_and_that_is_told(tmp_path):
    with pytest.raises(UserError, match=r"store is '.*' with num_samples=10, expected None"):
        estimated(tmp_path, num_samples=10)
    estimator = CutEstimator(labels="AABB", mode="sampled", num_samples=10, seed=1)
    estimator.run([(CIRCUIT, "ZZZZ", VALUES[0])]).result()
    record = next(r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["reconstruction"].startswith("local: terms are sampled")


def test_ranks_where_there_are_none_are_refused():
    with pytest.raises(UserError, match="reconstruction is 'mpi', expected a pilot with ranks"):
        estimated(reconstruction="mpi")
    with pytest.raises(UserError, match="reconstruction is 'often', expected one of auto"):
        estimated(reconstruction="often")


@pytest.mark.parametrize("value", ["", " ", "many", "-4", "1"])
def test_a_variable_that_tells_of_no_ranks_is_no_launcher(monkeypatch, value):
    monkeypatch.setenv("PMI_SIZE", value)
    assert reconstruct._communicator() is None


ONE_RANK_SEES_NOTHING = """
import pathlib, sys
from mpi4py import MPI
from pilotcut import cli
from pilotcut.execution import query_store
if MPI.COMM_WORLD.rank == 1:
    query_store.numbers = lambda root: []
sys.argv[1:] = ["reconstruct", sys.argv[1]]
cli.main()
"""


@pytest.mark.mpi
@needs_mpi
def test_a_rank_that_sees_no_store_ends_all(finished_run):
    pytest.importorskip("mpi4py")
    done = subprocess.run(
        [FOUND, "-n", "2", sys.executable, "-c", ONE_RANK_SEES_NOTHING, finished_run],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("expected the directory of a run") == 1
    assert "Traceback" not in done.stderr


def test_without_mpi_a_rank_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(PilotError, match=r"pip install 'pilotcut\[mpi\]' .*apt install mpich"):
        reconstruct.reconstruct(Path("runs/none"))
