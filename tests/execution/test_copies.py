"""Copies of models and of what they are made of: they answer the same and share no weights."""

import copy
import io
import pickle

import cloudpickle
import dill
import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_machine_learning.algorithms import NeuralNetworkClassifier, NeuralNetworkRegressor
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from qiskit_machine_learning.optimizers import COBYLA
from support.calibrations import install

from pilotcut import (
    CutEstimator,
    CutGradient,
    DataParallel,
    Distribution,
    PilotManager,
    TaskManager,
    Trainer,
    TrainingRun,
    UserError,
    compile_plan,
    cut_qnn,
    recommend,
)
from pilotcut.io.jsonl import JsonLines
from pilotcut.pilots.description import embedded
from pilotcut.training.callbacks import ProgressBar
from pilotcut.training.config import TrainingConfig
from pilotcut.training.losses import find_loss, scaled


def saved(obj):
    """Return what torch loads of what it has saved."""
    file = io.BytesIO()
    torch.save(obj, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "copy": copy.deepcopy,
    "pickle": lambda obj: pickle.loads(pickle.dumps(obj)),
    "cloudpickle": lambda obj: cloudpickle.loads(cloudpickle.dumps(obj)),
    "dill": lambda obj: dill.loads(dill.dumps(obj)),
    "torch": saved,
}
PICKLING = [name for name in WAYS if name != "copy"]

X, W = ParameterVector("x", 3), ParameterVector("w", 3)
POINT = np.array([0.3, -0.7, 1.1, 0.4, 0.9, -1.3])  # in Qiskit's order: w, then x


@pytest.fixture(scope="module")
def circuit():
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(X[q], q)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    for q in range(3):
        circuit.rx(2 * W[q] + 0.1, q)
    return circuit


@pytest.fixture(scope="module")
def curved():
    """A feature map with the angles 2 (pi - x)(pi - y)."""
    return zz_feature_map(3, reps=1).compose(real_amplitudes(3, reps=1))


def network(circuit, **options):
    names = {"input_params": list(X), "weight_params": list(W)}
    return cut_qnn(circuit, ["ZZZ", "IXI"], **names, **{"labels": "AAB", "seed": 5} | options)


def qiskit_network(circuit, **options):
    estimator = CutEstimator(labels="AAB", seed=5, **options)
    return EstimatorQNN(
        circuit=circuit,
        estimator=estimator,
        observables=[SparsePauliOp("ZZZ")],
        input_params=list(X),
        weight_params=list(W),
        gradient=CutGradient(estimator),
        default_precision=None,
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["exact", "sampled", "counts"])
def test_a_copied_network_answers_the_same_and_shares_no_weights(way, mode, circuit):
    """Outputs and gradients, from where the original stands in its stream of shots."""
    qnn = network(circuit, mode=mode, shots=64)
    x = torch.tensor([[0.2, 0.5, -0.4], [1.0, -1.0, 0.3]])
    qnn(x).sum().backward()
    copied = WAYS[way](qnn)
    with torch.no_grad():
        before = qnn(x)
    qnn.zero_grad()
    qnn(x).sum().backward()
    with torch.no_grad():
        qnn.weights += 1.0
        torch.testing.assert_close(copied(x), before, rtol=0, atol=0)
    copied.zero_grad()
    copied(x).sum().backward()
    torch.testing.assert_close(copied.weights.grad, qnn.weights.grad, rtol=0, atol=0)
    assert copied.estimator.stages is not qnn.estimator.stages


def test_averaged_models_average(circuit):
    """torch's AveragedModel of two weights stands at their mean, and answers for it."""
    qnn = network(circuit).double()
    average = torch.optim.swa_utils.AveragedModel(qnn)
    first = qnn.weights.detach().clone()
    average.update_parameters(qnn)
    with torch.no_grad():
        qnn.weights.copy_(first + 1.0)
    average.update_parameters(qnn)
    torch.testing.assert_close(average.module.weights.detach(), first + 0.5)
    mean = network(circuit, initial_weights=(first + 0.5).numpy()).double()
    x = torch.tensor([[0.2, 0.5, -0.4]], dtype=torch.float64)
    torch.testing.assert_close(average(x), mean(x))


