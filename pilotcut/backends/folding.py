"""Folding: a device's circuit with more noise, by gates on two qubits that are undone and redone.

G becomes G (G† G)^k: the same circuit without noise, with 2k + 1 times the noise of its gates on
two qubits, which make most of it. Works on circuits in a device's own gates, parameters and
mid-circuit measurements in them; nothing may simplify them afterwards.
"""

from __future__ import annotations

from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.transpiler import Target

from pilotcut.errors import CutError


def folded(circuit: QuantumCircuit, factor: int, target: Target, device: str) -> QuantumCircuit:
    """Return a circuit with `factor` (1, 3, 5, ...) times the noise of its gates on two qubits.

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
        If the device cannot undo one of its gates.

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
        if not _is_pair(step.operation):
            continue
        where = tuple(circuit.find_bit(qubit).index for qubit in step.qubits)
        undone = _undone(step.operation, where, target, device)
        for _ in range(factor // 2):
            for gate in (undone, step.operation):
                # Whoever runs circuits after us must not cancel the three.
                whole.barrier(step.qubits)
                whole.append(gate, step.qubits)
    return whole


def _is_pair(operation: Instruction) -> bool:
    return operation.num_qubits == 2 and operation.name not in ("barrier", "if_else")


def _undone(gate: Instruction, where: tuple[int, ...], target: Target, device: str) -> Instruction:
    inverse = gate.inverse()
    # Of gates without parameters Qiskit knows which are their own inverse.
    if target.instruction_supported(inverse.name, where):
        return inverse
    raise CutError(
        f"mitigation stretches noise by undoing gates, and '{device}' has a {gate.name} and no "
        f"{inverse.name} on qubits {where[0]} and {where[1]}; expected both: take mitigation "
        "'readout', or a pilot with cx, cz, ecr or rzz"
    )
