"""Rotations about a free vector (RVGate): values, slopes and bends, where charts have none too."""

import warnings
from math import pi

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import RVGate, UGate
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from support.exact import derivative
from torch.func import functional_call

from pilotcut import CutEstimator, CutGradient, compile_plan, cut_qnn
from pilotcut.circuits.rotation_vectors import angles_of
from pilotcut.errors import CutError

V = ParameterVector("v", 3)
OBSERVABLE = SparsePauliOp(["ZZ", "IX", "XY"], [1.0, 0.5, 0.7])

#: No rotation at all, nearly none, along and across the axes, half and whole turns.
VECTORS = [
    [0.4, -1.1, 0.7],
    [0.0, 0.0, 0.0],
    [1e-9, 0.0, 0.0],
    [0.0, 0.0, 1.3],
    [0.0, pi / 2, 0.0],
    [pi, 0.0, 0.0],
    [0.0, 2 * pi, 0.0],
    [3.0, -2.0, 4.0],
]


def circuit():
    """Return two rotations about free vectors, the second with a bound and a bent component."""
    made = QuantumCircuit(2)
    made.h(0)
    made.rv(*V, 0)
    made.cx(0, 1)
    made.rv(0.3, V[0] * V[1] + 0.2, V[2], 1)
    made.ry(V[0], 0)
    made.cx(1, 0)
    return made


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("labels", ["AA", "AB"])
def test_cut_equals_uncut_with_its_gradient(vector, labels):
    made, values = circuit(), np.array(vector)
    estimator = CutEstimator(labels=labels, mode="exact")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no division by zero on the way
        found = estimator.run([(made, OBSERVABLE, values)]).result()[0].data.evs
        job = CutGradient(estimator).run([made], [OBSERVABLE], [vector])
    state = Statevector(made.assign_parameters(values))
    assert found == pytest.approx(state.expectation_value(OBSERVABLE).real, abs=1e-10)
    expected = derivative(made, OBSERVABLE, values)
    np.testing.assert_allclose(job.result().gradients[0], expected, atol=1e-8)


@pytest.mark.parametrize("mode", ["sampled", "counts"])
def test_shots_have_gradients_too(mode):
    """The six shifts of its zero angles alone; at v = 0 as elsewhere."""
    made = circuit()
    estimator = CutEstimator(labels="AA", mode=mode, shots=20_000, seed=5)
    for vector in ([0.0, 0.0, 0.0], [0.4, -1.1, 0.7]):
        job = CutGradient(estimator).run([made], [OBSERVABLE], [vector])
        expected = derivative(made, OBSERVABLE, np.array(vector))
        np.testing.assert_allclose(job.result().gradients[0], expected, atol=0.05)


@pytest.mark.parametrize("vector", [[0.4, -1.1, 0.7], [0.0, 0.0, 0.0], [0.6, 0.5, 0.622]])
def test_second_derivatives_are_differences_of_first_ones(vector):
    qnn = cut_qnn(
        circuit(), OBSERVABLE, weight_params=V, labels="AB", initial_weights=vector
    ).double()
    at = torch.tensor(vector, dtype=torch.float64)

    def value(w):
        return functional_call(qnn, {"weights": w}, torch.zeros(1, 0)).sum()

    found = torch.autograd.functional.hessian(value, at)
    shifts = 1e-5 * torch.eye(3, dtype=torch.float64)
    slope = torch.func.grad(value)
    expected = torch.stack([(slope(at + s) - slope(at - s)) / 2e-5 for s in shifts])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_angles_are_those_of_the_gate_for_any_vector():
    some = np.random.default_rng(0).normal(size=(40, 3)) * np.linspace(0, 7, 40)[:, None]
    for vector, angles in zip(some, angles_of(some), strict=True):
        assert not angles[:3].any()
        assert Operator(UGate(*angles[3:])).equiv(Operator(RVGate(*vector)))


def test_a_rotation_stands_in_a_loop_under_a_condition_and_in_a_definition():
    inner = QuantumCircuit(1)
    inner.rv(*V, 0)
    plain, made = QuantumCircuit(2), QuantumCircuit(2)
    for one in (plain, made):
        one.h(0)
        one.cx(0, 1)
    made.append(inner.to_gate(), [1])
    with made.for_loop(range(2)):
        made.rv(*V, 0)
    plain.rv(*V, 1)
    plain.rv(2 * V[0], 2 * V[1], 2 * V[2], 0)
    values = [0.3, 0.5, -0.2]
    estimator = CutEstimator(labels="AB", mode="exact")
    runs = estimator.run([(one, OBSERVABLE, values) for one in (made, plain)]).result()
    assert runs[0].data.evs == pytest.approx(float(runs[1].data.evs), abs=1e-12)


@pytest.mark.parametrize("how", ["control", "power"])
def test_free_vectors_under_modifiers_are_one_line(how):
    gate = RVGate(*V)
    modified = gate.control(annotated=True) if how == "control" else gate.power(2, annotated=True)
    made = QuantumCircuit(2)
    made.append(modified, range(modified.num_qubits))
    with pytest.raises(CutError, match=r"gate 'rv' on qubits \(0,\) has free parameters under a"):
        compile_plan(made, labels="AB")


def test_a_bound_one_under_controls_is_cut_as_one_gate():
    """By its definition it were six cuts of gamma^2 5e5."""
    made = QuantumCircuit(3)
    made.h(range(3))
    made.append(RVGate(0.1, 0.2, 0.3).control(2, annotated=False), [0, 1, 2])
    made.h(range(3))
    plan = compile_plan(made, "ZZX", labels="ABB")
    assert plan.num_cuts <= 2
    assert plan.sampling_overhead < 2
    found = CutEstimator(labels="ABB", mode="exact").run([(made, "ZZX")]).result()[0].data.evs
    expected = Statevector(made).expectation_value(SparsePauliOp("ZZX")).real
    assert found == pytest.approx(expected, abs=1e-10)