def test_a_state_dict_is_enough_to_go_on(circuit):
    """Weights by themselves, as torch advises, without what pickles."""
    file = io.BytesIO()
    torch.save(network(circuit).state_dict(), file)
    file.seek(0)
    other = network(circuit, seed=6)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.rand(2, 3)
    torch.testing.assert_close(other(x), network(circuit)(x), rtol=0, atol=0)


@pytest.mark.parametrize("way", ["copy", *PICKLING, "shallow"])
@pytest.mark.parametrize("options", [{}, {"num_samples": 20}, {"shot_allocation": "optimal"}])
def test_a_copied_estimator_answers_what_the_original_would_next(way, options, circuit):
    estimator = CutEstimator(labels="AAB", seed=3, mode="sampled", shots=256, **options)
    pub = [(circuit, ["ZZZ", "IXI"], POINT)]
    estimator.run(pub).result()
    copied = copy.copy(estimator) if way == "shallow" else WAYS[way](estimator)
    for _ in range(2):
        asked = [one.run(pub).result()[0].data for one in (estimator, copied)]
        np.testing.assert_array_equal(asked[0].evs, asked[1].evs)
        np.testing.assert_array_equal(asked[0].stds, asked[1].stds)


def test_a_copied_estimator_leaves_files_to_the_original(circuit, tmp_path):
    """Records of a copy stay in memory, and a store is for one."""
    trace = JsonLines(tmp_path / "trace.jsonl")
    estimator = CutEstimator(labels="AAB", mode="exact", store=tmp_path / "store", trace=trace)
    copies = [copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))]
    for copied in copies:
        copied.run([(circuit, "ZZZ", POINT)]).result()
        assert [record["kind"] for record in copied.trace.records] == ["compile", "query_batch"]
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "trace.jsonl").read_text()
    trace.close()


@pytest.mark.parametrize("way", WAYS)
def test_plans_with_curved_angles_are_copied(way, curved):
    """The angles (pi - x)(pi - y) of a ZZ feature map, through a plan and an estimator."""
    point = np.linspace(0.1, 1.3, curved.num_parameters)
    value = Statevector(curved.assign_parameters(point)).expectation_value(SparsePauliOp("ZZX"))
    plan = WAYS[way](compile_plan(curved, "ZZX", labels="AAB"))
    estimator = CutEstimator(plan=plan, mode="exact")
    assert estimator.run([(curved, "ZZX", point)]).result()[0].data.evs == pytest.approx(value.real)
    again = WAYS[way](estimator).run([(curved, "ZZX", point)]).result()[0].data.evs
    assert again == pytest.approx(value.real)


@pytest.mark.parametrize("way", WAYS)
def test_distributions_are_copied(way, circuit):
    plan = compile_plan(circuit, labels="AAB")
    law = Distribution(plan, POINT, mode="sampled", shots=64, seed=2)
    copied = WAYS[way](law)
    np.testing.assert_array_equal(copied.probabilities(), law.probabilities())
    assert copied.sample(50) == law.sample(50)  # from where the original stands


