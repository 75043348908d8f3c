"""Products of two-qubit rotations cut as one: the bases of ``sum_pq u_pq P_p x P_q``.

A product of rotations ``exp(-i x_k/2 A_k x B_k)``, A_k and B_k Paulis about any axes, is a sum of
Pauli pairs whose weights u are trigonometric in the angles. So its channel is a sum over pairs of
pairs of ``(P_p . P_r) x (P_q . P_s)``, and on one side

    P_p . P_p' = w P_p (. P_m) P_p = w P_p (H_m + i G_m) P_p,   P_p' P_p = w P_m,

with ``H_m``, a signed measurement of P_m, and ``G_m``, half the difference of the rotations
``exp(+-i pi/4 P_m)``. Together that is at most 4 + 6 * 3 = 22 operations a side, whatever the
angles. Two rotations about commuting axes, as in XXPlusYY, have gamma = 2 (sum |u|)^2 - 1, at most
7, where one by one they have 9; three have what an SU(4) gate has (arXiv:2006.11174,
arXiv:2312.11638).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from pilotcut.cutting.basis import (
    CutBasis,
    LocalOperation,
    harmonics,
    u_angles,
    weighted,
)

#: An axis of the Bloch sphere, a unit vector (x, y, z).
Axis = tuple[float, float, float]

PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])

#: Free angles of one cut: each triples the table of coefficients.
MOST_FREE = 3

# Three generic angles fix a trigonometric polynomial of degree one.
_FIT_ANGLES = np.array([0.4, 1.9, 4.3])
_ZERO = 1e-12

# Points along each angle at which the worst gamma is looked for first, by the number of angles.
# They hold all quarter turns, where gamma has its maxima for commuting axes.
_POINTS = {1: 65, 2: 33, 3: 17}


@dataclass(frozen=True)
class Turn:
    """The rotation ``exp(-i angle/2 A x B)`` about two axes; an angle None stays free."""

    axes: tuple[Axis, Axis]
    angle: float | None


def pauli(axis: Axis | np.ndarray) -> np.ndarray:
    """Return ``x X + y Y + z Z``, (2, 2)."""
    x, y, z = axis
    return np.array([[z, x - 1j * y], [x + 1j * y, -z]])


def turned(axes: np.ndarray, angle: float) -> np.ndarray:
    """Return ``cos(angle/2) - i sin(angle/2) A`` for an involution A."""
    return np.cos(angle / 2) * np.eye(len(axes)) - 1j * np.sin(angle / 2) * axes


@lru_cache(maxsize=1024)
def product_basis(turns: tuple[Turn, ...]) -> CutBasis:
    """Return the basis of a product of rotations, the first of which acts first.

    Parameters
    ----------
    turns
        The rotations. Of at most `MOST_FREE` the angle may be free; each has an axis of the
        coefficients, in this order.
    """
    free = [k for k, turn in enumerate(turns) if turn.angle is None]
    shape = (3,) * len(free)
    weights = np.array(
        [
            _weights(turns, dict(zip(free, at, strict=True)))
            for at in product(_FIT_ANGLES, repeat=len(free))
        ]
    )
    bonds = np.array([_bond(u) for u in weights])
    coefficients = _fitted(bonds.reshape(*shape, *bonds.shape[1:]), len(free), 1.0)
    size = coefficients.shape[-1]
    used = np.abs(coefficients).reshape(-1, size, size).max(axis=0) > _ZERO
    kept = [np.flatnonzero(used.any(axis=1 - side)) for side in (0, 1)]
    coefficients = coefficients[..., kept[0][:, None], kept[1]]
    operations = (
        tuple(_operations()[0][k] for k in kept[0]),
        tuple(_operations()[0][k] for k in kept[1]),
    )
    branches, amplitudes = _coherent(weights.reshape(*shape, 4, 4), len(free))
    gamma = _worst(coefficients, len(free))
    return CutBasis(("gate", "gate"), operations, coefficients, branches, amplitudes, gamma**2)


def _weights(turns: Sequence[Turn], free: dict[int, float]) -> np.ndarray:
    """Return the weights u (4, 4) of the Pauli pairs at some values of the free angles."""
    matrix = np.eye(4, dtype=complex)
    for k, turn in enumerate(turns):
        a, b = turn.axes
        angle = free[k] if turn.angle is None else turn.angle
        matrix = turned(np.kron(pauli(a), pauli(b)), angle) @ matrix
    # Big-endian: side 0 is the first factor.
    return np.einsum("pab,qcd,bdac->pq", PAULIS, PAULIS, matrix.reshape(2, 2, 2, 2)) / 4


def _bond(weights: np.ndarray) -> np.ndarray:
    """Return the bond matrix over all 22 operations of either side."""
    table = _operations()[1]
    # Of a pair (p, q) and a pair (r, s): u_pq u_rs* (P_p . P_r) x (P_q . P_s).
    left = np.tensordot(np.tensordot(weights, table, axes=(0, 0)), weights.conj(), axes=(1, 0))
    return np.einsum("qis,qsj->ij", left, table, optimize=True).real


@lru_cache(maxsize=1)
def _operations() -> tuple[tuple[LocalOperation, ...], np.ndarray]:
    """Return the 22 operations, and (4, 4, 22) complex: ``P_p . P_r`` as a sum of them."""
    operations = [_unitary(matrix) for matrix in PAULIS]
    table = np.zeros((4, 4, 22), dtype=complex)
    for p in range(4):
        table[p, p, p] = 1
    for p in range(4):
        for r in range(p + 1, 4):
            square = PAULIS[r] @ PAULIS[p]
            overlaps = np.einsum("mab,ba->m", PAULIS, square) / 2
            m = int(np.abs(overlaps).argmax())
            h = len(operations)
            operations.append(_measuring(PAULIS[m], PAULIS[p]))
            operations += [
                _unitary(PAULIS[p] @ turned(PAULIS[m], -sign * np.pi / 2)) for sign in (1, -1)
            ]
            # H + i G, and its mirror image H - i G for the bra.
            table[p, r, h : h + 3] = overlaps[m] * np.array([1, 0.5j, -0.5j])
            table[r, p] = table[p, r].conj()
    return tuple(operations), table


def _unitary(matrix: np.ndarray) -> LocalOperation:
    return LocalOperation(u_angles(matrix))


def _measuring(axis: np.ndarray, behind: np.ndarray) -> LocalOperation:
    """Return a signed measurement of a Pauli, and another Pauli behind it."""
    frame = np.linalg.eigh(axis)[1][:, ::-1]  # |0> to the eigenstate of +1
    return LocalOperation(u_angles(frame.conj().T), True, u_angles(behind @ frame))


def _fitted(samples: np.ndarray, free: int, factor: float) -> np.ndarray:
    """Return the weights of 1, cos(factor x), sin(factor x) along each free angle's axis."""
    inverse = np.linalg.inv(harmonics(factor * _FIT_ANGLES))
    for axis in range(free):
        samples = np.moveaxis(np.tensordot(inverse, samples, axes=(1, axis)), 0, axis)
    return np.where(np.abs(samples) < _ZERO, 0.0, samples)


