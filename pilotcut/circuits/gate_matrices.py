"""Matrices of gates: what a gate's class states, its tensor factors, and its angles at some values.

What a gate is, by its class and definition, is decided in `pilotcut.circuits.instructions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.circuit import Gate, Operation, Parameter, ParameterExpression

from pilotcut.errors import CutError
from pilotcut.options import counted

# Schmidt coefficients below this are none, as in `pilotcut.cutting.basis`.
_ZERO = 1e-10


def matrix_of(gate: Operation) -> np.ndarray | None:
    """Return the matrix that a gate's class states, (d, d); None if it states none."""
    stated: Any = gate
    try:
        if hasattr(gate, "__array__"):
            matrix = np.asarray(stated.__array__(dtype=complex), dtype=complex)
        elif _states_matrix(gate):
            matrix = np.asarray(stated.to_matrix(), dtype=complex)
        else:
            return None
    except Exception as error:  # the code of whoever wrote the gate
        raise CutError(
            f"gate '{gate.name}' has a matrix that cannot be had ({type(error).__name__}: "
            f"{error}); give the gate a definition, or bind its parameters"
        ) from None
    size = 2**gate.num_qubits
    unitary = matrix.shape == (size, size) and np.allclose(
        matrix @ matrix.conj().T, np.eye(size), atol=1e-8
    )
    if not unitary:
        raise CutError(
            f"gate '{gate.name}' has a matrix of shape {matrix.shape} that is not a unitary one "
            f"of shape {(size, size)}, expected on {counted(gate.num_qubits, 'qubit')}; mend the "
            "matrix"
        )
    return matrix


def _states_matrix(gate: Operation) -> bool:
    """Whether a gate without `__array__` or definition has a `to_matrix` of its own."""
    own = getattr(type(gate), "to_matrix", None)
    return own not in (None, Gate.to_matrix) and getattr(gate, "definition", None) is None


def factors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the matrices on the first and second qubit of a gate that entangles nothing."""
    # Qiskit's matrices are little-endian: axes are (out 1, out 0, in 1, in 0).
    pairs = matrix.reshape(2, 2, 2, 2).transpose(1, 3, 0, 2).reshape(4, 4)
    u, weights, v = np.linalg.svd(pairs)
    if weights[1] > _ZERO:
        return None
    # The only weight of a unitary is 2, and a unit vector times its root is a unitary matrix again.
    root = np.sqrt(weights[0])
    return (root * u[:, 0]).reshape(2, 2), (root * v[0]).reshape(2, 2)


def at_some_values(gate: Any) -> tuple[Any, dict[Parameter, float]]:
    """Return a copy of a gate with its free angles bound, and the values of their parameters."""
    parameters = {q for p in gate.params if has_parameters(p) for q in p.parameters}
    values = {p: 0.4 + 0.3 * k for k, p in enumerate(sorted(parameters, key=lambda p: p.name))}
    # Qiskit's singletons take no other parameters.
    bound = gate.to_mutable()
    bound.params = [
        p.bind_all({q: values[q] for q in p.parameters}) if has_parameters(p) else p
        for p in gate.params
    ]
    return bound, values


def has_parameters(param: object) -> bool:
    """Whether a parameter of a gate is an angle that is not bound."""
    return isinstance(param, ParameterExpression) and bool(param.parameters)
