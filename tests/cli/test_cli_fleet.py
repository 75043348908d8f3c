"""`pilotcut fleet`: what it prints, what it leaves behind, and what it says of bad input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from qiskit.providers.fake_provider import GenericBackendV2
from support.fleets import QPUS

from pilotcut.io.directory_lock import locked


def described(path, qpus=QPUS):
    backends = {name: {"kind": "aer"} | ({"qpu": qpu} if qpu else {}) for name, qpu in qpus.items()}
    pilots = [
        {"name": name, "resource": "inprocess", "walltime": "01:00:00", "backend": backend}
        for name, backend in backends.items()
    ]
    path.write_text(yaml.safe_dump({"pilots": pilots}))
    return path


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "trained"


@pytest.fixture
def trained(train, once, tmp_path):
    """Return the directory of a short training, each test's own."""
    if not once.exists():
        assert train(once)[0] == 0
    return shutil.copytree(once, tmp_path / "trained")


def fault(answer, code=2):
    """Return the one line that a refused command says, on stderr alone."""
    found, out, err = answer
    lines = [line for line in err.splitlines() if not line.startswith("note:")]
    assert (found, out, len(lines)) == (code, "", 1), answer
    return lines[0]


# -- what works ------------------------------------------------------------------------


def test_show_says_of_every_device_what_it_is_to_the_model(call, fleet):
    code, out, err = call("fleet", "show", "iris", "--fleet", fleet, "--kappa", "2000")
    assert (code, err) == (0, "")
    assert all(name in out for name in (*QPUS, "SWAPs", "success", "group"))


def test_show_as_json_has_the_numbers_of_strategies(call, fleet):
    options = ("--kappa", "2000", "--threshold", "0.9", "--json")
    code, out, _ = call("fleet", "show", "wine", "--fleet", "qpu_fleet")
    assert code == 0
    code, out, _ = call("fleet", "show", "iris", "--fleet", fleet, *options)
    shown = json.loads(out)
    assert [one["device"] for one in shown] == list(QPUS)
    assert [one["group"] for one in shown] == [1, 1, 1]
    for one in shown:
        assert one["similarity"][one["most_like"]] == max(one["similarity"].values())
        assert 0.5 < one["success"] < 1.0
    assert shown[2]["shot_s"] > 5 * shown[0]["shot_s"]


def test_show_of_one_device_has_nobody_to_compare_it_with(call, tmp_path):
    one = described(tmp_path / "one.yaml", {"alpha": QPUS["alpha"]})
    code, out, _ = call("fleet", "show", "iris", "--fleet", one)
    assert (code, "-" in out) == (0, True)


def noiseless():
    return GenericBackendV2(4, noise_info=False)


def test_show_says_which_device_is_noise_free_for_want_of_errors(call, tmp_path):
    two = {"alpha": {"like": f"{__name__}:noiseless"}, "beta": QPUS["beta"] | {"qubits": 4}}
    fleet = described(tmp_path / "two.yaml", two)
    code, out, err = call("fleet", "show", "iris", "--fleet", fleet)
    assert code == 0
    assert "device 'alpha' is noise-free: its target gives no errors" in " ".join(
        (out + err).split()
    )
    assert "'beta' is noise-free" not in out + err


def test_a_device_of_which_nothing_works_is_one_line_with_its_name(call, tmp_path):
    fleet = described(tmp_path / "one.yaml", {"alpha": {"like": "FakeKyoto"}})
    for command, more in (("show", ()), ("train", ("--run-dir", tmp_path / "run"))):
        line = fault(call("fleet", command, "iris", "--fleet", fleet, *more))
        assert "pilot 'alpha': backend.qpu is FakeKyoto, expected one with a gate on two" in line


def test_train_prints_a_summary_and_leaves_a_run(train, tmp_path):
    code, out, err = train(tmp_path / "run", "--strategy", "eqc")
    assert code == 0
    assert "iris, model crx, eqc: test accuracy" in out
    assert f"run directory: {tmp_path / 'run'}" in out
    assert "epoch 1/1" in err
    left = {path.name for path in (tmp_path / "run").iterdir()}
    known = {"config.yaml", "fleet.jsonl", "events.jsonl", "checkpoint.npz", "weights.npz"}
    assert left == known


