"""Training runs that go on: after a break, of older versions, with another optimiser."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml
from support.training_runs import (
    SMALL,
    StopError,
    assert_same_run,
    results,
    stop_at,
    train,
    weights,
)

from pilotcut.errors import RunDirectoryError
from pilotcut.io.jsonl import read_jsonl
from pilotcut.options import MODES, SINGLE
from pilotcut.training.run_directory import RunDirectory

# -- resuming --------------------------------------------------------------------------


def test_a_run_broken_in_the_middle_of_an_epoch_resumes_bit_for_bit(tmp_path, finished):
    path = tmp_path / "run"
    with pytest.raises(StopError):
        train(path, progress=stop_at(2, 1))
    assert not (path / "weights.pt").exists()
    for file in ("trace.jsonl", "metrics.jsonl"):
        with (path / file).open("ab") as lines:
            lines.write(b'{"epoch": 2, "torn')
    summary = train(path, resume=True)
    assert results(summary) == results(finished[1])
    assert_same_run(path, finished[0])
    records = read_jsonl(path / "trace.jsonl")
    assert [r["epoch"] for r in records if r["kind"] == "resume"] == [2]


@pytest.mark.parametrize(
    "asked",
    [*({"mode": mode} for mode in MODES if mode != "counts"), {"mode": "exact", "dtype": SINGLE}],
    ids=lambda asked: "-".join(asked.values()),
)
def test_every_mode_resumes_bit_for_bit(tmp_path, asked):
    config = replace(SMALL, **asked)
    whole = train(tmp_path / "whole", config)
    with pytest.raises(StopError):
        train(tmp_path / "run", config, progress=stop_at(2, 1))
    assert results(train(tmp_path / "run", config, resume=True)) == results(whole)
    assert_same_run(tmp_path / "run", RunDirectory(tmp_path / "whole"))
    assert whole["shots"] == (0 if config.mode == "exact" else config.shots)


def test_metrics_that_no_checkpoint_knows_are_trained_again(tmp_path, finished):
    path = tmp_path / "run"
    train(path, replace(SMALL, epochs=1))
    with (path / "metrics.jsonl").open("ab") as lines:
        lines.write(b'{"epoch": 2, "loss": 0.0}\nnot a record\n')
    train(path, SMALL, resume=True)
    assert_same_run(path, finished[0])


def test_a_run_that_died_before_its_first_checkpoint_starts_over(tmp_path, finished):
    run = RunDirectory(tmp_path / "run")
    run.create(asdict(SMALL))
    train(run.path, resume=True)
    assert_same_run(run.path, finished[0])


def test_more_epochs_may_be_asked_for_and_are_remembered(tmp_path, finished):
    path = tmp_path / "run"
    train(path, replace(SMALL, epochs=1))
    train(path, SMALL, resume=True)
    assert_same_run(path, finished[0])
    assert RunDirectory(path).settings()["epochs"] == 2
    with pytest.raises(RunDirectoryError, match=r"epochs is 1, but .* has trained 2"):
        train(path, replace(SMALL, epochs=1), resume=True)


def test_resuming_a_finished_run_returns_its_summary_and_runs_nothing(finished):
    run, summary = finished
    queries = [r for r in read_jsonl(run.trace) if r["kind"] == "query_batch"]
    before = run.weights.read_bytes()
    assert train(run.path, resume=True) == summary
    assert [r for r in read_jsonl(run.trace) if r["kind"] == "query_batch"] == queries
    assert run.weights.read_bytes() == before


def test_other_settings_are_refused_all_at_once(finished):
    with pytest.raises(RunDirectoryError) as refused:
        train(finished[0].path, replace(SMALL, shots=8, seed=5, pilots="other.yaml"), resume=True)
    assert [fault.split(" is ")[0] for fault in refused.value.faults] == ["shots", "seed"]


# -- old runs --------------------------------------------------------------------------

#: Weights, loss and accuracy that runs came to before there was a `Trainer`.
OLD = {
    "exact": (
        replace(SMALL, mode="exact"),
        [-1.3045196533203125, -0.5992391705513, 1.1823092699050903, 0.6345023512840271],
        (0.5516528487205505, 0.9),
    ),
    "sampled": (
        replace(SMALL, mode="sampled"),
        # Since gates have bases of our own; another seed's, as it were.
        [-1.4348363876342773, -0.5867044925689697, 1.2323271036148071, 0.6315600275993347],
        (0.5955536067485809, 0.85),
    ),
    "counts": (
        SMALL,
        [-1.3840091228485107, -0.6290709972381592, 1.2034475803375244, 0.6420446634292603],
        (0.603283703327179, 0.75),
    ),
}


@pytest.mark.parametrize("mode", OLD)
def test_weights_are_those_of_old(tmp_path, mode):
    config, expected, (loss, accuracy) = OLD[mode]
    summary = train(tmp_path / "run", config)
    np.testing.assert_allclose(weights(tmp_path / "run")["weight"], expected, atol=1e-5)
    assert (summary["loss"], summary["accuracy"]) == pytest.approx((loss, accuracy), abs=1e-5)


def with_fewer_settings(path):
    """Turn a run's directory into that of a version that had fewer settings."""
    run = RunDirectory(path)
    new = ("classes", "reps", "samples", "validation", "optimizer", "loss", "schedule")
    gone = {*new, "patience", "tensorboard"}
    settings = {k: v for k, v in yaml.safe_load(run.config.read_text()).items() if k not in gone}
    run.config.write_text(yaml.safe_dump(settings | {"learning_rate": 0.1}))
    run.weights.unlink()


@pytest.mark.parametrize("mode", OLD)
def test_a_run_with_fewer_settings_is_resumed(tmp_path, mode):
    config, expected, _ = OLD[mode]
    path = tmp_path / "run"
    train(path, replace(config, epochs=1))
    with_fewer_settings(path)
    summary = train(path, config, resume=True)
    np.testing.assert_allclose(weights(path)["weight"], expected, atol=1e-5)
    assert [r["epoch"] for r in read_jsonl(path / "metrics.jsonl")] == [1, 2]
    assert (summary["epochs"], summary["stopped_early"]) == (2, False)
