"""Algebra of two-qubit blocks: products of matrices and rotations, brought to fewer rotations.

A block is a product of 4x4 matrices, and of rotations whose angles are free. Matrices go where they
make rotations local or join them (`framed`), local matrices go to the end, and what then has one
axis is one rotation (`reduced`). Matrices are big-endian: side 0 is the first factor. Refuses to
know steps and what a cut is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, log
from typing import TypeAlias

import numpy as np
from qiskit.synthesis import TwoQubitWeylDecomposition

from pilotcut.circuits.program import AngleSum
from pilotcut.cutting.product_basis import PAULIS, pauli, turned

_NEAR = 1e-10
_ZERO = 1e-12

# log gamma^2 that a rotation is taken to cost while matrices are placed: alone, as one of two that
# are cut together, and as one of more.
_ROTATION_COSTS = (2 * log(3), log(7), log(3))


@dataclass(frozen=True)
class AxisRotation:
    """The rotation ``exp(-i angle/2 G)`` about a Hermitian involution G of two qubits, (4, 4).

    `axes` are the Bloch vectors of ``G = a x b``, None on a side that is left alone.
    """

    axes: tuple[np.ndarray | None, np.ndarray | None]
    angle: AngleSum

    @property
    def generator(self) -> np.ndarray:
        """G itself."""
        first, second = (np.eye(2) if axis is None else pauli(axis) for axis in self.axes)
        # np.kron is five times as slow.
        return (first[:, None, :, None] * second[None, :, None, :]).reshape(4, 4)

    @property
    def is_local(self) -> bool:
        """Whether it acts on one side only."""
        return None in [axis if axis is None else 0 for axis in self.axes]

    @property
    def is_free(self) -> bool:
        """Whether its angle is."""
        return bool(self.angle.terms)

    @property
    def matrix(self) -> np.ndarray:
        """Its matrix, (4, 4), if it is not free."""
        return turned(self.generator, self.angle.offset)

    def behind(self, matrix: np.ndarray) -> AxisRotation | None:
        """Return R' with ``R M = M R'``, None if R' is no rotation about a product of axes."""
        axes = product_axes(matrix.conj().T @ self.generator @ matrix)
        return None if axes is None else replace(self, axes=axes)


def product_axes(
    generator: np.ndarray,
) -> tuple[np.ndarray | None, np.ndarray | None] | None:
    """Return the axes of an involution that is a product of Paulis, None for all others."""
    table = np.einsum("pab,qcd,bdac->pq", PAULIS, PAULIS, generator.reshape(2, 2, 2, 2)).real / 4
    for axes, part in (
        ((0, None), table[1:, 0]),
        ((None, 0), table[0, 1:]),
    ):
        if abs(np.linalg.norm(part) - 1) < _NEAR:
            return (part, None) if axes[0] == 0 else (None, part)
    u, weights, v = np.linalg.svd(table[1:, 1:])
    return (u[:, 0], v[0]) if abs(weights[0] - 1) < _NEAR else None


def weyl(matrix: np.ndarray) -> tuple[np.ndarray, tuple[float, ...], np.ndarray]:
    """Return L, (x, y, z), R of ``L exp(-i/2 (x XX + y YY + z ZZ)) R``, up to a phase."""
    left, angles, right = weyl_factors(matrix)
    return np.kron(*left), angles, np.kron(*right)


#: A pair of matrices (2, 2), the first and second factor of a local one.
_Factors: TypeAlias = tuple[np.ndarray, np.ndarray]


def weyl_factors(matrix: np.ndarray) -> tuple[_Factors, tuple[float, ...], _Factors]:
    """Return the same with the first and second factor of L and of R."""
    # Its default fidelity lets Qiskit take a simpler gate nearby, which drops small angles.
    found = TwoQubitWeylDecomposition(matrix, fidelity=None)
    # Qiskit's l and r are the first and second factor; its angles have the other sign and no half.
    angles = tuple(float(-2 * c) for c in (found.a, found.b, found.c))
    return (found.K1l, found.K1r), angles, (found.K2l, found.K2r)


def log_overhead_of(angles: Sequence[float]) -> float:
    """Return log gamma^2 of ``exp(-i/2 (x XX + y YY + z ZZ))`` in the basis that it is cut in.

    Angles that are left out are 0.
    """
    x, y, z = (a / 2 for a in [*angles, 0.0, 0.0, 0.0][:3])
    both = np.array(
        [
            np.cos(x) * np.cos(y) * np.cos(z) + 1j * np.sin(x) * np.sin(y) * np.sin(z),
            np.cos(x) * np.sin(y) * np.sin(z) + 1j * np.sin(x) * np.cos(y) * np.cos(z),
            np.sin(x) * np.cos(y) * np.sin(z) + 1j * np.cos(x) * np.sin(y) * np.cos(z),
            np.sin(x) * np.sin(y) * np.cos(z) + 1j * np.cos(x) * np.cos(y) * np.sin(z),
        ]
    )
    pairs = np.outer(both, both.conj())[np.triu_indices(4, 1)]
    gamma = 1 + 4 * (np.abs(pairs.real) + np.abs(pairs.imag)).sum()
    return float(2 * np.log(gamma))


# -- where matrices go -----------------------------------------------------------------