def test_json_is_all_that_stands_on_stdout(train, tmp_path):
    code, out, _ = train(tmp_path / "run", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["strategy"] == "arbiterq"
    assert summary["epochs"] == 1
    assert summary["online"] == list(QPUS)
    assert summary["losses"].keys() == QPUS.keys()


def test_a_device_that_goes_is_told_of_when_it_goes(call, tmp_path):
    away = described(tmp_path / "f.yaml", QPUS | {"beta": QPUS["beta"] | {"offline": [[1, 2]]}})
    quick = ("--epochs", 2, "--shots", 0, "--batch-size", 80, "--run-dir", tmp_path / "run")
    code, _, err = call("fleet", "train", "iris", "--fleet", away, *quick)
    assert code == 0
    assert "note: epoch 1: device 'beta' left: it is offline by its schedule" in err
    assert "note: epoch 2: device 'beta' came back" in err


def test_resume_adds_epochs_and_has_nothing_to_do_the_second_time(call, train, fleet, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    again = ("fleet", "train", "iris", "--fleet", fleet, "--run-dir", run, "--resume", "--json")
    assert train(run)[0] == 0
    first = json.loads(call(*again, "--epochs", "2")[1])
    second = json.loads(call(*again)[1])
    at_once = json.loads(train(whole, "--json", epochs=2)[1])
    assert first == second == at_once | {"run_dir": str(run)}
    assert (run / "fleet.jsonl").read_bytes() == (whole / "fleet.jsonl").read_bytes()


def test_infer_compares_the_schedules(call, trained, fleet):
    command = ("fleet", "infer", "iris", "--fleet", fleet, "--run-dir", trained, "--shots", "64")
    code, out, _ = call(*command)
    assert code == 0
    assert "shot-oriented" in out
    assert "batch" in out
    both = json.loads(call(*command, "--json")[1])
    assert both.keys() == {"shot-oriented", "batch"}
    assert len(both["batch"]["values"]) == 20
    assert 0 <= both["batch"]["accuracy"] <= 1
    one = json.loads(call(*command, "--strategy", "batch", "--json")[1])
    assert one == {"batch": both["batch"]}
    other = json.loads(call(*command, "--strategy", "batch", "--seed", "8", "--json")[1])
    assert other != one


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "arbitrq"), "strategy is 'arbitrq'"),
        (("--strategy", "arbitrq"), "did you mean 'arbiterq'?"),
        (("--model", "crc"), "model is 'crc', expected one of crz, crx, crz-all"),
        (("--engine", "laws"), "did you mean 'law'?"),
        (("--combine", "median"), "combine is 'median', expected one of mean, sum"),
        (("--epochs", "0"), "epochs is 0, expected a whole number from 1"),
        (("--epochs", "-3"), "epochs is -3"),
        (("--batch-size", "0"), "batch_size is 0"),
        (("--shots", "-1"), "shots is -1, expected a whole number from 0 to 100,000,000"),
        (("--shots", "1000000000000000000000"), "shots is 1000000000000000000000"),
        (("--shots", "0", "--engine", "counts"), "shots is 0 with engine counts"),
        (("--local-steps", "0"), "local_steps is 0"),
        (("--seed", "-1"), "seed is -1"),
        (("--learning-rate", "0"), "learning_rate is 0.0, expected a number above 0"),
        (("--learning-rate", "nan"), "learning_rate is nan"),
        (("--kappa", "-1"), "kappa is -1.0, expected a number from 0 up"),
        (("--kappa", "inf"), "kappa is inf"),
        (("--threshold", "2"), "threshold is 2.0, expected a similarity from 0 to 1"),
        (("--wait", "-1"), "wait is -1.0, expected seconds from 0"),
        (("--wait", "nan"), "wait is nan"),
        (("--fleet", "nowhere.yaml"), "nowhere.yaml"),
        (("--fleet", "laptop"), "backend.qpu is missing, expected a QPU"),
        (("--epochs", "many"), "--epochs"),
        (("--resume",), "has no"),
    ],
)
def test_bad_input_of_train_is_one_line_and_leaves_nothing(train, options, said, tmp_path):
    if "--resume" in options:
        said = "holds no training on a fleet"
    assert said in fault(train(tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_all_faults_are_told_at_once_one_a_line(train, tmp_path):
    code, _, err = train(tmp_path / "run", "--seed", "-1", "--model", "x", "--kappa", "-1")
    assert (code, len(err.splitlines())) == (2, 3)


def test_an_unknown_data_set_is_refused_by_all_commands(call, fleet, trained):
    for command in (("show",), ("train",), ("infer", "--run-dir", trained)):
        said = fault(call("fleet", command[0], "irs", "--fleet", fleet, *command[1:]))
        assert said.startswith("error: dataset is")


def test_a_model_that_no_device_has_qubits_for_names_the_devices(call, fleet, tmp_path):
    for command in (("show",), ("train", "--run-dir", tmp_path / "run")):
        answer = call("fleet", command[0], "wine", "--fleet", fleet, *command[1:])
        code, _, err = answer
        told = [line for line in err.splitlines() if line.startswith("error: device")]
        assert code == 2
        assert [name for name in QPUS if any(f"'{name}'" in line for line in told)] == list(QPUS)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_directory_that_is_taken_is_refused(call, train, trained, fleet, tmp_path):
    assert "already holds a run" in fault(train(trained))
    (tmp_path / "file").write_text("")
    assert "is a file, expected a new or empty directory" in fault(train(tmp_path / "file"))
    assert "cannot be used (Not a directory)" in fault(train(tmp_path / "file" / "run"))
    with locked(trained):
        said = fault(train(trained, "--resume"))
    assert "is being written by another process" in said


def test_resume_without_a_directory_or_with_other_settings_is_refused(call, train, trained, fleet):
    said = fault(call("fleet", "train", "iris", "--fleet", fleet, "--resume"))
    assert "--resume is given without --run-dir" in said
    said = fault(train(trained, "--resume", "--strategy", "single"))
    assert "strategy is single and the run in" in said
    assert "epochs is -2" in fault(train(trained, "--resume", epochs=-2))


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b"\xff\xfe\x00", b"- 1\n", b"{", b"dataset: iris\n", b"dataset: [1]\nfleet: 3\n"),
        *(b"dataset: iris\nfleet: f\n" + line for line in (b"x: 1", b"epochs: 2.5", b"dealt: 3")),
        b"dataset: iris\nfleet: f\nkappa: much\n",
    ],
)
def test_a_damaged_configuration_is_one_line(call, trained, fleet, damage):
    (trained / "config.yaml").write_bytes(damage)
    infer = call("fleet", "infer", "iris", "--fleet", fleet, "--run-dir", trained)
    again = call("fleet", "train", "iris", "--fleet", fleet, "--run-dir", trained, "--resume")
    for answer in (infer, again):
        assert "holds no training on a fleet" in fault(answer)


