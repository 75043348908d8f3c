"""The command line: results on stdout, a line and exit code 2 for every mistake."""

import json
import os

import pytest
import torch
import yaml

import pilotcut
from pilotcut.io.directory_lock import locked
from pilotcut.io.jsonl import read_jsonl
from pilotcut.training.config import TrainingConfig

TINY = ["--qubits", "2", "--epochs", "1", "--shots", "16", "--batch-size", "64"]


@pytest.fixture
def refused(call, tmp_path):
    """Return a function that expects a refusal and returns its lines, without 'error: '."""

    def run(*arguments, run_dir=None):
        place = run_dir or tmp_path / "refused"
        before = sorted(tmp_path.rglob("*"))
        code, out, err = call("train", *arguments, "--run-dir", place)
        lines = err.splitlines()
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        assert all(line.startswith(("error: ", "CutPlan(")) for line in lines)
        assert sorted(tmp_path.rglob("*")) == before, "a refusal writes nothing"
        return errors

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the directory of a finished run with one cut."""
    path = tmp_path_factory.mktemp("finished") / "run"
    config = TrainingConfig("iris", qubits=2, epochs=1, shots=16, batch_size=64, cuts=1)
    from pilotcut.training.run import TrainingRun
    from pilotcut.training.run_directory import RunDirectory

    TrainingRun(config, RunDirectory(path)).train()
    return path


@pytest.fixture
def run_copy(finished, tmp_path):
    """Return a copy of a finished run, to be damaged."""
    path = tmp_path / "run"
    path.mkdir()
    for file in finished.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


# -- what works ------------------------------------------------------------------------


def test_a_summary_for_people_names_accuracy_stages_and_directory(call, tmp_path):
    run_dir = tmp_path / ("[red]" + "long-name-" * 10)
    code, out, err = call("train", "iris", *TINY, "--cuts", 1, "--run-dir", run_dir)
    assert code == 0, err
    assert "iris: test accuracy" in out
    for stage in ("partition", "generate", "execute", "reconstruct"):
        assert stage in out
    assert f"run directory: {run_dir}\n" in out
    assert torch.load(run_dir / "weights.pt", weights_only=True)


def test_how_gates_and_wires_are_cut_is_kept(call, tmp_path):
    run_dir = tmp_path / "run"
    from pilotcut.training.run_directory import RunDirectory

    how = ("--cuts", 1, "--wires", "separate", "--joint-cuts", "--run-dir", run_dir)
    code, _, err = call("train", "iris", *TINY, *how)
    assert code == 0, err
    settings = RunDirectory(run_dir).settings()
    assert (settings["wires"], settings["joint_cuts"]) == ("separate", True)
    # Those of a run from before there was a choice.
    text = (run_dir / "config.yaml").read_text()
    text = text.replace("wires: separate\n", "").replace("engine: auto\n", "")
    (run_dir / "config.yaml").write_text(text)
    settings = RunDirectory(run_dir).settings()
    assert (settings["wires"], settings["engine"]) == ("separate", "statevector")


def test_without_a_run_dir_a_new_one_is_made_under_runs(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("train", "iris", *TINY, "--json")
    assert code == 0
    assert (tmp_path / json.loads(out)["run_dir"] / "weights.pt").exists()
    assert json.loads(out)["run_dir"].startswith("runs/iris-")


def test_the_version_is_shown(call):
    assert call("--version") == (0, f"pilotcut {pilotcut.__version__}\n", "")


def test_help_shows_the_defaults(call):
    code, out, _ = call("train", "--help")
    assert code == 0
    for default in ("1024", "counts", "0.1"):
        assert default in out


def test_pilots_are_shown(call, tmp_path):
    file = tmp_path / "pilots.yaml"
    file.write_text("pilots: [{name: mine, resource: local, queue: fast}]\n")
    code, out, err = call("pilots", "show", file)
    assert code == 0
    assert "mine" in out
    assert "queue has no effect for resource local" in err


# -- bad settings ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cuts", 7], "cuts is 7, but to cut all gates of the circuit takes 1, expected"),
        (["--cuts", -1], "cuts is -1, expected a whole number from 0"),
        (["--labels", "ABC"], "labels 'ABC' name 3 qubits, expected 2"),
        (["--wires", "both"], "wires is 'both', expected one of auto, communication, randomised"),
        (["--labels", ""], "labels '' name 0 qubits, expected 2"),
        (["--labels", "AB", "--cuts", 1], "cuts is 1 and labels is 'AB', expected one of the two"),
        (["--shots", 0], "shots is 0, expected a whole number from 1"),
        (["--shots", -5], "shots is -5, expected a whole number from 1"),
        (["--shots", 10**21], f"shots is {10**21}, expected a whole number from 1 to"),
        (["--epochs", 0], "epochs is 0, expected a whole number from 1"),
        (["--batch-size", 0], "batch_size is 0, expected a whole number from 1"),
        (["--mode", "count"], "mode is 'count', expected one of counts, "),
        (["--learning-rate", 0], "learning_rate is 0.0, expected a number above 0"),
        (["--learning-rate", "nan"], "learning_rate is nan, expected a number above 0"),
        (["--learning-rate", "inf"], "learning_rate is inf, expected a number above 0"),
        (["--qubits", 0], "qubits is 0, expected a whole number from 1"),
        (["--qubits", 5], "qubits: found 5, expected 1 to 4, the features of 'iris'"),
        (["--seed", -1], "seed is -1, expected a whole number from 0"),
        (["--seed", 2**32], f"seed is {2**32}, expected a whole number from 0 to {2**32 - 1:,}"),
        (["--pilots", "/no/such.yaml"], "/no/such.yaml: does not exist"),
        (["--classes", 1], "classes is 1, expected a whole number from 2 to 10"),
        (["--classes", 3], "classes is 3 on 2 qubits, expected a qubit for each class"),
        (["--classes", 4, "--qubits", 4], "classes: found 4, expected 2 to 3, the classes of"),
        (["--reps", 0], "reps is 0, expected a whole number from 1"),
        (["--reps", 3, "--cuts", 1], "cuts is 1, but no plan has exactly 1 cut"),
        (["--samples", 9], "samples is 9, expected a whole number from 10"),
        (["--optimizer", "Addam"], "optimizer is 'addam', expected one of adam, "),
        (["--loss", "msse"], "loss is 'msse', expected one of auto, mse, "),
        (["--loss", "cross_entropy"], "loss is 'cross_entropy' for 2 classes, expected mse, "),
        (["--schedule", "steps"], "schedule is 'steps', expected one of constant, "),
        (["--optimizer", "spsa", "--schedule", "step"], "schedule is 'step' with optimizer 'spsa'"),
        (["--patience", 0, "--validation", 0.2], "patience is 0, expected a whole number from 1"),
        (["--patience", 2], "patience is 2 and validation is 0, expected samples to watch"),
        (["--validation", 1], "validation is 1.0, expected a share"),
        (["--validation", "nan"], "validation is nan, expected a share"),
        (["--error-tolerance", 2], "error_tolerance is 2.0, expected a number from 0 to 1"),
        (["--mitigation", "zen"], "mitigation is 'zen', expected one of none, readout, zne, "),
        (["--mitigation", "zne"], "mitigation is 'zne', and no pilot has a backend.qpu, expected"),
        (["--validation", 0.001], "validation: found 0.001 of 80 samples, expected enough"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_setting_that_makes_no_sense_is_one_line(refused, options, said):
    (line,) = refused("iris", *TINY, *options)
    assert line.startswith(said)


def test_all_settings_that_make_no_sense_are_told_at_once(refused):
    options = ["--shots", 0, "--epochs", 0, "--mode", "x", "--learning-rate", -1, "--batch-size", 0]
    lines = refused("iris", "--cuts", 1, "--labels", "AB", *options)
    assert sorted(line.split(" is ")[0] for line in lines) == sorted(
        ["shots", "epochs", "mode", "learning_rate", "batch_size", "cuts"]
    )


def test_an_unknown_data_set_is_guessed_at(refused):
    (line,) = refused("irs", *TINY)
    assert "unknown 'irs', expected one of iris, wine, digits, mnist; did you mean 'iris'?" in line


def test_mnist_says_which_files_it_wants(refused, tmp_path):
    (line,) = refused("mnist", *TINY)
    assert line.startswith("data_dir: missing")
    assert "train-images-idx3-ubyte" in line
    assert "--data-dir" in line
    (line,) = refused("mnist", *TINY, "--data-dir", tmp_path)
    assert line.startswith(f"data_dir: found no MNIST in '{tmp_path}'")


def test_all_faults_of_a_pilot_description_are_told_by_both_commands(refused, call, tmp_path):
    file = tmp_path / "pilots.yaml"
    file.write_text("pilots:\n - {name: a, resource: locl, walltime: 90, coresper: 3}\nmore: 1\n")
    lines = refused("iris", *TINY, "--pilots", file)
    assert len(lines) == 4
    assert all(line.startswith(f"{file}: ") for line in lines)
    for part in (
        "'more' is an unknown key",
        "did you mean 'local'?",
        "walltime is 90, expected 'HH:MM:SS'; did you mean '01:30:00'?",
        "coresper is an unknown key; did you mean 'cores_per_node'?",
    ):
        assert sum(part in line for line in lines) == 1
    code, out, err = call("pilots", "show", file)
    assert (code, out) == (2, "")
    assert [line.removeprefix("error: ") for line in err.splitlines()] == lines


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"pilots: [", "not valid YAML"),
        (b"\xff\xfe\x00", "is not a text file"),
        (b"", "is empty"),
        (b"pilots: [{name: a, resource: local, backend: {noise: x}}]", "noise is an unknown key"),
    ],
)
def test_a_description_that_cannot_be_used_is_one_line(refused, tmp_path, content, said):
    file = tmp_path / "pilots.yaml"
    file.write_bytes(content)
    (line,) = refused("iris", *TINY, "--pilots", file)
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "No such option: --bogus"),
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument"),
        (["train", "iris", "--bogus", "1"], "No such option: --bogus"),
        (["train", "iris", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["train", "iris", "--epochs"], "--epochs"),
        (["train", "iris", "wine"], "unexpected extra argument"),
        (["train", "iris", "--resume"], "--resume is given without --run-dir"),
        (["pilots", "show"], "Missing argument"),
    ],
    ids=" ".join,
)
def test_a_misused_command_is_one_line(call, arguments, said):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_no_command_shows_the_help(call):
    code, out, err = call()
    assert code == 2
    assert (out + err).count("Usage: pilotcut") == 1


# -- run directories -------------------------------------------------------------------


def test_a_directory_that_holds_a_run_is_not_written_over(call, finished):
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    code, out, err = call("train", "iris", *TINY, "--cuts", 1, "--run-dir", finished)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "already holds a run" in line
    assert "--resume" in line
    assert "another --run-dir" in line
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before


def test_a_place_that_can_hold_no_run_is_told(refused, tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.touch()
    other.mkdir()
    (other / "thing").touch()
    (line,) = refused("iris", *TINY, run_dir=file)
    assert "is a file" in line
    (line,) = refused("iris", *TINY, run_dir=file / "run")
    assert "cannot be used" in line
    (line,) = refused("iris", *TINY, run_dir=other)
    assert "holds 'thing' and no run" in line


def test_a_place_that_cannot_be_written_is_told(refused, tmp_path):
    if os.geteuid() == 0:
        place = "/proc/pilotcut-run"  # even root writes nothing there
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        place = tmp_path / "locked" / "run"
    (line,) = refused("iris", *TINY, run_dir=place)
    assert "cannot be used" in line


def test_there_must_be_a_run_to_resume(refused, tmp_path):
    (line,) = refused("iris", "--resume", run_dir=tmp_path / "nothing")
    assert "holds no run to resume" in line


def test_a_run_that_another_process_trains_is_not_resumed_beside_it(refused, run_copy):
    before = (run_copy / "config.yaml").read_bytes()
    with locked(run_copy):
        (line,) = refused("iris", "--resume", "--epochs", 9, run_dir=run_copy)
    assert "is being written by another process" in line
    assert (run_copy / "config.yaml").read_bytes() == before


def test_resume_takes_the_settings_of_the_run_and_refuses_others(call, refused, run_copy):
    code, out, err = call("train", "iris", "--resume", "--run-dir", run_copy, "--json")
    assert code == 0, err
    first = json.loads(out)
    assert (first["shots"], first["cuts"]) == (16, 1)
    lines = refused("iris", "--resume", "--shots", 32, "--labels", "AB", run_dir=run_copy)
    assert any(line.startswith("cuts is 1 and labels is 'AB'") for line in lines)
    lines = refused("wine", "--resume", "--shots", 32, "--seed", 9, run_dir=run_copy)
    assert [line.split(" is ")[0] for line in lines] == ["dataset", "shots", "seed"]
    code, out, _ = call("train", "iris", "--resume", "--run-dir", run_copy, "--json")
    assert json.loads(out) == first
    code, out, _ = call("train", "iris", "--resume", "--run-dir", run_copy, "--epochs", 2, "--json")
    assert code == 0
    assert [r["epoch"] for r in read_jsonl(run_copy / "metrics.jsonl")] == [1, 2]
    (line,) = refused("iris", "--resume", "--epochs", 1, run_dir=run_copy)
    assert "has trained 2" in line


def test_early_stopping_is_told_and_resumed_with_more_patience(call, tmp_path):
    run_dir = tmp_path / "run"
    options = ["--mode", "exact", "--validation", 0.3, "--learning-rate", 1, "--epochs", 30]
    start = ["train", "iris", "--qubits", 2, "--seed", 3, "--run-dir", run_dir, "--patience", 2]
    code, out, err = call(*start, *options)
    assert code == 0, err
    epochs = len(read_jsonl(run_dir / "metrics.jsonl"))
    assert epochs < 30
    told = f"2 classes, adam, {epochs} epochs (stopped early), weights of epoch {epochs - 2};"
    assert f"{told} validation accuracy" in out
    more = ["train", "iris", "--run-dir", run_dir, "--resume", "--patience", 9, "--json"]
    code, out, err = call(*more)
    assert code == 0, err
    summary = json.loads(out)
    assert summary["epochs"] > epochs
    assert (summary["optimizer"], summary["classes"], summary["reps"]) == ("adam", 2, 1)


def test_what_would_change_the_numbers_is_refused_when_a_run_is_resumed(call, refused, tmp_path):
    run_dir = tmp_path / "run"
    start = ["train", "iris", *TINY, "--mode", "exact", "--schedule", "cosine"]
    code, _, err = call(*start, "--run-dir", run_dir)
    assert code == 0, err
    changed = {
        "--epochs": 5,  # the schedule was to end with the first
        "--optimizer": "sgd",
        "--learning-rate": 0.2,
        "--loss": "hinge",
        "--validation": 0.1,
        "--samples": 50,
        "--reps": 2,
    }
    options = [word for pair in changed.items() for word in pair]
    lines = refused("iris", "--resume", *options, run_dir=run_dir)
    assert {line.split(" is ")[0] for line in lines} == {
        option[2:].replace("-", "_") for option in changed
    }
    same = ["--optimizer", "Adam", "--learning-rate", 0.1]  # which it had by default
    code, _, err = call("train", "iris", "--resume", *same, "--run-dir", run_dir)
    assert code == 0, err


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut short", "other weights", "a list"])
def test_a_damaged_checkpoint_is_one_line(refused, run_copy, damage):
    file = run_copy / "checkpoint.pt"
    whole = file.read_bytes()
    if damage == "other weights":
        torch.save(torch.load(file) | {"network": {"weight": torch.zeros(3)}}, file)
    elif damage == "a list":
        torch.save([1, 2], file)
    else:
        file.write_bytes({"empty": b"", "garbage": b"garbage", "cut short": whole[:-200]}[damage])
    (line,) = refused("iris", "--resume", "--epochs", 2, run_dir=run_copy)
    assert line.startswith(f"{file}: cannot be read")
    assert "remove it to --resume from the first epoch" in line


@pytest.mark.parametrize("content", ["", "[1]", "a: [", "\0", "epochs: many\n", "bogus: 1\n"])
def test_a_damaged_configuration_is_one_line(refused, run_copy, content):
    (run_copy / "config.yaml").write_text(content)
    (line,) = refused("iris", "--resume", run_dir=run_copy)
    assert line.startswith(f"{run_copy / 'config.yaml'}: cannot be read")


def test_torn_records_do_not_stop_a_resumed_run(call, run_copy):
    for name in ("metrics.jsonl", "trace.jsonl"):
        with (run_copy / name).open("ab") as file:
            file.write(b'\xff garbage\n[1]\n{"epoch": 2, "lo')
    code, _, err = call("train", "iris", "--resume", "--run-dir", run_copy, "--epochs", 2)
    assert code == 0, err
    assert [r["epoch"] for r in read_jsonl(run_copy / "metrics.jsonl")] == [1, 2]
    assert yaml.safe_load((run_copy / "config.yaml").read_text())["epochs"] == 2


def test_what_takes_long_is_a_note_and_other_warnings_stay_as_they_are(monkeypatch, capsys):
    import warnings

    from pilotcut import cli
    from pilotcut.errors import LongCallWarning

    def app(**_):
        warnings.warn("a query is predicted to take 2 h", LongCallWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)

    monkeypatch.setattr(cli, "app", app)
    assert cli._run() == 0
    said = capsys.readouterr().err
    assert "note: a query is predicted to take 2 h\n" in said
    assert "UserWarning: something else" in said
