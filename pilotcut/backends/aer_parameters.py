"""Gates whose free angles Aer's ``parameter_binds`` reaches.

Aer 0.18 leaves other gates at angle zero, in silence: cp, cu1, crx, cry, crz, cu3, mcphase, mcu1
and those with open controls. It returns one result for all values then, which is why callers
compare the number of results. What is listed here was seen to be bound
(``tests/circuits/test_instructions.py`` looks again, on Aer as installed); a gate that is not
listed is opened or bound beforehand. Can go with the first Aer that binds them all.
"""

from __future__ import annotations

from qiskit.circuit import Operation, QuantumCircuit

from pilotcut.circuits.instructions import is_free

#: Gates whose free angles Aer binds.
BINDABLE = frozenset(
    {"cu", "p", "r", "rx", "rxx", "ry", "ryy", "rz", "rzx", "rzz", "u", "u1", "u2", "u3"}
)


def aer_binds(gate: Operation) -> bool:
    """Whether Aer binds all free angles of a gate, or of what stands under classical control."""
    bound = gate.name in BINDABLE or not is_free(gate)
    return bound and all(map(aer_binds_all, getattr(gate, "blocks", ())))


def aer_binds_all(circuit: QuantumCircuit) -> bool:
    """Whether Aer binds all free angles of a circuit."""
    return all(aer_binds(instruction.operation) for instruction in circuit.data)
