"""A circuit that was read before is read again only if it has changed."""

import gc

import numpy as np
import pytest
from qiskit.circuit import Clbit, Parameter, QuantumCircuit
from qiskit.circuit.library import CXGate, RXGate

from pilotcut import CutEstimator
from pilotcut.circuits import remembered
from pilotcut.circuits.program import read_circuit
from pilotcut.circuits.remembered import MOST_REMEMBERED, read_again
from pilotcut.errors import CutError

A, B = Parameter("a"), Parameter("b")


def small() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.rx(A, 0)
    circuit.cx(0, 1)
    circuit.ry(A - A - 2, 1)  # an angle that Qiskit does not hash
    circuit.barrier()
    circuit.measure(1, 0)
    return circuit


def test_an_unchanged_circuit_is_read_once():
    circuit = small()
    assert read_again(circuit) is read_again(circuit)
    program, binding = read_circuit(circuit)
    assert read_again(circuit)[0].key == program.key
    assert read_again(circuit)[1].names == binding.names


CHANGES = {
    "a gate more": lambda c: c.x(0),
    "another gate": lambda c: c.data.__setitem__(2, c.data[2].replace(qubits=c.qubits[::-1])),
    "another angle": lambda c: c.data.__setitem__(1, c.data[1].replace(operation=RXGate(B))),
    "a bound angle": lambda c: c.assign_parameters({A: 0.5}, inplace=True),
    "another bit": lambda c: (c.add_bits([Clbit()]), c.measure(0, 1)),
    "a gate less": lambda c: c.data.pop(0),
    "an open control": lambda c: c.append(CXGate(ctrl_state=0), [0, 1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_circuit_that_was_changed_in_place_is_read_again(change):
    circuit = small()
    before = read_again(circuit)
    CHANGES[change](circuit)
    after, right = read_again(circuit), read_circuit(circuit)
    assert after is not before
    assert (after[0].key, after[1].names) == (right[0].key, right[1].names)


def test_a_definition_that_is_changed_in_place_is_seen():
    """A gate that is not Qiskit's own is opened each time."""
    inner = QuantumCircuit(1, name="inner")
    inner.x(0)
    gate = inner.to_gate()
    circuit = QuantumCircuit(1)
    circuit.append(gate, [0])
    estimator = CutEstimator(mode="exact")
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(-1)
    gate.definition.x(0)
    expected = 1 if circuit.data[0].operation.definition.size() == 2 else -1
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(expected)


def test_mistakes_are_told_each_time():
    circuit = QuantumCircuit(1)
    circuit.rx(np.inf, 0)
    for _ in range(2):
        with pytest.raises(CutError, match="rx"):
            read_again(circuit)
    with pytest.raises(CutError, match="expected a QuantumCircuit"):
        read_again("circuit")


def test_few_circuits_are_remembered_and_none_is_kept_alive():
    circuits = [small() for _ in range(2 * MOST_REMEMBERED)]
    for circuit in circuits:
        read_again(circuit)
    assert len(remembered._known) == MOST_REMEMBERED
    del circuits, circuit
    gc.collect()
    assert not any(reference() for reference, _, _ in remembered._known.values())
