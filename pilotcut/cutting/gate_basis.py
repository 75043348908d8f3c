"""Bases of single cuts: of a bound gate, of a rotation with a free angle, of a wire.

Any two-qubit gate is ``L exp(-i/2 (x XX + y YY + z ZZ)) R`` with local L and R, so its basis is
that of a product of rotations (`pilotcut.cutting.product_basis`) between local gates. A fragment
with k sites of CX has 5^k variants and not 6^(all cuts), since only the *distinct* operations of
each side are kept, with the coefficients in the bond matrix. Counted:

=================================  ========================  ============
cut                                operations a side         joint terms
=================================  ========================  ============
CX, CZ, RZZ, CRZ, CP, ECR, ...     5                         6
SWAP, iSWAP, DCX, any other gate   22                        30 to 58
wire                               4 measured, 6 prepared    8
=================================  ========================  ============

References
----------
Mitarai and Fujii, arXiv:1909.07534 and arXiv:2006.11174; Peng et al., arXiv:1904.00102 (wires).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from qiskit.circuit import Instruction
from qiskit.circuit.exceptions import CircuitError
from qiskit.circuit.library import HGate, SXdgGate

from pilotcut.cutting.basis import CutBasis, LocalOperation, Operation, u_angles, u_matrix
from pilotcut.cutting.product_basis import Axis, Turn, product_basis
from pilotcut.cutting.turn_algebra import weyl_factors
from pilotcut.errors import CutError
from pilotcut.options import counted

_AXES: tuple[Axis, ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

#: Angles of a Weyl decomposition below this are what rounding leaves of 0.
_NO_ANGLE = 1e-9

#: Singular values of a gate below this are what rounding leaves of 0.
_NO_WEIGHT = 1e-10

# |0> to the eigenstate of +1 of X, Y and Z.
_FRAMES = (HGate().to_matrix(), SXdgGate().to_matrix(), np.eye(2))
_FLIP = np.array([[0, 1], [1, 0]])


def basis_of_gate(gate: Instruction) -> CutBasis:
    """Return the basis of a two-qubit gate with bound parameters, or of a `Move`.

    Raises
    ------
    CutError
        If the gate has no matrix, or is not of two qubits.
    """
    if gate.name == "move":
        return basis_of_wire()
    try:
        if gate.num_qubits != 2:
            raise ValueError("only gates on two qubits can be")
        matrix = np.asarray(gate.to_matrix(), dtype=complex)
    except (AttributeError, CircuitError, TypeError, ValueError) as error:
        raise CutError(
            f"gate '{gate.name}' on {counted(gate.num_qubits, 'qubit')} cannot be cut ({error}); "
            f"cut elsewhere (other labels), or bind or decompose the gate first"
        ) from error
    return _basis_of(matrix.tobytes())


# A circuit has the same few gates in hundreds of places.
@lru_cache(maxsize=256)
def _basis_of(content: bytes) -> CutBasis:
    # Qiskit's matrices are little-endian, with axes (out 1, out 0, in 1, in 0): side 0 comes first.
    little = np.frombuffer(content, dtype=complex).reshape(2, 2, 2, 2)
    matrix = little.transpose(1, 0, 3, 2).reshape(4, 4)
    left, angles, right = weyl_factors(matrix)
    turns = [
        Turn((axis, axis), angle)
        for axis, angle in zip(_AXES, angles, strict=True)
        if abs(angle) > _NO_ANGLE
    ]
    between = product_basis(tuple(turns))
    first, second = (
        tuple(_framed(left[side], one, right[side]) for one in between.operations[side])
        for side in (0, 1)
    )
    branches, amplitudes = _schmidt(matrix)
    return replace(between, operations=(first, second), branches=branches, amplitudes=amplitudes)


def _framed(left: np.ndarray, operation: Operation, right: np.ndarray) -> LocalOperation:
    """Return an operation between two local gates, of which the right one acts first."""
    assert isinstance(operation, LocalOperation), "a product of rotations has no others"
    before, after = u_matrix(operation.before) @ right, u_matrix(operation.after)
    if not operation.measured:
        return LocalOperation(u_angles(left @ after @ before))
    return LocalOperation(u_angles(before), True, u_angles(left @ after))


def _schmidt(matrix: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return branches and amplitudes of a matrix by its operator-Schmidt decomposition."""
    pairs = matrix.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    u, weights, v = np.linalg.svd(pairs)
    rank = int((weights > _NO_WEIGHT).sum())
    root = np.sqrt(weights[:rank])
    sides = (u[:, :rank] * root).T.reshape(-1, 2, 2), (root[:, None] * v[:rank]).reshape(-1, 2, 2)
    return sides, np.ones(rank, dtype=complex)


@lru_cache(maxsize=1)
def basis_of_rzz() -> CutBasis:
    """Return the basis of ``RZZ(x)`` whose bond matrix is a function of x."""
    return product_basis((Turn((_AXES[2], _AXES[2]), None),))


@lru_cache(maxsize=1)
def basis_of_wire() -> CutBasis:
    """Return the basis of a wire: Paulis measured at its end, their eigenstates prepared.

    ``rho = 1/2 sum_P tr(P rho) P`` over I, X, Y, Z, arXiv:1904.00102, equations 12 to 19.
    """
    measured = [LocalOperation(u_angles(frame.conj().T), True) for frame in _FRAMES]
    prepared = [
        LocalOperation(u_angles(frame @ flip)) for frame in _FRAMES for flip in (np.eye(2), _FLIP)
    ]
    coefficients = np.zeros((4, 6))
    coefficients[0, 4:] = 0.5  # the identity as both eigenstates of Z
    for axis in range(3):
        coefficients[1 + axis, 2 * axis : 2 * axis + 2] = 0.5, -0.5
    states = np.eye(2, dtype=complex)  # the identity is sum_r |r><r|
    return CutBasis(
        ("end", "start"),
        ((LocalOperation(u_angles(np.eye(2))), *measured), tuple(prepared)),
        coefficients,
        (states, states),
        np.ones(2, dtype=complex),
        float(np.abs(coefficients).sum() ** 2),
    )