@pytest.mark.parametrize("way", WAYS)
def test_connectors_over_an_estimator_are_copied(way, circuit):
    connector = TorchConnector(qiskit_network(circuit, mode="exact"), initial_weights=[0.1, 0.2, 3])
    x = torch.tensor([[0.2, 0.5, -0.4]])
    connector(x).sum().backward()
    copied = WAYS[way](connector)
    before = connector(x).detach()
    with torch.no_grad():
        connector.weight += 1.0
    torch.testing.assert_close(copied(x).detach(), before)
    copied.zero_grad()
    copied(x).sum().backward()
    assert float(copied.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("kind", [NeuralNetworkClassifier, NeuralNetworkRegressor])
@pytest.mark.parametrize("mode", ["exact", "counts"])
def test_qiskits_models_go_through_a_dill_file(kind, mode, circuit, tmp_path):
    """What came back by dill hung for ever: dill restores a free RLock as one that is held."""
    model = kind(qiskit_network(circuit, mode=mode, shots=16), optimizer=COBYLA(maxiter=5))
    x, y = np.array([[0.1, 0.5, 0.2], [1.2, 0.3, 0.9]]), np.array([1, -1])
    model.fit(x, y)
    model.to_dill(str(tmp_path / "model.dill"))
    again = kind.from_dill(str(tmp_path / "model.dill"))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("way", ["copy", "pickle", "cloudpickle", "torch"])
def test_a_copied_trainer_goes_on_alike(way, circuit):
    """Its model, its optimiser and its loader's order are copies that belong together."""
    trainer = Trainer(
        network(circuit, mode="sampled", shots=64),
        loss=scaled(find_loss("mse")),
        schedule="cosine",
        callbacks=[ProgressBar()],
    )
    rows = torch.utils.data.TensorDataset(torch.rand(6, 3), torch.rand(6, 2))
    order = torch.Generator().manual_seed(1)
    loader = torch.utils.data.DataLoader(rows, batch_size=3, shuffle=True, generator=order)
    trainer.fit(loader, epochs=1)
    again = WAYS[way]([trainer, loader])
    losses = [t.fit(its, epochs=2).epochs[-1].loss for t, its in ((trainer, loader), again)]
    assert losses[0] == losses[1]
    weights = [t.model.weights for t in (trainer, again[0])]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert weights[0] is not weights[1]


def test_a_run_is_copied_with_its_network(tmp_path):
    config = TrainingConfig(dataset="iris", qubits=4, samples=20, mode="exact", labels="AABB")
    run = TrainingRun(config, tmp_path / "run")
    x = torch.rand(2, 4)
    for way in WAYS.values():
        torch.testing.assert_close(way(run).network()(x), run.network()(x))


def test_recommendations_are_copied(tmp_path, monkeypatch, circuit):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    install()
    found = recommend(circuit, "ZZZ", max_cuts=1)
    for way in WAYS.values():
        copied = way(found)
        assert copied.to_dict() == found.to_dict()
        assert copied.forecaster.record(copied.plan, 3) == found.forecaster.record(found.plan, 3)
    estimator = CutEstimator(cuts="auto", mode="exact", auto={"max_cuts": 1})
    estimator.run([(circuit, "ZZZ", POINT)]).result()
    for way in WAYS.values():
        copied = way(estimator)
        assert copied.recommendation.to_dict() == estimator.recommendation.to_dict()
        values = [e.run([(circuit, "ZZZ", POINT)]).result()[0].data for e in (estimator, copied)]
        assert values[0].evs == values[1].evs


def test_what_has_live_pilots_is_not_pickled_and_its_copies_share_them(circuit):
    with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
        qnn = network(circuit, mode="exact", tasks=tasks)
        trainer = DataParallel(lambda: torch.nn.Linear(1, 1), tasks, seed=4)
        live = [pilots, tasks, qnn.estimator, CutGradient(qnn.estimator), qnn, Trainer(qnn)]
        for way in PICKLING:
            for one in [*live, trainer] if way != "dill" else live:
                with pytest.raises(UserError, match="live pilots; ") as refused:
                    WAYS[way](one)
                assert len(str(refused.value).splitlines()) == 1
        assert copy.deepcopy(tasks) is tasks
        assert copy.deepcopy(pilots) is pilots
        average = torch.optim.swa_utils.AveragedModel(qnn)
        x = torch.rand(2, 3)
        torch.testing.assert_close(average(x), qnn(x))
        assert average.module.weights is not qnn.weights
        assert average.module.estimator.runner.executor.workers == 2
        qnn.estimator.use(None)  # as the line advises
        torch.testing.assert_close(pickle.loads(pickle.dumps(qnn))(x), qnn(x))


def test_a_copied_data_parallel_training_goes_on_alike():
    x = torch.linspace(-1, 1, 12).reshape(-1, 1)
    copies = []
    with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as tasks:
        trainer = DataParallel(lambda: torch.nn.Linear(1, 1), tasks, replicas=2)
        while_training = lambda *_: copies.append(copy.deepcopy(trainer))  # noqa: E731
        trainer.fit((x, 3 * x), epochs=1, batch_size=6, on_epoch=while_training)
        both = [one.fit((x, 3 * x), epochs=2, batch_size=6).losses for one in (trainer, *copies)]
    assert both[0] == both[1]
    assert copies[0].model is not trainer.model


def test_pilots_that_have_not_started_are_pickled_as_described(tmp_path):
    pilots = PilotManager(embedded(3), run_dir=tmp_path / "run")
    again = pickle.loads(pickle.dumps(pilots))
    assert [p.description for p in again.pilots] == [p.description for p in pilots.pilots]
    with again, TaskManager(again) as tasks:
        assert tasks.submit_task(max, 3, 7).result() == 7
