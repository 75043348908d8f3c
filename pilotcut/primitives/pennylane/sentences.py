"""Observables of PennyLane as sums of Pauli strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator
from pennylane.pauli import PauliSentence
from qiskit.quantum_info import SparsePauliOp

#: Wires of an observable that is a matrix: it may become 4^wires Pauli strings.
MOST_MATRIX_WIRES = 6


def is_observable(observable: Operator) -> bool:
    """Whether an observable can be measured as a sum of Pauli strings."""
    if observable.pauli_rep is not None:
        return True
    if isinstance(observable, (qml.ops.Prod, qml.ops.Sum)):
        return all(is_observable(one) for one in observable.operands)
    if isinstance(observable, qml.ops.SProd):
        return is_observable(observable.base)
    return bool(observable.has_matrix) and len(observable.wires) <= MOST_MATRIX_WIRES


def sentence_of(observable: Operator) -> PauliSentence:
    """Return an observable as PennyLane's sum of Pauli words."""
    if observable.pauli_rep is not None:
        return observable.pauli_rep
    if isinstance(observable, qml.ops.Prod):
        product = sentence_of(observable.operands[0])
        for one in observable.operands[1:]:
            product = product @ sentence_of(one)
        return product
    if isinstance(observable, qml.ops.Sum):
        total = PauliSentence({})
        for one in observable.operands:
            total = total + sentence_of(one)
        return total
    if isinstance(observable, qml.ops.SProd):
        return sentence_of(observable.base) * _number(observable.scalar)
    matrix = np.asarray(qml.matrix(observable), dtype=complex)
    return qml.pauli_decompose(matrix, wire_order=observable.wires, pauli=True)


def key_of(observable: Operator) -> object:
    """Return what tells observables apart, quickly for what is asked most."""
    words = observable.pauli_rep
    if words is not None:
        return tuple((tuple(word.items()), _number(c)) for word, c in words.items())
    if isinstance(observable, (qml.ops.Prod, qml.ops.Sum)):
        return observable.name, tuple(key_of(one) for one in observable.operands)
    if isinstance(observable, qml.ops.SProd):
        return "SProd", _number(observable.scalar), key_of(observable.base)
    # A sparse matrix has no bytes of its own.
    matrix = np.asarray(qml.matrix(observable))
    return observable.name, tuple(observable.wires), matrix.tobytes()


def operator_of(sentence: PauliSentence, place: Mapping[Any, int], qubits: int) -> SparsePauliOp:
    """Return a sum of Pauli words as Qiskit's, for the qubit of each wire.

    Raises
    ------
    DeviceError
        If a coefficient is not real.
    """
    terms = []
    for word, coefficient in sentence.items():
        number = _number(coefficient)
        if abs(number.imag) > 1e-12 * max(1.0, abs(number)):
            raise DeviceError(
                f"Observable has the coefficient {number} at {word}, expected a real one; "
                f"measure its Hermitian parts one by one on pilotcut."
            )
        terms.append(("".join(word.values()), [place[wire] for wire in word], number.real))
    if not terms:
        terms = [("", [], 0.0)]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=qubits)


def _number(coefficient: Any) -> complex:
    return complex(qml.math.unwrap([coefficient])[0])
