"""Gradients through the contraction against exact derivatives."""

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import XXPlusYYGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN
from support.circuits import OBSERVABLE, PLACES, between_rotations
from support.exact import derivative

from pilotcut import CutEstimator, CutGradient
from pilotcut.training.model import classifier

A, B, C = Parameter("a"), Parameter("b"), Parameter("c")


@pytest.mark.parametrize("labels", ["AAA", "ABB"])
@pytest.mark.parametrize("name", PLACES)
def test_gradients_lie_near_the_exact_derivative(name, labels):
    circuit = between_rotations(PLACES[name])
    values = np.array([0.7, 1.2, 0.4])[: circuit.num_parameters]
    gradient = CutGradient(CutEstimator(labels=labels, seed=1, shots=4096))
    job = gradient.run([circuit], [OBSERVABLE], [values])
    expected = derivative(circuit, OBSERVABLE, values)
    # Errors add over up to three cuts; without a bug the largest seen is 0.05.
    np.testing.assert_allclose(job.result().gradients[0], expected, atol=0.1)


@pytest.mark.parametrize("place", [lambda c: c.append(XXPlusYYGate(A, B), [0, 1])])
def test_two_frequency_gates_inside_a_fragment(place):
    circuit = between_rotations(place)
    gradient = CutGradient(CutEstimator(labels="AAB", seed=1, shots=4096))
    job = gradient.run([circuit], [OBSERVABLE], [[0.7, 1.2]])
    expected = derivative(circuit, OBSERVABLE, np.array([0.7, 1.2]))
    np.testing.assert_allclose(job.result().gradients[0], expected, atol=0.1)


def test_gradients_have_no_bias():
    """Averaged over many seeds, the error falls as it should."""
    circuit = between_rotations(PLACES["shared"])
    values = np.array([0.7, 1.2])
    gradient = CutGradient(CutEstimator(labels="ABB", seed=3, shots=64))
    many = np.array(
        gradient.run([circuit] * 100, [OBSERVABLE] * 100, [values] * 100).result().gradients
    )
    error = many.mean(axis=0) - derivative(circuit, OBSERVABLE, values)
    assert (np.abs(error) < 4 * many.std(axis=0) / np.sqrt(100)).all()


def test_only_the_owning_fragment_runs_again():
    """Shifted circuits are 2 sum_f p_f V_f, and the angle of a cut gate costs none."""
    model = classifier(4)
    estimator = CutEstimator(labels="AABC", seed=1, shots=16)
    gradient = CutGradient(estimator)
    values = np.linspace(0, 1, model.circuit.num_parameters)
    job = gradient.run([model.circuit], [model.observable], [values], [model.weights])
    assert len(job.result().gradients[0]) == 8
    assert estimator.stages.subexperiments == 35 + 2 * (4 * 5 + 2 * 25 + 2 * 5)

    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    circuit.rx(0.9, 1)
    circuit.rzz(A, 0, 1)
    circuit.rx(0.7, 0)
    estimator = CutEstimator(labels="AB", seed=1, shots=4096)
    observable = SparsePauliOp("YZ")
    job = CutGradient(estimator).run([circuit], [observable], [[0.8]])
    expected = derivative(circuit, observable, np.array([0.8]))
    np.testing.assert_allclose(job.result().gradients[0], expected, atol=0.05)
    assert [r["source"] for r in estimator.trace.records if r["kind"] == "query_batch"] == [
        "gradient"
    ]


def network(estimator, gradient=None, **options):
    model = classifier(4)
    return EstimatorQNN(
        circuit=model.circuit,
        estimator=estimator,
        observables=[model.observable, SparsePauliOp("IIIZ")],
        input_params=model.inputs,
        weight_params=model.weights,
        gradient=gradient,
        default_precision=None,
        **options,
    )


@pytest.mark.parametrize("inputs", [False, True])
def test_estimator_qnn_takes_both_gradients(inputs):
    """Ours and Qiskit ML's parameter shift agree, input gradients and two outputs included."""
    x, weights = np.random.default_rng(0).uniform(0, 1.5, (3, 4)), np.linspace(-1, 1, 8)
    results = []
    for wrap in (CutGradient, ParamShiftEstimatorGradient):
        estimator = CutEstimator(labels="AABB", seed=1, shots=2048)
        qnn = network(estimator, wrap(estimator), input_gradients=inputs)
        results.append(qnn.backward(x, weights))
        kinds = [r["kind"] for r in estimator.trace.records]
        assert kinds.count("query_batch") <= 4  # hundreds of PUBs, a few batches
    (dx, dw), (ex, ew) = results
    np.testing.assert_allclose(dw, ew, atol=0.25)
    if inputs:
        np.testing.assert_allclose(dx, ex, atol=0.25)
    else:
        assert dx is None
        assert ex is None


def test_forward_and_parameter_shift_share_one_plan():
    """Qiskit ML renames every parameter for its gradient; the plan does not care."""
    estimator = CutEstimator(labels="AABC", seed=1, shots=16)
    model = classifier(4)
    qnn = EstimatorQNN(
        circuit=model.circuit,
        estimator=estimator,
        observables=model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        default_precision=None,
    )
    x, weights = np.full((4, 4), 0.3), np.linspace(-1, 1, 8)
    qnn.forward(x, weights)
    qnn.backward(x, weights)
    records = estimator.trace.records
    assert [r["kind"] for r in records] == ["compile", "query_batch", "query_batch"]
    assert records[2]["queries"] == 4 * 16
