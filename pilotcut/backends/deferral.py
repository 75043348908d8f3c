"""Deferral: measurements in mid-circuit of a device's circuit moved to its end, where Aer plays it.

A CX copies the bit to a qubit that the device does not have: no error of its noise meets that.
"""

from __future__ import annotations

from collections import Counter

from qiskit.circuit import QuantumCircuit


def deferred(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a device's circuit with all measurements at the end.

    A bit that is measured before the qubit's last gate is copied to an ancilla: of qubit q to
    number ``q + n`` of n qubits, the next one to ``q + 2n``.
    """
    size = circuit.num_qubits
    steps = [(step, [circuit.find_bit(q).index for q in step.qubits]) for step in circuit.data]
    # A barrier would be a qubit's last step, and a final measurement one in mid-circuit.
    steps = [(step, qubits) for step, qubits in steps if step.operation.name != "barrier"]
    last = {qubit: place for place, (_, qubits) in enumerate(steps) for qubit in qubits}
    ends: list[tuple[int, int]] = []
    copies: Counter[int] = Counter()
    gates: list[tuple[object, list[int]]] = []
    for place, (step, qubits) in enumerate(steps):
        if step.operation.name != "measure":
            gates.append((step.operation, qubits))
            continue
        (qubit,), bit = qubits, circuit.find_bit(step.clbits[0]).index
        if last[qubit] == place:
            ends.append((qubit, bit))
            continue
        copies[qubit] += 1
        ancilla = qubit + copies[qubit] * size
        gates.append((None, [qubit, ancilla]))
        ends.append((ancilla, bit))
    layers = max(copies.values(), default=0)
    whole = QuantumCircuit(size * (1 + layers), circuit.num_clbits)
    for operation, qubits in gates:
        if operation is None:
            whole.cx(*qubits)
        else:
            whole.append(operation, qubits)
    for qubit, bit in ends:
        whole.measure(qubit, bit)
    return whole
