"""Training: the same seed gives the same weights, wherever, however often interrupted."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import yaml
from qiskit.quantum_info import Pauli, Statevector
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN
from support.training_runs import (
    SMALL,
    StopError,
    assert_same_run,
    metrics,
    results,
    stop_at,
    train,
    weights,
)

from pilotcut.errors import RunDirectoryError, UserError
from pilotcut.io.jsonl import STAGES, JsonLines, read_jsonl
from pilotcut.options import MODES
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.gradient import CutGradient
from pilotcut.tasks import TaskManager
from pilotcut.training.losses import LOGIT_SCALE
from pilotcut.training.model import classifier
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory
from pilotcut.training.trained import trained

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


# -- the same numbers everywhere -------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, finished):
    run, summary = finished
    assert results(train(tmp_path / "again")) == results(summary)
    assert_same_run(tmp_path / "again", run)
    train(tmp_path / "other", replace(SMALL, seed=4))
    assert not torch.equal(weights(tmp_path / "other")["weight"], weights(run.path)["weight"])


def test_an_in_process_pilot_comes_to_the_same_weights(tmp_path, finished):
    with PilotManager(embedded(workers=2)) as pilots, TaskManager(pilots) as tasks:
        summary = train(tmp_path / "run", tasks=tasks)
    assert results(summary) == results(finished[1])
    assert_same_run(tmp_path / "run", finished[0])


# -- optimisers, validation, classes ---------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs", "cobyla", "spsa"])
def test_a_run_with_any_optimiser_resumes_bit_for_bit(tmp_path, optimizer):
    config = replace(SMALL, mode="sampled", optimizer=optimizer, validation=0.2, epochs=2)
    whole = train(tmp_path / "whole", config)
    with pytest.raises(StopError):
        train(tmp_path / "run", config, progress=stop_at(2, 2))
    assert results(train(tmp_path / "run", config, resume=True)) == results(whole)
    assert_same_run(tmp_path / "run", RunDirectory(tmp_path / "whole"))
    assert whole["optimizer"] == optimizer


def test_patience_keeps_the_epoch_that_validated_best(tmp_path):
    config = replace(SMALL, mode="exact", validation=0.3, learning_rate=1.0, epochs=30, patience=2)
    summary = train(tmp_path / "run", config)
    epochs = metrics(tmp_path / "run")
    best = min(epochs, key=lambda record: record["val_loss"])
    assert summary["stopped_early"]
    assert summary["epochs"] == len(epochs) == best["epoch"] + 2 < 30
    assert summary["best_epoch"] == best["epoch"]
    for name in ("loss", "accuracy", "train_accuracy", "val_loss", "val_accuracy"):
        assert summary[name] == best[name]
    network = trained(tmp_path / "run")
    scores = network.evaluate(network.data.x_val, network.data.y_val)
    assert scores.loss == pytest.approx(best["val_loss"], abs=1e-6)
    with pytest.raises(UserError, match="patience is 2 and validation is 0"):
        train(tmp_path / "other", replace(config, validation=0.0))


DEEP = replace(SMALL, qubits=3, classes=3, reps=2, cuts=2, epochs=1, samples=40, shots=128)


@pytest.mark.parametrize("mode", MODES)
def test_three_classes_and_a_deeper_ansatz_are_cut_in_every_mode(tmp_path, mode):
    """Its gradient, which is the one step of SGD, is that of the uncut network, up to shots."""
    config = replace(DEEP, mode=mode, optimizer="sgd", learning_rate=1.0)
    summary = train(tmp_path / "run", config)
    assert (summary["classes"], summary["reps"], summary["cuts"]) == (3, 2, 2)
    train(tmp_path / "whole", replace(config, mode="exact", cuts=None))
    before = TrainingRun(config, tmp_path / "none").network().weight.detach()
    cut, uncut = (weights(tmp_path / name)["weight"] for name in ("run", "whole"))
    assert len(cut) == 9
    assert float((uncut - before).abs().max()) > 1
    np.testing.assert_allclose(cut, uncut, atol=1e-5 if mode == "exact" else 0.2)
    compiles = [r for r in read_jsonl(tmp_path / "run/trace.jsonl") if r["kind"] == "compile"]
    assert [(r["cuts"], r["terms"]) for r in compiles] == [(2, 3)]


def test_outputs_of_classes_are_one_expectation_each(tmp_path):
    """Exactly those of the uncut circuit: Z on qubit k for class k."""
    train(tmp_path / "run", replace(DEEP, mode="exact"))
    found = trained(tmp_path / "run")
    model = classifier(3, reps=2, classes=3)
    values = found.network.weight.detach().double().numpy()
    x = found.data.x_test[:3]
    outputs = found.network(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    for row, sample in zip(outputs, x, strict=True):
        bound = dict(zip((*model.inputs, *model.weights), (*sample, *values), strict=True))
        state = Statevector(model.circuit.assign_parameters(bound))
        expected = [state.expectation_value(Pauli("Z"), [k]).real for k in range(3)]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_cross_entropy_takes_expectations_times_a_scale_for_logits(tmp_path):
    train(tmp_path / "run", replace(DEEP, mode="exact"))
    found = trained(tmp_path / "run")
    x, y = found.data.x_test, found.data.y_test
    with torch.no_grad():
        outputs = found.network(torch.tensor(x, dtype=torch.float32))
    expected = torch.nn.functional.cross_entropy(LOGIT_SCALE * outputs, torch.tensor(y))
    scores = found.evaluate(x, y)
    assert scores.loss == pytest.approx(float(expected))
    assert scores.accuracy == pytest.approx(np.mean(outputs.argmax(1).numpy() == y))


@pytest.mark.parametrize("loss", ["mse", "hinge", "bce"])
def test_losses_of_two_classes_train(tmp_path, loss):
    config = replace(SMALL, mode="exact", loss=loss, epochs=3)
    train(tmp_path / "run", config)
    losses = [record["loss"] for record in metrics(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_samples_limit_what_is_trained_on(tmp_path):
    config = replace(SMALL, samples=40, validation=0.25, mode="exact", epochs=1)
    run = TrainingRun(config, tmp_path / "run")
    data = run.data
    assert [len(y) for y in (data.y_train, data.y_val, data.y_test)] == [24, 8, 8]
    assert run.train()["queries"] == 24 + 24 + 8 + 8


# -- trained networks ------------------------------------------------------------------


def test_a_trained_network_scores_as_its_run_did(tmp_path):
    config = replace(SMALL, mode="exact")
    summary = train(tmp_path / "run", config)
    found = trained(tmp_path / "run")
    assert found.evaluate(found.data.x_test, found.data.y_test).accuracy == summary["accuracy"]
    assert (found.config, found.data.name) == (config, "iris")


def test_a_trained_network_with_shots_draws_anew_and_the_same_each_time(tmp_path):
    """Its outputs are not those that the run has seen, but those of every other `trained`."""
    train(tmp_path / "run", replace(SMALL, mode="sampled"))
    x = torch.tensor(trained(tmp_path / "run").data.x_test, dtype=torch.float32)
    one, again = (trained(tmp_path / "run").network(x) for _ in range(2))
    assert torch.equal(one, again)
    fresh = TrainingRun(replace(SMALL, mode="sampled"), tmp_path / "other").network()
    fresh.load_state_dict(weights(tmp_path / "run"))
    assert not torch.equal(one, fresh(x))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_backward_pass_reaches_the_inputs(tmp_path, classes):
    """Against central differences of the network itself."""
    config = replace(DEEP, classes=classes, mode="exact")
    train(tmp_path / "run", config)
    found = trained(tmp_path / "run", input_gradients=True)
    x = torch.tensor(found.data.x_test[:2], dtype=torch.float32, requires_grad=True)
    y = torch.tensor(found.data.y_test[:2])

    def loss(inputs):
        outputs = found.network(inputs)
        return found.loss(outputs[:, 0] if classes == 2 else outputs, y)

    loss(x).backward()
    assert float(x.grad.abs().max()) > 0.01
    step = 1e-2
    with torch.no_grad():
        for row, column in np.ndindex(*x.shape):
            shift = torch.zeros_like(x)
            shift[row, column] = step
            slope = (loss(x + shift) - loss(x - shift)) / (2 * step)
            assert float(x.grad[row, column]) == pytest.approx(float(slope), abs=2e-3)


def test_there_must_be_a_trained_network(tmp_path, finished):
    with pytest.raises(RunDirectoryError, match="holds no weights"):
        trained(tmp_path)
    train(path := tmp_path / "run", replace(SMALL, mode="exact", epochs=1))
    torch.save({"weight": torch.zeros(3)}, path / "weights.pt")
    with pytest.raises(RunDirectoryError, match=r"weights\.pt: cannot be read"):
        trained(path)
    (path / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(RunDirectoryError, match=r"weights\.pt: cannot be read"):
        trained(path)


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
    options = {"mode": "sampled", "shots": 20_000}
    estimator = CutEstimator(labels="AB", seed=1, **options)
    ours = gradients_of(SMALL, estimator, CutGradient(estimator), steps=1)
    theirs = gradients_of(SMALL, CutEstimator(labels="AB", seed=2, **options), None, steps=1)
    uncut = CutEstimator(seed=3, **options)
    whole = gradients_of(SMALL, uncut, CutGradient(uncut), steps=1)
    # Sums over 4 samples of about 0.01 each.
    np.testing.assert_allclose(ours, whole, atol=0.25)
    np.testing.assert_allclose(theirs, whole, atol=0.25)
    assert np.abs(whole).max() > 0.5