def framed(
    elements: Iterable[np.ndarray | AxisRotation],
) -> list[list[np.ndarray | AxisRotation]]:
    """Return the same product in several ways, its matrices where they cost least.

    With T the product of the matrices in front of a rotation R, and any frame F, R behind T is
    ``R T = T F^-1 R' F`` with ``R' = F T^-1 R T F^-1``: the matrices may stand elsewhere. Frames
    are the products T themselves. The cheapest way through them is found exactly for each of some
    costs of a rotation, as it is not known yet which rotations join; frames in which one is no
    product of axes are left out.
    """
    rotations, frames, total = [], [np.eye(4, dtype=complex)], np.eye(4, dtype=complex)
    for element in elements:
        if not isinstance(element, AxisRotation):
            total = element @ total
            continue
        rotations.append((element, total))
        if not any(_is_local(total @ frame.conj().T) for frame in frames):
            frames.append(total)
    if not rotations:
        return [[total]]
    steps = np.array([[_cost_between(f, g) for g in frames] for f in frames])
    last = np.array([_cost_between(f, total) for f in frames])
    seen = [[r.behind(done @ frame.conj().T) for frame in frames] for r, done in rotations]
    ways = {_cheapest_way(steps, last, seen, cost) for cost in _ROTATION_COSTS}
    return [_along(way, frames, seen, total) for way in sorted(ways)]


def _along(
    way: Sequence[int],
    frames: Sequence[np.ndarray],
    seen: Sequence[Sequence[AxisRotation | None]],
    total: np.ndarray,
) -> list[np.ndarray | AxisRotation]:
    found: list[np.ndarray | AxisRotation] = []
    at = np.eye(4, dtype=complex)
    for k, row in zip(way, seen, strict=True):
        rotation = row[k]
        assert rotation is not None, "the way only takes what is a rotation"
        found += [frames[k] @ at.conj().T, rotation]
        at = frames[k]
    return [*found, total @ at.conj().T]


def _cheapest_way(
    steps: np.ndarray,
    last: np.ndarray,
    seen: Sequence[Sequence[AxisRotation | None]],
    rotation_cost: float,
) -> tuple[int, ...]:
    """Return the frame of each rotation, by dynamic programming."""
    came: list[np.ndarray] = []
    cost = np.full(len(steps), inf)
    cost[0] = 0.0  # the first frame is no matrix at all
    for row in seen:
        through = cost[:, None] + steps
        own = [inf if r is None else 0.0 if r.is_local else rotation_cost for r in row]
        came.append(through.argmin(axis=0))
        cost = through.min(axis=0) + np.array(own)
    way = [int((cost + last).argmin())]
    for behind in reversed(came[1:]):
        way.append(int(behind[way[-1]]))
    return tuple(way[::-1])


def _is_local(matrix: np.ndarray) -> bool:
    pairs = matrix.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    return bool(np.linalg.svd(pairs, compute_uv=False)[1] < _NEAR)


def _cost_between(frame: np.ndarray, other: np.ndarray) -> float:
    between = other @ frame.conj().T
    return 0.0 if _is_local(between) else log_overhead_of(weyl(between)[1])


# -- fewer rotations -------------------------------------------------------------------


def reduced(elements: Iterable[np.ndarray | AxisRotation]) -> tuple[list[AxisRotation], np.ndarray]:
    """Return a product as few rotations, in order, and the local matrix behind them."""
    rotations, local = _with_locals_behind(elements)
    while True:
        merged = _merged(rotations)
        # A rotation by a multiple of pi is local, and goes behind with the others.
        trivial = [not r.is_free and abs(np.sin(r.angle.offset)) < _NEAR for r in merged]
        if not any(trivial):
            return merged, local
        some = [r.matrix if flat else r for r, flat in zip(merged, trivial, strict=True)]
        rotations, behind = _with_locals_behind(some)
        local = local @ behind


def _with_locals_behind(
    elements: Iterable[np.ndarray | AxisRotation],
) -> tuple[list[AxisRotation], np.ndarray]:
    rotations, local = [], np.eye(4, dtype=complex)
    for element in elements:
        if isinstance(element, AxisRotation):
            rotations.append(_behind(element, local))
        elif _is_local(element):
            local = element @ local
        else:
            left, angles, right = weyl(element)
            local = right @ local
            for axis, angle in zip(np.eye(3), angles, strict=True):
                if abs(angle) > _ZERO:
                    rotation = AxisRotation((axis, axis), AngleSum((), angle))
                    rotations.append(_behind(rotation, local))
            local = left @ local
    return rotations, local


def _behind(rotation: AxisRotation, local: np.ndarray) -> AxisRotation:
    found = rotation.behind(local)
    assert found is not None, "a local matrix turns each axis by itself"
    return found


def _merged(rotations: Iterable[AxisRotation]) -> list[AxisRotation]:
    """Add the angles of rotations about one axis, where what stands between commutes."""
    kept: list[AxisRotation] = []
    for rotation in rotations:
        place = len(kept)
        beside = None  # where it stands behind its like, locals between them left out
        while place and _commute(rotation, kept[place - 1]):
            before = kept[place - 1]
            sign = 0.0 if rotation.is_local else _same_axis(rotation, before)
            if sign:
                angle = before.angle.plus(rotation.angle.scaled(sign))
                kept[place - 1] = replace(before, angle=angle)
                break
            if before.is_local == rotation.is_local and beside is None:
                beside = place
            place -= 1
        else:
            # A local rotation goes out of the way of those that may be cut as one, if it can.
            if rotation.is_local and not place:
                beside = 0 if beside is None else beside
            kept.insert(len(kept) if beside is None else beside, rotation)
    return kept


def _commute(one: AxisRotation, other: AxisRotation) -> bool:
    a, b = one.generator, other.generator
    return bool(np.abs(a @ b - b @ a).max() < _NEAR)


def _same_axis(one: AxisRotation, other: AxisRotation) -> float:
    """Return 1 or -1 for equal or opposite generators, else 0."""
    overlap = float(np.trace(one.generator @ other.generator).real) / 4
    return float(round(overlap)) if abs(abs(overlap) - 1) < _NEAR else 0.0
