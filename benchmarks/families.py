"""The circuit families that recommendations are measured on, each by its number of qubits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import rustworkx
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import QFTGate, real_amplitudes, zz_feature_map

from pilotcut.perfmodel.sample_circuits import brickwork, network, qaoa, qaoa_ring


def real_amplitudes_circuit(qubits: int) -> QuantumCircuit:
    """Return RealAmplitudes, two repetitions, linear entanglement."""
    return real_amplitudes(qubits, reps=2, entanglement="linear")


def zz_network(qubits: int) -> QuantumCircuit:
    """Return ZZFeatureMap, then RealAmplitudes, one linear repetition each."""
    features = zz_feature_map(qubits, reps=1, entanglement="linear", parameter_prefix="x")
    ansatz = real_amplitudes(qubits, reps=1, entanglement="linear", parameter_prefix="w")
    return features.compose(ansatz)


def qaoa_regular(qubits: int) -> QuantumCircuit:
    """Return one layer of QAOA for MaxCut on a random 3-regular graph."""
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
                return qaoa(qubits, sorted(edges))


def ghz(qubits: int) -> QuantumCircuit:
    """Return a GHZ state by a chain of CX."""
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
    return circuit


def ising(qubits: int) -> QuantumCircuit:
    """Return two first-order Trotter steps of the transverse-field Ising chain."""
    circuit = QuantumCircuit(qubits)
    j, h = Parameter("j"), Parameter("h")
    for _ in range(2):
        for first in (0, 1):
            for q in range(first, qubits - 1, 2):
                circuit.rzz(j, q, q + 1)
        circuit.rx(h, range(qubits))
    return circuit


def qft(qubits: int) -> QuantumCircuit:
    """Return the quantum Fourier transform of a product state."""
    circuit = QuantumCircuit(qubits)
    angles = ParameterVector("t", qubits)
    for q in range(qubits):
        circuit.ry(angles[q], q)
    return circuit.compose(QFTGate(qubits).definition)


FAMILIES: dict[str, Callable[[int], QuantumCircuit]] = {
    "EfficientSU2": network,
    "RealAmplitudes": real_amplitudes_circuit,
    "ZZ + RealAmplitudes": zz_network,
    "QAOA ring": qaoa_ring,
    "QAOA 3-regular": qaoa_regular,
    "GHZ": ghz,
    "Ising": ising,
    "QFT": qft,
    "brickwork": brickwork,
}
