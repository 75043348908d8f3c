"""Commands that start pilots, or whose own standard streams are what is claimed."""

import json
import signal
import subprocess
import sys
import time

import pytest
from support.calibrations import install

from pilotcut.errors import DescriptionError
from pilotcut.io.jsonl import read_jsonl
from pilotcut.perfmodel.calibration_files import load, path_of
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.pilots.description import load_descriptions

TINY = ["--qubits", "2", "--epochs", "1", "--shots", "16", "--batch-size", "64"]


JSON_KEYS = [
    "dataset",
    "classes",
    "qubits",
    "reps",
    "cuts",
    "fragments",
    "mode",
    "shots",
    "optimizer",
    "epochs",
    "best_epoch",
    "stopped_early",
    "reason",
    "accuracy",
    "loss",
    "train_accuracy",
    "val_accuracy",
    "val_loss",
    "seconds",
    "stage_seconds",
    "queries",
    "subexperiments",
    "predicted",
    "run_dir",
]


def test_json_is_one_object_on_stdout_with_local_pilots_too(tmp_path):
    # A process of its own: what libraries and workers print counts as well.
    pilots = tmp_path / "laptop.yaml"
    pilots.write_text("pilots: [{name: laptop, resource: local, cores_per_node: 1}]\n")
    run_dir = tmp_path / "[red]run"  # is no markup
    command = [sys.executable, "-m", "pilotcut.cli", "train", "iris", *TINY, "--labels", "AB"]
    command += ["--mode", "counts"]  # Aer comes sooner than torch in workers
    done = subprocess.run(
        [*command, "--json", "--pilots", str(pilots), "--run-dir", str(run_dir)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    summary = json.loads(done.stdout)
    assert list(summary) == JSON_KEYS
    assert list(summary["stage_seconds"]) == ["partition", "generate", "execute", "reconstruct"]
    assert summary["run_dir"] == str(run_dir)
    fixed = ("dataset", "qubits", "cuts", "fragments", "mode", "shots")
    assert [summary[key] for key in fixed] == ["iris", 2, 1, 2, "counts", 16]
    assert 0 <= summary["accuracy"] <= 1
    assert "CutPlan(2 qubits, labels AB" in done.stderr
    assert "epoch 1/1" in done.stderr
    written = {entry.name for entry in run_dir.iterdir()}
    assert written - {"waiting.json"} == {  # which is there if a task has waited
        "config.yaml",
        "trace.jsonl",
        "metrics.jsonl",
        "checkpoint.pt",
        "weights.pt",
        "logs",
        "events.jsonl",
        "pilots.json",
    }
    assert {entry.name for entry in (run_dir / "logs").iterdir()} == {
        "scheduler.log",
        "laptop.log",
    }
    assert read_jsonl(run_dir / "trace.jsonl")[-1]["workers"] == 1


def test_pilots_that_do_not_start_leave_their_log_and_no_run(call, tmp_path):
    file, run_dir = tmp_path / "pilots.yaml", tmp_path / "run"
    file.write_text("pilots: [{name: a, resource: local, setup: ['echo oh no >&2', 'false']}]\n")
    code, out, err = call("train", "iris", *TINY, "--run-dir", run_dir, "--pilots", file)
    assert (code, out) == (1, "")
    assert "failed: a ended before it was ready" in err
    assert "Traceback" not in err
    assert "oh no" in (run_dir / "logs" / "a.log").read_text()
    code, _, err = call("train", "iris", *TINY, "--run-dir", run_dir)
    assert code == 0, err


@pytest.mark.usefixtures("few_sizes")
def test_local_pilots_are_started_and_measured(call, tmp_path):
    """One worker process, in a table for people; modes that were there stay."""
    path = tmp_path / "laptop.yaml"
    path.write_text("pilots: [{name: laptop, resource: local, count: 2}]\n")
    (one, _) = load_descriptions(path)
    install(one, modes=("exact",))
    code, out, err = call("calibrate", "--pilots", path, "--mode", "counts", "--seconds", 1)
    assert code == 0, err
    assert "laptop: one slot of " in " ".join(out.split())
    assert set(load(path_of(one)).modes) == {"counts", "exact"}


def test_a_pilot_that_does_not_start_leaves_no_calibration(call, tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("pilots: [{name: a, resource: local, setup: ['false']}]\n")
    code, out, err = call("calibrate", "--pilots", path, "--mode", "exact", "--seconds", 1)
    assert (code, out) == (1, "")
    assert "failed: a ended before it was ready" in err
    assert "Traceback" not in err
    assert not path_of(load_descriptions(path)[0]).exists()


def test_ctrl_c_is_one_line_and_the_run_goes_on_to_the_same_bits(call, train, fleet, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = [sys.executable, "-m", "pilotcut.cli", "fleet", "train", "iris", "--fleet", fleet]
    command += ["--epochs", "400", "--shots", "32", "--batch-size", "40", "--run-dir", run]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as training:
        limit = time.monotonic() + 60
        while not (run / "fleet.jsonl").exists() or (run / "fleet.jsonl").stat().st_size < 3000:
            assert time.monotonic() < limit
            time.sleep(0.02)
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=30)
    lines = [line for line in err.splitlines() if not line.startswith(("note:", "epoch 0/"))]
    expected = f"pilotcut fleet train iris --fleet {fleet} --run-dir {run} --resume"
    assert (training.returncode, out) == (130, "")
    assert lines == [f"interrupted: continue with: {expected}"]
    done = len((run / "fleet.jsonl").read_text().splitlines())
    assert call(*expected.split()[1:], "--epochs", done + 1)[0] == 0
    assert train(whole, epochs=done + 1)[0] == 0
    assert (run / "fleet.jsonl").read_bytes() == (whole / "fleet.jsonl").read_bytes()


def test_a_training_runs_on_pilots_that_another_program_has(tmp_path):
    """With their connection file as --pilots, and they stay: they are whose they were."""
    described = tmp_path / "mine.yaml"
    described.write_text("pilots: [{name: mine, resource: local, cores_per_node: 2}]\n")
    with PilotManager.from_yaml(described, run_dir=tmp_path / "kept") as pilots:
        command = [sys.executable, "-m", "pilotcut.cli", "train", "iris", *TINY, "--labels", "AB"]
        command += ["--pilots", str(pilots.connection_file), "--run-dir", str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        (pilot,) = pilots.pilots
        assert pilot.state is PilotState.ACTIVE
    batches = [r for r in read_jsonl(tmp_path / "run/trace.jsonl") if r["kind"] == "query_batch"]
    assert {batch["workers"] for batch in batches} == {2}  # of this process it would be 1


def test_a_connection_file_in_place_of_a_description_is_one_line(tmp_path):
    file = tmp_path / "connection.json"
    file.write_text('{"address": "tls://a:1", "certificate": "c", "key": "k"}')
    with pytest.raises(DescriptionError) as found:
        load_descriptions(file)
    (line,) = str(found.value).splitlines()
    assert "is the connection file of running pilots, expected a description" in line
