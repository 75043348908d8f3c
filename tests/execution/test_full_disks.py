"""What a run cannot write is one line, loses nothing, and leaves both ways on open."""

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from qiskit.circuit import QuantumCircuit
from support.calibrations import made_up
from support.full_disks import no_file_above

from pilotcut import CutEstimator, PilotManager, TaskManager, TrainingRun, UserError, compile_plan
from pilotcut.errors import RunDirectoryError, TaskError, unwrapped
from pilotcut.execution.query_store import load, reconstruct
from pilotcut.io.jsonl import JsonLines, read_jsonl
from pilotcut.perfmodel import calibration_files
from pilotcut.pilots.description import embedded
from pilotcut.report.plan_drawing import draw_plan
from pilotcut.training.callbacks import TensorBoard
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run_directory import RunDirectory
from pilotcut.training.trainer import Trainer

# TensorBoard's writer is a thread, whose error is told once more, some time later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SMALL = TrainingConfig(
    dataset="iris",
    qubits=4,
    labels="AABB",
    samples=12,
    epochs=2,
    batch_size=8,
    mode="sampled",
    shots=8,
)


def train(path, *, resume=False, **options):
    return TrainingRun(replace(SMALL, **options), path).train(resume=resume)


def weights(path):
    return torch.load(path / "weights.pt", weights_only=True)["weight"]


def fault(error) -> str:
    (line,) = error.value.faults
    assert "\n" not in line
    return line


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    train(path)
    return path


# -- a first epoch that fails ----------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "store", "file"),
    [
        (500, False, "trace.jsonl"),  # the settings fit
        (1500, False, "trace.jsonl"),  # in the backward pass, where Qiskit ML wraps all errors
        (6000, False, "checkpoint.pt"),
        (600, True, "query.pkl"),
    ],
)
def test_both_ways_go_on_after_a_first_epoch_that_finds_no_space(
    size, store, file, tmp_path, undisturbed
):
    """A new start and a resumed one come to the weights of a run that nothing disturbed."""
    path = tmp_path / "run"
    with no_file_above(size), pytest.raises(UserError) as error:
        train(path, store=store)
    line = fault(error)
    assert str(path) in line
    assert file in line
    assert "File too large" in line
    shutil.copytree(path, tmp_path / "new")
    train(path, resume=True, store=store)
    train(tmp_path / "new", store=store)
    for way in (path, tmp_path / "new"):
        assert torch.equal(weights(way), weights(undisturbed))
        left = {entry.name for entry in way.iterdir()} - {e.name for e in undisturbed.iterdir()}
        assert left == ({"tensors"} if store else set())


def test_blocks_that_were_measured_are_not_measured_again(tmp_path, undisturbed):
    """The first query is on disk when the second finds no space: a resumed start reads it."""
    path = tmp_path / "run"
    with pytest.raises(UserError, match="a full disk"):
        TrainingRun(replace(SMALL, store=True), path).train(progress=fails)
    kept = sorted((path / "tensors").glob("query-*/blocks/*.npy"))
    before = {file: file.stat().st_mtime_ns for file in kept}
    assert before
    train(path, resume=True, store=True, epochs=1)
    assert {file: file.stat().st_mtime_ns for file in kept} == before


def fails(epoch, batch, batches, loss):
    raise UserError("a full disk")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "left",
    [
        "tensors/query-000000/blocks",
        "tensors",
        "checkpoint.pt.0123456789ab.partial",
        "config.yaml.0123456789ab.partial",
    ],
)
def test_leftovers_of_any_start_stand_in_no_way(left, resume, tmp_path, call):
    """Those of a kill, too, which left no settings."""
    path = tmp_path / "run"
    if left.endswith("partial"):
        path.mkdir()
        (path / left).write_bytes(b"torn")
    else:
        (path / left).mkdir(parents=True)
    (path / "logs").mkdir()
    options = ["--qubits", 4, "--samples", 12, "--labels", "AABB", "--mode", "exact", "--epochs", 1]
    ways = ["--resume"] if resume else []
    code, _, err = call("train", "iris", *options, "--run-dir", path, "--json", *ways)
    assert code == 0, err
    assert not list(path.glob("*.partial" if not resume else "begun*"))
    assert (path / "weights.pt").exists()


def test_what_is_no_leftover_is_never_touched(tmp_path):
    """A directory of somebody's tensors holds no run, and stays as it is."""
    path = tmp_path / "run"
    (path / "tensors").mkdir(parents=True)
    (path / "tensors" / "mine.npy").touch()
    for resume in (False, True):
        with pytest.raises(RunDirectoryError, match=r"holds 'tensors' and no run|no run to"):
            train(path, resume=resume)
    assert (path / "tensors" / "mine.npy").exists()
    with pytest.raises(RunDirectoryError, match="holds no run to resume; leave out --resume"):
        train(tmp_path / "nothing", resume=True)


def test_a_resumed_start_keeps_to_what_was_asked(tmp_path):
    """Other settings would not be those of the blocks that are there; a new start is free."""
    path = tmp_path / "run"
    with no_file_above(500), pytest.raises(UserError):
        train(path)
    with pytest.raises(RunDirectoryError, match="seed is 5, but the run"):
        train(path, resume=True, seed=5)
    train(path, seed=5, mode="exact", shots=1024, epochs=1)


def test_a_command_whose_disk_is_full_says_so_in_a_line(tmp_path, call):
    options = ["--qubits", 4, "--samples", 12, "--labels", "AABB", "--mode", "exact", "--epochs", 1]
    path = tmp_path / "run"
    with no_file_above(1500):
        code, _, err = call("train", "iris", *options, "--run-dir", path, "--json")
    assert code == 2
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    code, _, err = call("train", "--resume", "iris", "--run-dir", path, "--json")  # its settings
    assert code == 0, err


