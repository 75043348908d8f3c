"""Stored queries: blocks that outlive their writers, whole or told to be torn, and used once."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from support.query_stores import CIRCUIT, OBSERVABLES, VALUES, estimated

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.circuits.program import read_circuit
from pilotcut.cli import reconstruct
from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.execution import contraction_target, query_store
from pilotcut.execution.contraction_target import contracting_for
from pilotcut.execution.work_units import CircuitUnit, ExactUnit
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.pilots.slurm.pilot import SlurmPilot
from pilotcut.reconstruction import block_store
from pilotcut.reconstruction.block_store import BlockStore, TornBlockError

pytestmark = pytest.mark.usefixtures("small_bundles")

MODES = ["counts", "sampled", "exact"]


def assert_same(a, b):
    np.testing.assert_array_equal(a.evs, b.evs)
    np.testing.assert_array_equal(a.stds, b.stds)


@pytest.fixture
def runs(monkeypatch):
    """Names of the blocks that are measured."""
    names = []
    for kind in (CircuitUnit, ExactUnit):
        own = kind.run
        monkeypatch.setattr(
            kind, "run", lambda unit, f, own=own: names.append(unit.block) or own(unit, f)
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
    monkeypatch.setattr(block_store, "write_atomically", full)
    with pytest.raises(UserError, match=r"block .* cannot be written to .*blocks: .*No space left"):
        estimated(tmp_path, mode="sampled")


# -- queries -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_keeping_a_query_changes_no_number_and_it_is_measured_once(tmp_path, mode, runs):
    plain = estimated(mode=mode)
    runs.clear()
    assert_same(estimated(tmp_path, mode=mode), plain)
    # In exact mode each fragment is a network that takes less than a unit's time.
    assert len(runs) == len(set(runs)) > (1 if mode == "exact" else 4)
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
    file = query_store.directory_of(tmp_path, 0) / query_store.FILE_NAME
    moved = file.read_bytes().replace(b"pilotcut.execution", b"pilotcut.elsewhere")
    assert moved != file.read_bytes()
    file.write_bytes(moved)
    with pytest.raises(
        UserError, match=r"query\.pkl was written by another pilotcut \(No module"
    ) as e:
        query_store.load(tmp_path, 0)
    assert len(e.value.faults) == 1
    file.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"query\.pkl cannot be read .*, expected a query written"):
        query_store.load(tmp_path, 0)


# -- ranks ---------------------------------------------------------------------------------


def test_a_directory_without_queries_is_told(call, tmp_path):
    code, _, err = call("reconstruct", tmp_path)
    assert code == 2
    assert "expected the directory of a run that keeps its tensors" in err


def test_auto_does_not_wait_for_ranks_that_are_not_there_yet(monkeypatch):
    monkeypatch.setattr(contraction_target, "LEAST_MPI_S", 0.0)
    described = PilotDescription(name="later", resource="slurm", cores_per_node=2, ranks=2)
    queued = SimpleNamespace(takers=(SlurmPilot(described),))
    estimator = CutEstimator(labels="AABB", mode="sampled")
    program, binding = read_circuit(CIRCUIT)
    contraction = estimator.compile(program, binding, ["ZZZZ"])
    how = contracting_for("auto", queued, contraction, [], rows=6, exact=False)
    assert how.reason.startswith("local: no pilot with ranks is active yet; ")
    assert contracting_for("mpi", queued, contraction, [], rows=6, exact=False).pilots == ("later",)


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


def test_without_mpi_a_rank_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(PilotError, match=r"pip install 'pilotcut\[mpi\]' .*apt install mpich"):
        reconstruct.reconstruct(Path("runs/none"))
