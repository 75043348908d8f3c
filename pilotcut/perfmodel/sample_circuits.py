"""Sample circuits that calibrations are made of: three families, small to large."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import efficient_su2


def network(qubits: int) -> QuantumCircuit:
    """Return EfficientSU2 of one repetition with linear entanglement."""
    return efficient_su2(qubits, reps=1, entanglement="linear")


def qaoa_ring(qubits: int) -> QuantumCircuit:
    """Return one layer of QAOA for MaxCut on a ring."""
    return qaoa(qubits, [(q, (q + 1) % qubits) for q in range(qubits)])


def qaoa(qubits: int, edges: list[tuple[int, int]]) -> QuantumCircuit:
    """Return one layer of QAOA for MaxCut on a graph."""
    circuit = QuantumCircuit(qubits)
    gamma, beta = Parameter("gamma"), Parameter("beta")
    circuit.h(range(qubits))
    for a, b in edges:
        circuit.rzz(gamma, a, b)
    circuit.rx(beta, range(qubits))
    return circuit


def brickwork(qubits: int) -> QuantumCircuit:
    """Return four layers of random one-qubit gates and CZ, as bricks lie.

    On an even number of qubits the gates are rotations with free angles. On an odd number they
    are Clifford gates, since Aer simulates circuits of nothing else in a way of its own.
    """
    rng = np.random.default_rng(qubits)
    circuit = QuantumCircuit(qubits)
    names = ["h", "s", "sx"] if qubits % 2 else ["rx", "ry", "rz"]
    for layer in range(4):
        for q in range(qubits):
            free = [] if qubits % 2 else [Parameter(f"t{layer}_{q:03}")]
            getattr(circuit, str(rng.choice(names)))(*free, q)
        for q in range(layer % 2, qubits - 1, 2):
            circuit.cz(q, q + 1)
    return circuit


#: The families by name.
FAMILIES: dict[str, Callable[[int], QuantumCircuit]] = {
    "EfficientSU2": network,
    "QAOA ring": qaoa_ring,
    "brickwork": brickwork,
}
