"""Wires cut together, against `Statevector`: values, gradients and distributions, honest errors."""

from itertools import pairwise

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire
from support.exact import state_of_uncut

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.primitives.distribution import Distribution

TOGETHER = ("communication", "randomised")


def two_halves(wires: int, seed: int = 3) -> QuantumCircuit:
    """Wires from a part with one qubit of its own to a part with another, cut between them."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(wires + 2)
    for others in ([wires], [wires + 1]):
        qubits = [*range(wires), *others]
        for _ in range(2):
            for q in qubits:
                circuit.u(*rng.uniform(0, 2 * np.pi, 3), q)
            for a, b in pairwise(qubits):
                circuit.cx(a, b)
        if others == [wires]:
            for q in range(wires):
                circuit.append(CutWire(), [q])
    return circuit


def observables(qubits: int) -> list[SparsePauliOp]:
    """Terms on both sides, on one, and sums of which several are measured together."""
    one = "Z".rjust(qubits, "I")
    return [
        SparsePauliOp("Z" * qubits),
        SparsePauliOp(["X" * qubits, "Y" * qubits], [1.0, 0.5]),
        SparsePauliOp([one, "ZI".ljust(qubits, "I"), "ZZ".rjust(qubits, "I")], [1.0, 0.5, -0.3]),
    ]


@pytest.mark.parametrize("wires", TOGETHER)
@pytest.mark.parametrize(
    ("number", "mode"), [(1, "counts"), (2, "counts"), (2, "sampled"), (3, "sampled")]
)
def test_values_and_error_bars(number, mode, wires):
    """z-scores over repetitions have mean 0 and deviation 1."""
    circuit = two_halves(number)
    asked = observables(circuit.num_qubits)
    exact = np.array([state_of_uncut(circuit).expectation_value(o).real for o in asked])
    repetitions = 40 if mode == "sampled" else 16
    rows = np.zeros((repetitions, 1, 0))
    estimator = CutEstimator(wires=wires, mode=mode, shots=128, seed=11)
    data = estimator.run([(circuit, asked, rows)]).result()[0].data
    z = (data.evs - exact) / data.stds
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(repetitions)
    assert 0.7 < z.std() < 1.3


def test_the_errors_of_a_distribution_are_honest():
    """Chi-squared of probabilities over repetitions, by their own standard errors."""
    circuit = two_halves(2)
    exact = state_of_uncut(circuit).probabilities()
    plan = compile_plan(circuit, wires="randomised")
    found = [Distribution(plan, mode="sampled", shots=200, seed=seed) for seed in range(10)]
    z = np.array([(d.probabilities() - exact) / d.standard_errors() for d in found])
    assert np.abs(z.mean()) < 0.3
    assert 0.8 < z.std() < 1.2
    one = np.array([d.probabilities([3]) for d in found])
    assert np.allclose(one.sum(axis=1), 1.0, atol=0.3)


def test_counts_find_the_distribution_that_draws_find():
    circuit = two_halves(1)
    exact = state_of_uncut(circuit).probabilities()
    plan = compile_plan(circuit, wires="randomised")
    counted = Distribution(plan, mode="counts", shots=4000, seed=1)
    z = (counted.probabilities() - exact) / counted.standard_errors()
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("wires", TOGETHER)
def test_gradients_are_those_of_the_uncut_circuit(wires):
    """With many shots, of angles before and behind the cut."""
    angles = ParameterVector("t", 4)
    circuit = QuantumCircuit(3)
    for q in (0, 1):
        circuit.ry(angles[q], q)
    circuit.cx(0, 1)
    for q in (0, 1):
        circuit.append(CutWire(), [q])
    circuit.ry(angles[2], 0)
    circuit.cx(0, 2)
    circuit.rx(angles[3], 1)
    circuit.cx(1, 2)
    point = np.array([0.4, 0.9, 1.3, 0.7])
    step = np.eye(4) * 1e-5
    whole = [
        state_of_uncut(circuit.assign_parameters(p)).expectation_value(SparsePauliOp("ZZZ")).real
        for p in np.concatenate([point + step, point - step])
    ]
    expected = (np.array(whole[:4]) - np.array(whole[4:])) / 2e-5
    estimator = CutEstimator(wires=wires, mode="sampled", shots=200_000, seed=5)
    gradient = CutGradient(estimator).run([circuit], [SparsePauliOp("ZZZ")], [point]).result()
    assert np.allclose(gradient.gradients[0], expected, atol=0.03)
