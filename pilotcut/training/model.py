"""Quantum neural network that `pilotcut train` trains: feature map, ansatz, observables."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import real_amplitudes, z_feature_map
from qiskit.quantum_info import SparsePauliOp

from pilotcut.errors import UserError
from pilotcut.options import counted


@dataclass(frozen=True)
class Model:
    """A parametrised circuit with the roles of its parameters.

    Parameters
    ----------
    circuit
        Feature map, then ansatz.
    inputs, weights
        Parameters for one sample's features, and those that are trained.
    observables
        Their expectations, in [-1, 1], are the outputs: the sign of one tells two classes
        apart, the largest of several is the class.
    """

    circuit: QuantumCircuit
    inputs: tuple[Parameter, ...]
    weights: tuple[Parameter, ...]
    observables: tuple[SparsePauliOp, ...]

    @property
    def observable(self) -> SparsePauliOp:
        """The first observable, and of two classes the only one."""
        return self.observables[0]


def classifier(qubits: int, *, reps: int = 1, classes: int = 2) -> Model:
    """Return ZFeatureMap and RealAmplitudes with the observables of so many classes.

    For two classes Z on every qubit, which with one repetition is the network of
    arXiv:2602.16233; for more, Z on qubit k for class k.

    Raises
    ------
    UserError
        If there are more than two classes and not a qubit for each.
    """
    if classes > 2 and qubits < classes:
        raise UserError(
            f"classes is {classes} on {counted(qubits, 'qubit')}, expected a qubit for each class; "
            f"give at least {counted(classes, 'qubit')}"
        )
    features = z_feature_map(qubits, parameter_prefix="x")
    ansatz = real_amplitudes(qubits, reps=reps, parameter_prefix="w")
    return Model(
        circuit=features.compose(ansatz),
        inputs=tuple(features.parameters),
        weights=tuple(ansatz.parameters),
        observables=_observables(qubits, classes),
    )


def _observables(qubits: int, classes: int) -> tuple[SparsePauliOp, ...]:
    if classes == 2:
        return (SparsePauliOp("Z" * qubits),)
    ones = ([("Z", [k], 1.0)] for k in range(classes))
    return tuple(SparsePauliOp.from_sparse_list(one, num_qubits=qubits) for one in ones)
