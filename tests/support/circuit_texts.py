"""Circuits as texts of the languages that files may have."""

import io

from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import (
    QuantumCircuit,
)
from qiskit.quantum_info import Operator

QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\n'


QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\n'


def same(circuit, expected):
    return Operator(circuit).equiv(Operator(expected))


def circuit_of(num_qubits, *applied):
    """Return a circuit of (gate, qubits)."""
    circuit = QuantumCircuit(num_qubits)
    for gate, qubits in applied:
        circuit.append(gate, qubits)
    return circuit


def qpy_bytes(circuit):
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return buffer.getvalue()


WRITERS = {
    "qasm2": (lambda c: qasm2.dumps(c).encode(), "circuit.qasm"),
    "qasm3": (lambda c: qasm3.dumps(c).encode(), "circuit.qasm"),
    "qpy": (qpy_bytes, "circuit.qpy"),
}
