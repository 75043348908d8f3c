"""Folding: a device's circuit with more noise, by gates that are undone and redone.

G becomes G (G† G)^k: the same circuit without noise, with 2k + 1 times the noise of its gates.
Works on circuits in a device's own gates, parameters and mid-circuit measurements in them; nothing
may simplify them afterwards.
"""

from __future__ import annotations

from math import pi

from qiskit.circuit import Gate, Operation, QuantumCircuit
from qiskit.circuit.library import RZGate
from qiskit.transpiler import Target

from pilotcut.errors import CutError


def folded(circuit: QuantumCircuit, factor: int, target: Target, device: str) -> QuantumCircuit:
    """Return a circuit with `factor` (1, 3, 5, ...) times the noise of its gates.

    Gates that make no error stay as they are, as do gates on one qubit that the device cannot undo.

    Parameters
    ----------
    circuit
        In the gates of `target`.
    factor
        An odd number; 1 returns the circuit itself.
    target, device
        The device, and its name for messages.

    Raises
    ------
    CutError
        If the device cannot undo a gate on two qubits.

    Examples
    --------
    >>> from qiskit.circuit.library import CXGate
    >>> target = Target(num_qubits=2); target.add_instruction(CXGate(), {(0, 1): None})
    >>> pair = QuantumCircuit(2); _ = pair.cx(0, 1)
    >>> folded(pair, 5, target, "q").count_ops()["cx"]
    5
    """
    if factor == 1:
        return circuit
    whole = circuit.copy_empty_like()
    for step in circuit.data:
        whole.append(step)
        where = tuple(circuit.find_bit(qubit).index for qubit in step.qubits)
        undone = _undone(step.operation, where, target, device)
        for _ in range(factor // 2 if undone else 0):
            # Whoever runs circuits after us must not cancel the three.
            whole.barrier(step.qubits)
            for gate in undone:
                whole.append(gate, step.qubits)
            whole.barrier(step.qubits)
            whole.append(step.operation, step.qubits)
    return whole


def _undone(gate: Operation, where: tuple[int, ...], target: Target, device: str) -> list[Gate]:
    """Return what undoes a gate, [] for what is left alone."""
    if not isinstance(gate, Gate):
        return []
    inverse = gate.inverse()
    if len(where) == 1:
        known = (target.get(gate.name) or {}).get(where)
        if not getattr(known, "error", None):
            return []
        if target.instruction_supported(inverse.name, where):
            return [inverse]
        # Half a turn about z before and behind turns it round; its phase matters to nobody.
        turned = gate.name == "sx" and target.instruction_supported("rz", where)
        return [RZGate(pi), gate, RZGate(-pi)] if turned else []
    if target.instruction_supported(inverse.name, where):
        return [inverse]
    raise CutError(
        f"mitigation stretches noise by undoing gates, and '{device}' has a {gate.name} and no "
        f"{inverse.name} on qubits {where[0]} and {where[1]}; expected both: take mitigation "
        "'readout', or a pilot with cx, cz, ecr or rzz"
    )