def _coherent(weights: np.ndarray, free: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the pairs of Paulis that have a weight, and these weights by half angles."""
    amplitudes = _fitted(weights, free, 0.5)
    pairs = np.argwhere(np.abs(amplitudes).reshape(-1, 4, 4).max(axis=0) > _ZERO)
    branches = PAULIS[pairs[:, 0]], PAULIS[pairs[:, 1]]
    return branches, amplitudes[..., pairs[:, 0], pairs[:, 1]]


def _worst(coefficients: np.ndarray, free: int) -> float:
    """Return gamma, the sum of all |C_ij|, at the worst angles."""
    if not free:
        return float(np.abs(coefficients).sum())
    centre, width, best, points = np.full(free, np.pi), np.pi, 0.0, _POINTS[free]
    # Every round looks closer about the best point of the one before: some maxima lie between.
    for _ in range(6):
        lines = [c + np.linspace(-width, width, points) for c in centre]
        grid = np.array(list(product(*lines)))
        gammas = _gammas(coefficients, grid)
        k = int(gammas.argmax())
        if gammas[k] > best + 1e-9:
            centre, best = grid[k], float(gammas[k])
        width, points = 2 * width / (points - 1), 5
    return best


def _gammas(coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return gamma at points (points, angles)."""
    return np.concatenate(
        [
            np.abs(weighted(coefficients, [harmonics(x) for x in some.T])).sum(axis=(-2, -1))
            for some in np.array_split(points, -(-len(points) // 512))
        ]
    )
