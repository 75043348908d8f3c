"""The circuit families that recommendations are measured on, each by its number of qubits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import rustworkx
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import (
    QFTGate,
    efficient_su2,
    real_amplitudes,
    zz_feature_map,
)


def efficient_su2_circuit(qubits: int) -> QuantumCircuit:
    """EfficientSU2, one repetition, linear entanglement."""
    return efficient_su2(qubits, reps=1, entanglement="linear")


def real_amplitudes_circuit(qubits: int) -> QuantumCircuit:
    """RealAmplitudes, two repetitions, linear entanglement."""
    return real_amplitudes(qubits, reps=2, entanglement="linear")


def zz_network(qubits: int) -> QuantumCircuit:
    """ZZFeatureMap, then RealAmplitudes, one linear repetition each."""
    features = zz_feature_map(qubits, reps=1, entanglement="linear", parameter_prefix="x")
    ansatz = real_amplitudes(qubits, reps=1, entanglement="linear", parameter_prefix="w")
    return features.compose(ansatz)


def qaoa_ring(qubits: int) -> QuantumCircuit:
    """One layer of QAOA for MaxCut on a ring."""
    return _qaoa(qubits, [(q, (q + 1) % qubits) for q in range(qubits)])


def qaoa_regular(qubits: int) -> QuantumCircuit:
    """One layer of QAOA for MaxCut on a random 3-regular graph."""
    qubits += qubits % 2
    rng = np.random.default_rng(qubits)
    while True:  # pairs of stubs, until no edge is doubled
        stubs = rng.permutation(np.repeat(np.arange(qubits), 3)).reshape(-1, 2)
        edges = {(min(a, b), max(a, b)) for a, b in stubs.tolist() if a != b}
        if len(edges) == 3 * qubits // 2:
            graph = rustworkx.PyGraph()
            graph.add_nodes_from(range(qubits))
            graph.add_edges_from([(a, b, None) for a, b in edges])
            if rustworkx.is_connected(graph):
                return _qaoa(qubits, sorted(edges))


def _qaoa(qubits: int, edges: list[tuple[int, int]]) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    gamma, beta = Parameter("gamma"), Parameter("beta")
    circuit.h(range(qubits))
    for a, b in edges:
        circuit.rzz(gamma, a, b)
    circuit.rx(beta, range(qubits))
    return circuit


def ghz(qubits: int) -> QuantumCircuit:
    """A GHZ state by a chain of CX."""
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
    return circuit


def ising(qubits: int) -> QuantumCircuit:
    """Two first-order Trotter steps of the transverse-field Ising chain."""
    circuit = QuantumCircuit(qubits)
    j, h = Parameter("j"), Parameter("h")
    for _ in range(2):
        for first in (0, 1):
            for q in range(first, qubits - 1, 2):
                circuit.rzz(j, q, q + 1)
        circuit.rx(h, range(qubits))
    return circuit


def qft(qubits: int) -> QuantumCircuit:
    """The quantum Fourier transform of a product state."""
    circuit = QuantumCircuit(qubits)
    angles = ParameterVector("t", qubits)
    for q in range(qubits):
        circuit.ry(angles[q], q)
    return circuit.compose(QFTGate(qubits).definition)


def brickwork(qubits: int) -> QuantumCircuit:
    """Four layers of a brickwork of random rotations and CZ."""
    rng = np.random.default_rng(qubits)
    circuit = QuantumCircuit(qubits)
    count = 0
    for layer in range(4):
        for q in range(qubits):
            getattr(circuit, rng.choice(["rx", "ry", "rz"]))(Parameter(f"t{count:04}"), q)
            count += 1
        for q in range(layer % 2, qubits - 1, 2):
            circuit.cz(q, q + 1)
    return circuit


FAMILIES: dict[str, Callable[[int], QuantumCircuit]] = {
    "EfficientSU2": efficient_su2_circuit,
    "RealAmplitudes": real_amplitudes_circuit,
    "ZZ + RealAmplitudes": zz_network,
    "QAOA ring": qaoa_ring,
    "QAOA 3-regular": qaoa_regular,
    "GHZ": ghz,
    "Ising": ising,
    "QFT": qft,
    "brickwork": brickwork,
}
