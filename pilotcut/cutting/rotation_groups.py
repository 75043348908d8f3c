"""Groups: which rotations that follow each other are cut as one, and what that costs.

Refuses to know where rotations come from, and how a group is written as a cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

from pilotcut.cutting.product_basis import MOST_FREE, Turn, pauli, product_basis
from pilotcut.cutting.turn_algebra import AxisRotation, log_overhead_of, weyl

# Differences of log gamma^2 that are none.
_CLOSE = 1e-7

#: log gamma^2, and log of the number of pairs of operations: lower is better.
Cost = tuple[float, float]

#: What nothing, or something local, costs.
FREE_OF_COST: Cost = (0.0, 0.0)


def cost_of_angles(angles: Sequence[float | None]) -> Cost:
    """Return the cost of rotations about XX, YY, ZZ, of which only a single one may be free."""
    if angles == [None]:
        return (2 * log(3), 2 * log(5))
    fixed = [angle for angle in angles if angle is not None]
    operations = {0: 0.0, 1: 2 * log(5)}.get(len(fixed), 2 * log(22))
    return (log_overhead_of(fixed), operations)


def sum_of(costs: Sequence[Cost]) -> Cost:
    """Return what several cuts cost."""
    return (sum(cost[0] for cost in costs), sum(cost[1] for cost in costs))


def is_cheaper(one: Cost, other: Cost) -> bool:
    """Whether the overhead is lower, or, if that is equal, the number of variants."""
    if abs(one[0] - other[0]) > _CLOSE:
        return one[0] < other[0]
    return one[1] < other[1] - _CLOSE


@dataclass(frozen=True)
class RotationGroup:
    """Rotations that are cut as one: `turns` in the axes of local matrices around them.

    Without turns these matrices, or the one local rotation, are all that there is.

    Parameters
    ----------
    rotations, turns
        As they stand, and within their own axes.
    frames
        The own axes of each side, as columns (3, 3).
    before, after
        Local matrices (4, 4) in front and behind, beside those of the frames.
    """

    rotations: tuple[AxisRotation, ...]
    turns: tuple[Turn, ...] = ()
    frames: tuple[np.ndarray, np.ndarray] | None = None
    before: np.ndarray = field(default_factory=lambda: np.eye(4))
    after: np.ndarray = field(default_factory=lambda: np.eye(4))

    @property
    def cost(self) -> Cost:
        """What it costs."""
        if not any(turn.angle is None for turn in self.turns):
            # A basis takes a hundred times as long as its price.
            return cost_of_angles([turn.angle for turn in self.turns])
        if len(self.turns) == 1:
            return cost_of_angles([None])
        basis = product_basis(self.turns)
        first, second = (len(some) for some in basis.operations)
        return (log(basis.overhead), log(first) + log(second))

    @property
    def around(self) -> tuple[np.ndarray, np.ndarray]:
        """Local matrices (4, 4) in front of the turns and behind them."""
        if self.frames is None:
            return self.before, self.after
        local = np.kron(*map(spin, self.frames))
        return local.conj().T @ self.before, self.after @ local


def grouped(
    rotations: Sequence[AxisRotation], most_joined: int
) -> tuple[list[RotationGroup], Cost]:
    """Return the cheapest division into consecutive cuts."""
    best: list[tuple[Cost, list[RotationGroup]]] = [(FREE_OF_COST, [])]
    for end in range(1, len(rotations) + 1):
        found: tuple[Cost, list[RotationGroup]] | None = None
        for start in range(end - 1, max(-1, end - 1 - most_joined), -1):
            group = _group(rotations[start:end])
            if group is None:
                break
            cost = sum_of([best[start][0], group.cost])
            if found is None or is_cheaper(cost, found[0]):
                found = (cost, [*best[start][1], group])
        assert found is not None, "one rotation is always a group"
        best.append(found)
    return best[-1][1], best[-1][0]


def _group(some: Sequence[AxisRotation]) -> RotationGroup | None:
    """Return rotations as one cut, None if they are none."""
    if len(some) == 1 and some[0].is_local:
        return RotationGroup(tuple(some))
    if any(r.is_local for r in some) or sum(r.is_free for r in some) > MOST_FREE:
        return None
    if len(some) > 1 and not any(r.is_free for r in some):
        return _bound_group(some)
    frames = [frame_of([r.axes[side] for r in some]) for side in (0, 1)]  # type: ignore[misc]
    turns = tuple(
        Turn(
            (_within(r.axes[0], frames[0]), _within(r.axes[1], frames[1])),
            None if r.is_free else r.angle.offset,
        )
        for r in some
    )
    return RotationGroup(tuple(some), turns, (frames[0], frames[1]))


def _bound_group(some: Sequence[AxisRotation]) -> RotationGroup:
    """Return bound rotations as those about XX, YY and ZZ that they come to."""
    matrix = np.eye(4, dtype=complex)
    for rotation in some:
        matrix = rotation.matrix @ matrix
    left, angles, right = weyl(matrix)
    # A single rotation is about ZZ like all that are cut alone: a turn of the axes does it.
    turns = tuple(
        Turn((axis, axis), angle)
        for axis, angle in zip(_CYCLED, angles, strict=True)
        if abs(angle) > 1e-12
    )
    cycle = np.kron(_CYCLE, _CYCLE)
    return RotationGroup(tuple(some), turns, None, cycle.conj().T @ right, left @ cycle)


#: The axes of XX, YY and ZZ after a cyclic turn that takes Z to X, X to Y and Y to Z.
_CYCLED = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def frame_of(axes: Sequence[np.ndarray]) -> np.ndarray:
    """Return axes x, y, z as columns (3, 3), z the first given one.

    x lies in the plane of the first two given ones that differ.
    """
    z = axes[0]
    across = [axis - (axis @ z) * z for axis in axes[1:]]
    # Any third axis will do where all are along one, best one that leaves the Paulis alone.
    across += [e - (e @ z) * z for e in np.eye(3)]
    x = next(a for a in across if np.linalg.norm(a) > 1e-6)
    x = x / np.linalg.norm(x)
    across_both = (z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0])
    return np.stack([x, np.array(across_both), z], axis=1)


def spin(rotation: np.ndarray) -> np.ndarray:
    """Return the matrix W (2, 2) with ``W (v . sigma) W^-1 = (rotation v) . sigma``."""
    # Here, as it is a tenth of what the package takes to be imported, and few plans need it.
    from scipy.spatial.transform import Rotation as SpatialRotation

    x, y, z, w = SpatialRotation.from_matrix(rotation).as_quat()
    matrix: np.ndarray = w * np.eye(2) - 1j * pauli((x, y, z))
    return matrix


# `spin` of the turn by a third about the diagonal, which takes each axis to another.
_CYCLE = (np.eye(2) - 1j * pauli((1.0, 1.0, 1.0))) / 2


def _within(axis: np.ndarray | None, frame: np.ndarray) -> tuple[float, float, float]:
    """Return an axis in a frame's coordinates, rounded so that equal ones are equal."""
    assert axis is not None
    x, y, z = (float(v) for v in np.round(frame.T @ axis, 15) + 0.0)
    return (x, y, z)
