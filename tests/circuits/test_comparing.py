"""Circuits that would run alike are alike, whoever made them, and no others are."""

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister

from pilotcut.circuits.comparing import parts_of
from pilotcut.tasks.work_identity import work_of


def built(*, angle=0.3, gate="cx", qubits=(0, 1), label=None, state=1, phase=0.0, bits="c"):
    circuit = QuantumCircuit(QuantumRegister(3, "q"), ClassicalRegister(2, bits))
    circuit.global_phase = phase
    circuit.rx(angle, 0, label=label)
    getattr(circuit, gate)(*qubits)
    circuit.mcx([0, 1], 2, ctrl_state=state)
    circuit.measure(0, 0)
    return circuit


def of(circuit):
    return work_of(max, (circuit,), {})


def test_equal_circuits_are_equal_whatever_qiskit_calls_them():
    first, second = built(angle=2 * Parameter("a")), built(angle=2 * Parameter("a"))
    assert first.name != second.name
    assert of(first) == of(second)


@pytest.mark.parametrize(
    "change",
    [
        {"angle": 0.4},
        {"angle": Parameter("a")},
        {"gate": "cz"},
        {"qubits": (1, 0)},
        {"label": "mine"},
        {"state": 2},
        {"phase": 0.1},
        {"bits": "other"},
    ],
)
def test_whatever_changes_what_is_run_makes_another_circuit(change):
    assert of(built()) != of(built(**change))


def with_inner(*gates):
    inner = QuantumCircuit(2, name="inner")
    for gate in gates:
        getattr(inner, gate)(0)
    circuit = QuantumCircuit(2)
    circuit.append(inner.to_gate(), [0, 1])
    return circuit


def test_what_a_gate_of_ones_own_does_counts_and_not_its_name_alone():
    assert of(with_inner("h", "x")) == of(with_inner("h", "x"))
    assert of(with_inner("h", "x")) != of(with_inner("x", "h"))


def with_matrix(matrix):
    circuit = QuantumCircuit(1)
    circuit.unitary(matrix, 0)
    return circuit


def test_matrices_count():
    assert of(with_matrix(np.eye(2))) == of(with_matrix(np.eye(2)))
    assert of(with_matrix(np.eye(2))) != of(with_matrix(np.diag([1, -1])))


def test_what_is_no_circuit_is_left_to_others():
    assert parts_of(3) is None
    assert parts_of(with_matrix(np.eye(2)).data[0].operation) is None


def test_numbers_of_circuits_without_a_name_do_not_count():
    """Their gates are called as they are, and so are gates made of those."""

    def unnamed():
        inner = QuantumCircuit(2)
        inner.h(0)
        circuit = QuantumCircuit(3)
        circuit.append(inner.to_gate().control(1), [0, 1, 2])
        return circuit

    first, second = unnamed(), unnamed()
    assert first.data[0].operation.name != second.data[0].operation.name
    assert of(first) == of(second)
