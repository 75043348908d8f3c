"""Somebody's gates, and values of circuits with them."""

from qiskit import QuantumCircuit
from qiskit.circuit import (
    Parameter,
)
from qiskit.quantum_info import (
    Pauli,
    Statevector,
)

from pilotcut import CutEstimator

X = Parameter("x")


def value(circuit, observable, *row, mode="exact", **options):
    """Return an expectation value in a mode; without a row the circuit has no parameters."""
    options = options if mode == "exact" else {"shots": 20_000, "seed": 3} | options
    pub = (circuit, observable, list(row)) if row else (circuit, observable)
    return float(CutEstimator(mode=mode, **options).run([pub]).result()[0].data.evs)


def expected(circuit, observable, *row):
    bound = circuit.assign_parameters(list(row)) if row else circuit
    return Statevector(bound).expectation_value(Pauli(observable)).real


def turned(name, qubits=1):
    """Return somebody's gate of a name: RX(1) on its first qubit, then perhaps a CX."""
    circuit = QuantumCircuit(qubits, name=name)
    circuit.rx(1, 0)
    if qubits == 2:
        circuit.cx(0, 1)
    return circuit.to_gate()