@pytest.mark.parametrize("damage", [b"", b"junk", b"\x80\x04N.", b"\x80\x04}."])
def test_a_damaged_checkpoint_is_one_line(train, trained, damage):
    (trained / "checkpoint.npz").write_bytes(damage)
    assert "checkpoint.npz or fleet.jsonl is damaged" in fault(train(trained, "--resume"))


def test_damaged_weights_are_one_line_and_written_again_by_resume(call, train, trained, fleet):
    infer = ("fleet", "infer", "iris", "--fleet", fleet, "--run-dir", trained)
    whole = (trained / "weights.npz").read_bytes()
    for damage in (b"", b"junk", whole[:200], whole[:-30]):
        (trained / "weights.npz").write_bytes(damage)
        assert "has damaged weights" in fault(call(*infer))
    np.savez(trained / "weights.npz", devices=list(QPUS), weights=np.zeros((3, 5)))
    assert "has damaged weights" in fault(call(*infer))
    np.savez(trained / "weights.npz", devices=list(QPUS), weights=np.full((3, 8), np.nan))
    assert "has damaged weights" in fault(call(*infer))
    assert train(trained, "--resume")[0] == 0
    assert call(*infer)[0] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "shot-orientd"), "did you mean 'shot-oriented'?"),
        (("--shots", "1"), "shots is 1, expected a whole number from 2 to 100,000,000"),
        (("--shots", "-5"), "shots is -5"),
        (("--seed", "-1"), "seed is -1, expected a whole number from 0"),
        (("--run-dir", "nowhere"), "holds no training on a fleet"),
        (("--fleet", "nowhere.yaml"), "nowhere.yaml"),
        (("--fleet", "laptop"), "backend.qpu is missing"),
    ],
)
def test_bad_input_of_infer_is_one_line(call, trained, fleet, options, said):
    command = ("fleet", "infer", "iris", "--fleet", fleet, "--run-dir", trained)
    assert said in fault(call(*command, *options))


def test_infer_wants_the_data_the_end_and_the_devices_of_the_training(
    call, trained, fleet, tmp_path
):
    said = fault(call("fleet", "infer", "wine", "--fleet", fleet, "--run-dir", trained))
    assert "dataset is wine and the models of" in said
    more = described(tmp_path / "more.yaml", QPUS | {"delta": QPUS["beta"]})
    said = fault(call("fleet", "infer", "iris", "--fleet", more, "--run-dir", trained))
    assert "has no weights of device delta, expected the fleet that it was trained on" in said
    (trained / "weights.npz").unlink()
    said = fault(call("fleet", "infer", "iris", "--fleet", fleet, "--run-dir", trained))
    assert "has no weights yet, expected a finished training" in said


def test_a_training_whose_devices_are_all_away_is_one_line_and_can_be_resumed(call, tmp_path):
    gone = {name: qpu | {"offline": [[2, 3]]} for name, qpu in QPUS.items()}
    fleet = described(tmp_path / "fleet.yaml", gone)
    command = ("fleet", "train", "iris", "--fleet", fleet, "--run-dir", tmp_path / "run")
    answer = call(*command, "--epochs", 2, "--batch-size", 80, "--shots", 0)
    lines = answer[2].splitlines()
    assert answer[0] == 2
    assert "no device is left in epoch 2" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    described(fleet)
    assert call(*command, "--resume")[0] == 0


def test_importing_the_commands_is_light():
    script = "import sys, pilotcut.cli.fleet; print({'qiskit', 'torch', 'dask'} & {*sys.modules})"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "set()"
