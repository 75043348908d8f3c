"""Training: the same seed gives the same weights, wherever, however often interrupted."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import yaml
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN

from pilotcut.descriptions import PilotDescription, embedded
from pilotcut.errors import RunDirectoryError, UserError
from pilotcut.estimator import MODES, CutEstimator
from pilotcut.gradient import CutGradient
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager
from pilotcut.trace import STAGES, JsonLines, read_jsonl
from pilotcut.training.config import TrainingConfig
from pilotcut.training.model import classifier
from pilotcut.training.run import TrainingRun, default_run_directory
from pilotcut.training.run_directory import RunDirectory

SMALL = TrainingConfig("iris", qubits=2, cuts=1, shots=16, epochs=2, batch_size=40, seed=3)
TRACE_FIELDS = {
    "plan",
    "labels",
    "cuts",
    "subexperiments",
    "shots",
    "workers",
    "policy",
    "seed",
    "stage_seconds",
    "wall_s",
    "worker_s",
}
METRICS = {
    "epoch",
    "loss",
    "train_accuracy",
    "accuracy",
    "seconds",
    "learning_rate",
    "val_loss",
    "val_accuracy",
}


class StopError(Exception):
    """Stands for whatever ends a training run."""


@pytest.fixture(scope="module")
def cluster():
    laptop = PilotDescription(name="laptop", resource="local", cores_per_node=2, workers_per_node=2)
    with PilotManager([laptop]) as pilots, TaskManager(pilots) as tasks:
        yield tasks


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the directory and the summary of an undisturbed run of SMALL."""
    path = tmp_path_factory.mktemp("finished") / "run"
    return RunDirectory(path), train(path)


def train(path, config=SMALL, tasks=None, resume=False, progress=None):
    return TrainingRun(config, RunDirectory(path), tasks).train(resume=resume, progress=progress)


def stop_at(epoch, batch):
    def stop(now, number, batches, loss):
        if (now, number) == (epoch, batch):
            raise StopError

    return stop


def weights(path):
    return torch.load(path / "weights.pt", weights_only=True)


def assert_same_run(path, finished):
    """Assert that a run came to the weights and metrics of the undisturbed one, bit for bit."""
    one, other = weights(path), weights(finished.path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert metrics(path) == metrics(finished.path)


def metrics(path):
    return [record | {"seconds": None} for record in read_jsonl(path / "metrics.jsonl")]


def results(summary):
    return {k: v for k, v in summary.items() if k not in ("seconds", "stage_seconds", "run_dir")}


# -- the run directory -----------------------------------------------------------------


def test_a_run_directory_holds_settings_records_metrics_and_weights(finished):
    run, summary = finished
    assert yaml.safe_load(run.config.read_text()) == asdict(SMALL)
    compiled, *batches = read_jsonl(run.trace)
    assert (compiled["kind"], compiled["labels"], compiled["cuts"]) == ("compile", "AB", 1)
    for record in batches:
        assert record["kind"] == "query_batch"
        assert record.keys() >= TRACE_FIELDS
        assert tuple(record["stage_seconds"]) == STAGES
        assert (record["plan"], record["shots"]) == (compiled["plan"], 16)
        assert record["seed"] == [3, record["batch"]]
    assert [record["batch"] for record in batches] == list(range(len(batches)))
    epochs = read_jsonl(run.metrics)
    assert [(e["epoch"], set(e)) for e in epochs] == [(n, METRICS) for n in (1, 2)]
    assert (epochs[-1]["loss"], epochs[-1]["accuracy"]) == (summary["loss"], summary["accuracy"])
    network = TorchConnector(network_of(SMALL, CutEstimator(labels="AB", shots=16)))
    network.load_state_dict(weights(run.path))


def test_queries_and_subexperiments_are_the_sum_of_the_records(finished):
    run, summary = finished
    batches = read_jsonl(run.trace)[1:]
    # 80 training samples forward and in the gradient, 20 test samples, in each of 2 epochs
    assert summary["queries"] == sum(r["queries"] for r in batches) == 2 * (80 + 80 + 20)
    assert summary["subexperiments"] == sum(r["subexperiments"] for r in batches)
    assert summary["run_dir"] == str(run.path)


def test_stage_seconds_add_up(finished):
    run, summary = finished
    compiled, *batches = read_jsonl(run.trace)
    for record in batches:
        staged = sum(record["stage_seconds"].values())
        assert all(seconds >= 0 for seconds in record["stage_seconds"].values())
        assert staged <= record["wall_s"] + 1e-6
        assert staged >= 0.8 * record["wall_s"] - 0.01
    for stage in STAGES:
        total = sum(r["stage_seconds"][stage] for r in batches)
        total += compiled["partition_s"] if stage == "partition" else 0
        assert summary["stage_seconds"][stage] == pytest.approx(total)
    assert sum(summary["stage_seconds"].values()) <= summary["seconds"] + compiled["partition_s"]


def test_a_start_that_fails_leaves_no_run_behind(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(StopError):
        train(path, progress=stop_at(1, 2))
    assert not path.exists()
    (path / "logs").mkdir(parents=True)
    (path / "logs" / "worker.log").touch()
    with pytest.raises(StopError):
        train(path, progress=stop_at(1, 1))
    assert [entry.name for entry in path.iterdir()] == ["logs"]
    RunDirectory(path).check(resume=False)


def test_a_plan_that_cannot_be_made_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="cuts is 9"):
        train(tmp_path / "run", replace(SMALL, cuts=9))
    assert not (tmp_path / "run").exists()


def test_a_default_run_directory_is_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = default_run_directory("iris", "now")
    first.mkdir(parents=True)
    second = default_run_directory("iris", "now")
    assert (str(first), str(second)) == ("runs/iris-now", "runs/iris-now-2")


# -- the same numbers everywhere -------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, finished):
    run, summary = finished
    assert results(train(tmp_path / "again")) == results(summary)
    assert_same_run(tmp_path / "again", run)
    train(tmp_path / "other", replace(SMALL, seed=4))
    assert not torch.equal(weights(tmp_path / "other")["weight"], weights(run.path)["weight"])


def test_two_local_workers_come_to_the_weights_of_one_process(tmp_path, finished, cluster):
    summary = train(tmp_path / "run", tasks=cluster)
    assert results(summary) == results(finished[1])
    assert_same_run(tmp_path / "run", finished[0])
    last = read_jsonl(tmp_path / "run" / "trace.jsonl")[-1]
    assert (last["workers"], last["policy"]) == (2, "eager")


def test_an_in_process_pilot_comes_to_the_same_weights(tmp_path, finished):
    with PilotManager(embedded(workers=2)) as pilots, TaskManager(pilots) as tasks:
        summary = train(tmp_path / "run", tasks=tasks)
    assert results(summary) == results(finished[1])
    assert_same_run(tmp_path / "run", finished[0])


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


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "counts"])
def test_every_mode_resumes_bit_for_bit(tmp_path, mode):
    config = replace(SMALL, mode=mode)
    whole = train(tmp_path / "whole", config)
    with pytest.raises(StopError):
        train(tmp_path / "run", config, progress=stop_at(2, 1))
    assert results(train(tmp_path / "run", config, resume=True)) == results(whole)
    assert_same_run(tmp_path / "run", RunDirectory(tmp_path / "whole"))
    assert whole["shots"] == (0 if mode == "exact" else config.shots)


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