# -- later epochs ----------------------------------------------------------------------


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, undisturbed):
    """The run goes on from there to the same weights."""
    path = tmp_path / "run"
    train(path, epochs=1)
    whole = (path / "checkpoint.pt").read_bytes()
    with no_file_above(len(whole) - 200), pytest.raises(UserError) as error:
        train(path, resume=True)
    assert "checkpoint.pt: cannot be written (File too large)" in fault(error)
    assert (path / "checkpoint.pt").read_bytes() == whole
    train(path, resume=True)
    assert torch.equal(weights(path), weights(undisturbed))
    assert [r["epoch"] for r in read_jsonl(path / "metrics.jsonl")] == [1, 2]


def test_weights_and_settings_are_written_whole_or_not_at_all(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create({"dataset": "iris"})
    state = {"weight": torch.zeros(1000)}
    run.save_weights(state)
    before = {file: file.read_bytes() for file in run.path.iterdir()}
    for save in (run.save_weights, run.save_checkpoint, run.save_recommendation):
        with no_file_above(50), pytest.raises(RunDirectoryError) as error:
            save({"text": "a" * 100})
        assert "cannot be written (File too large)" in fault(error)
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before


def test_logs_for_tensorboard_without_space_are_a_line(tmp_path):
    rows = torch.utils.data.TensorDataset(torch.rand(4, 1), torch.rand(4, 1))
    loader = torch.utils.data.DataLoader(rows, batch_size=4)
    trainer = Trainer(torch.nn.Linear(1, 1), callbacks=[TensorBoard(tmp_path / "board")])
    with no_file_above(30), pytest.raises(UserError) as error:
        trainer.fit(loader, epochs=2)
    assert "board: cannot be written" in fault(error)


# -- records ---------------------------------------------------------------------------


def test_a_record_without_space_leaves_no_torn_line(tmp_path):
    with JsonLines(tmp_path / "trace.jsonl") as lines:
        lines.write({"number": 1})
        with no_file_above(30), pytest.raises(RunDirectoryError) as error:
            lines.write({"number": 2, "text": "a" * 50})
        assert "trace.jsonl: cannot be written (File too large)" in fault(error)
        lines.write({"number": 3})
    assert [r["number"] for r in read_jsonl(lines.path)] == [1, 3]
    assert len(lines.path.read_bytes().splitlines()) == 2
    lines.write({"number": 4})  # its file is closed
    assert lines.records == [{"number": 4}]


def test_a_device_that_is_full_is_a_line(tmp_path):
    (tmp_path / "trace.jsonl").symlink_to("/dev/full")
    with JsonLines(tmp_path / "trace.jsonl") as lines, pytest.raises(RunDirectoryError) as error:
        lines.write({"number": 1})
    assert "No space left on device" in fault(error)


# -- what else is written --------------------------------------------------------------


@pytest.fixture(scope="module")
def circuit():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


@pytest.mark.parametrize("pilots", [False, True])
def test_a_block_without_space_is_a_line(pilots, tmp_path, circuit):
    def ask(tasks):
        estimator = CutEstimator(tasks, labels="AB", seed=1, shots=8, store=tmp_path / "store")
        # One file, and not the query's, cannot be written.
        (tmp_path / "store" / "query-000000").mkdir(parents=True)
        (tmp_path / "store" / "query-000000" / "blocks").symlink_to("/proc/none")
        with pytest.raises(UserError) as error:
            estimator.run([(circuit, "ZZ")]).result()
        assert "cannot be written to" in fault(error)

    if not pilots:
        ask(None)
        return
    with PilotManager(embedded(1)) as manager, TaskManager(manager) as tasks:
        ask(tasks)


def test_a_stored_query_without_space_is_a_line_and_goes_on(tmp_path, circuit):
    store = tmp_path / "store"
    estimator = CutEstimator(labels="AB", seed=1, shots=64, store=store)
    want = estimator.run([(circuit, "ZZ")]).result()[0].data.evs
    shutil.rmtree(store / "query-000000" / "blocks")
    with no_file_above(100), pytest.raises(UserError) as error:
        reconstruct(load(store, 0))
    assert "cannot be written to" in fault(error)
    values, _ = reconstruct(load(store, 0))
    assert values.item() == pytest.approx(float(want))


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_drawing_without_space_is_a_line_and_leaves_the_old_one(suffix, tmp_path, circuit):
    path = tmp_path / f"plan{suffix}"
    plan = compile_plan(circuit, labels="AB")
    draw_plan(plan, path)
    before = path.read_bytes()
    with no_file_above(100), pytest.raises(UserError) as error:
        draw_plan(plan, path)
    assert f"{path} cannot be written (File too large)" in fault(error)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_calibration_without_space_leaves_the_old_one(tmp_path):
    path = tmp_path / "here.json"
    calibration_files.save(made_up(modes=("exact",)), path)
    before = path.read_bytes()
    with no_file_above(100), pytest.raises(UserError) as error:
        calibration_files.save(made_up(modes=("exact",)), path)
    assert "here.json: cannot be written" in fault(error)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_errors_of_ours_come_out_of_what_others_put_around_them():
    def fail(*errors):
        for outer, inner in pairwise(errors):
            outer.__cause__ = inner
        with pytest.raises(Exception) as raised, unwrapped():  # noqa: PT011  which one is asked
            raise errors[0]
        return raised.value

    ours, task, theirs = UserError("no space"), TaskError("lost"), ValueError("job failed")
    assert fail(theirs, ours, OSError(28, "full")) is ours
    assert fail(RuntimeError("outer"), ValueError("inner"), task) is task
    assert fail(KeyError("alone")).args == ("alone",)
    assert fail(UserError("outer"), UserError("inner")).faults == ("outer",)
