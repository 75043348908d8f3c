"""The quantum neural network that `pilotcut train` trains: feature map, ansatz, observable."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import real_amplitudes, z_feature_map
from qiskit.quantum_info import SparsePauliOp


@dataclass(frozen=True)
class Model:
    """A parametrised circuit with the roles of its parameters.

    Parameters
    ----------
    circuit
        Feature map, then ansatz.
    inputs, weights
        Parameters for one sample's features, and those that are trained.
    observable
        Its expectation in [-1, 1] is the output; the sign is the class.
    """

    circuit: QuantumCircuit
    inputs: tuple[Parameter, ...]
    weights: tuple[Parameter, ...]
    observable: SparsePauliOp


def classifier(qubits: int) -> Model:
    """Return ZFeatureMap, RealAmplitudes(reps=1) and Z on every qubit, as in arXiv:2602.16233."""
    features = z_feature_map(qubits, parameter_prefix="x")
    ansatz = real_amplitudes(qubits, reps=1, parameter_prefix="w")
    return Model(
        circuit=features.compose(ansatz),
        inputs=tuple(features.parameters),
        weights=tuple(ansatz.parameters),
        observable=SparsePauliOp("Z" * qubits),
    )