# -- compiled once ---------------------------------------------------------------------


def network_of(config, estimator, gradient=None):
    model = classifier(config.qubits)
    return EstimatorQNN(
        circuit=model.circuit,
        estimator=estimator,
        observables=model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        gradient=gradient,
        default_precision=None,
    )


def gradients_of(config, estimator, gradient, steps=2):
    """Return the gradients of a plain torch loop, as any user would write it."""
    network = TorchConnector(
        network_of(config, estimator, gradient),
        initial_weights=np.linspace(-1, 1, len(classifier(config.qubits).weights)),
    )
    x = torch.linspace(0, 1.5, 4 * config.qubits).reshape(4, config.qubits)
    found = []
    for _ in range(steps):
        network.zero_grad()
        network(x).sum().backward()
        found.append(next(network.parameters()).grad.numpy().copy())
    return np.array(found)


def test_a_training_run_compiles_its_plan_once(finished):
    assert [r["kind"] for r in read_jsonl(finished[0].trace)].count("compile") == 1


@pytest.mark.parametrize("drop_in", [CutGradient, ParamShiftEstimatorGradient])
def test_a_plan_is_compiled_once_also_by_the_parameter_shift_of_qiskit(tmp_path, drop_in):
    path = tmp_path / "trace.jsonl"
    with JsonLines(path) as trace:
        estimator = CutEstimator(labels="AB", shots=64, seed=1, trace=trace)
        gradients_of(SMALL, estimator, drop_in(estimator))
    records = read_jsonl(path)
    kinds = [r["kind"] for r in records]
    assert kinds.count("compile") == 1
    assert kinds.count("query_batch") >= 4  # forward and backward, twice
    assert {r["plan"] for r in records} == {records[0]["plan"]}


def test_without_a_gradient_the_network_takes_qiskits_and_they_agree():
    estimator = CutEstimator(labels="AB", shots=20_000, seed=1)
    ours = gradients_of(SMALL, estimator, CutGradient(estimator), steps=1)
    theirs = gradients_of(SMALL, CutEstimator(labels="AB", shots=20_000, seed=2), None, steps=1)
    uncut = CutEstimator(shots=20_000, seed=3)
    whole = gradients_of(SMALL, uncut, CutGradient(uncut), steps=1)
    # Sums over 4 samples of about 0.01 each.
    np.testing.assert_allclose(ours, whole, atol=0.25)
    np.testing.assert_allclose(theirs, whole, atol=0.25)
    assert np.abs(whole).max() > 0.5
