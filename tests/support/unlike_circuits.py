"""Circuits of many kinds for the distributed state vector, and their values by Qiskit."""

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import QFTGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_pauli_list

from pilotcut.study.motifs.state_vector import entangling_layers

KINDS = ("layers", "gates", "fourier", "diagonal")

#: Of the circuit whose memory is looked at.
WIDTH = 18


def unlike_circuit(kind, qubits=6, rows=2):
    """Return a circuit, two observables and some parameter sets, the same at every call."""
    draws = np.random.default_rng(KINDS.index(kind))
    circuit = {
        "layers": lambda: entangling_layers(qubits, 2),
        "gates": lambda: _gates(qubits, draws),
        "fourier": lambda: _fourier(qubits),
        "diagonal": lambda: _diagonal(qubits),
    }[kind]()
    paulis = random_pauli_list(qubits, 6, seed=1, phase=False)
    observables = [SparsePauliOp(paulis, draws.normal(size=6)), SparsePauliOp("Z" * qubits)]
    return circuit, observables, draws.normal(size=(rows, circuit.num_parameters))


def by_qiskit(circuit, observables, row):
    """Return the values of observables by Qiskit's own state vector."""
    state = Statevector(circuit.assign_parameters(row))
    return [state.expectation_value(one).real for one in observables]


def _gates(qubits, draws):
    """Return gates of all kinds at random places; an angle occurs often, and in expressions."""
    circuit, angles = QuantumCircuit(qubits), ParameterVector("t", 8)
    for _ in range(12 * qubits):
        where = map(int, draws.choice(qubits, 3, replace=False))
        one, two = (angles[int(k)] for k in draws.integers(0, 8, 2))
        _add_gate(circuit, int(draws.integers(13)), one, two, *where)
    return circuit


def _add_gate(circuit, kind, a, b, one, two, three):
    ways = [
        lambda: circuit.u(a, 0.3, b * b, one),
        lambda: circuit.rx(2 * a - 0.1, one),
        lambda: circuit.h(one),
        lambda: circuit.p(a, one),
        lambda: circuit.cx(one, two),
        lambda: circuit.cz(one, two),
        lambda: circuit.swap(one, two),
        lambda: circuit.crx(a, one, two),
        lambda: circuit.cp(a, one, two),
        lambda: circuit.rzz(b, one, two),
        lambda: circuit.ryy(a, one, two),
        lambda: circuit.ccx(one, two, three),
        lambda: circuit.iswap(one, two),
    ]
    ways[kind]()


def _fourier(qubits):
    """Return a Fourier transform, which ends in swaps, behind free angles."""
    circuit = QuantumCircuit(qubits)
    for qubit, angle in enumerate(ParameterVector("t", qubits)):
        circuit.ry(angle, qubit)
    circuit.append(QFTGate(qubits), range(qubits))
    return circuit


def _diagonal(qubits):
    """Return a layer of QAOA on all pairs: no qubit is turned but at both ends."""
    circuit, (gamma, beta) = QuantumCircuit(qubits), ParameterVector("t", 2)
    circuit.h(range(qubits))
    for one in range(qubits):
        for two in range(one):
            circuit.rzz(gamma, one, two)
    circuit.rx(beta, range(qubits))
    return circuit
