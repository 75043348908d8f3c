"""Blocks: what stands between two labels, as its cheapest cuts.

A block is a run of gates on the same two qubits, one-qubit gates between them. A run is multiplied
together (where angles are free, as rotations: `pilotcut.cutting.turn_algebra`), and divided again
into the cuts of least gamma^2: CX RZ(t) CX is one RZZ(t), and two iSWAPs are local. The gates
within fragments stay as they are. Refuses to know labels and fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import log

import numpy as np
from qiskit.circuit.library import RZGate, UGate
from scipy.spatial.transform import Rotation as SpatialRotation

from pilotcut.circuits.program import Angle, AngleSum, Param, Step
from pilotcut.cutting.basis import basis_of_rzz, u_angles
from pilotcut.cutting.crossing import Crossing, crossing_of
from pilotcut.cutting.gate_turns import has_turns, turns_of
from pilotcut.cutting.product_basis import MOST_FREE, Turn, pauli, product_basis
from pilotcut.cutting.rotations import RZZ_FORMS
from pilotcut.cutting.turn_algebra import AxisRotation, framed, log_overhead_of, reduced, weyl

#: Steps with a free angle in one run: the search for frames takes the cube of them.
MOST_FREE_STEPS = 24

#: Rotations that are cut as one.
MOST_JOINED = 3

# Differences of log gamma^2 that are none.
_CLOSE = 1e-7

#: log gamma^2, and log of the number of pairs of operations: lower is better.
_Cost = tuple[float, float]


def may_join(step: Step) -> bool:
    """Whether a step may be part of a block of several gates."""
    marked = step.name in ("move", "reset", "cut_wire")
    return not marked and not step.is_classical and has_turns(step)


def crossings_of(steps: Sequence[Step], most_joined: int = MOST_JOINED) -> tuple[Crossing, ...]:
    """Return the cheapest cuts of a run of steps on two qubits.

    Parameters
    ----------
    steps
        Steps on the same two qubits or on one of them, in order, the first and last on both. Of
        several each `may_join`.
    most_joined
        Rotations of one cut, at most. With 1 each cut is an RZZ, which may be cut jointly.

    Raises
    ------
    CutError
        If a gate cannot be cut.
    """
    if len(steps) == 1 and not _is_opened(steps[0]):
        return (crossing_of(steps[0]),)
    pair = steps[0].qubits
    angles: list[Angle] = []
    local = tuple(_localised(step, pair, angles) for step in steps)
    form = _form(_Run(local), most_joined)
    if form is None:
        return _one_by_one(steps)
    shares = _dealt(steps, len(form))
    return tuple(_actual(one, share, pair, angles) for one, share in zip(form, shares, strict=True))


def _is_opened(step: Step) -> bool:
    """Whether a gate cannot be cut as it stands, but as its rotations."""
    return step.is_free and step.name not in RZZ_FORMS


def interaction_angles(steps: Sequence[Step]) -> list[float]:
    """Return the angles about XX, YY and ZZ that a run without free angles comes to, in radians."""
    matrix = np.eye(4, dtype=complex)
    for step in steps:
        matrix = _matrix(_localised(step, steps[0].qubits, [])) @ matrix
    return _angles_of(matrix)


# -- one form serves all runs of the same gates ------------------------------------------


class _Run:
    """Steps on qubits 0 and 1 with angles counted from 0: a key of the cache."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self._key = tuple(step.key for step in steps)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Run) and self._key == other._key


def _localised(step: Step, pair: tuple[int, ...], angles: list[Angle]) -> Step:
    params: list[Param] = []
    for param in step.params:
        if isinstance(param, Angle):
            angles.append(param)
            param = Angle(len(angles) - 1)
        params.append(param)
    return Step(step.gate, tuple(pair.index(q) for q in step.qubits), tuple(params))


def _actual(
    one: Crossing, steps: tuple[Step, ...], pair: tuple[int, ...], angles: Sequence[Angle]
) -> Crossing:
    """Return a crossing of a form with the run's own steps, qubits and angles."""

    def summed(angle: AngleSum) -> AngleSum:
        return AngleSum.over([(angles[k], scale) for k, scale in angle.terms], angle.offset)

    def stepped(step: Step) -> Step:
        params = tuple(_param(p, angles) for p in step.params)
        return Step(step.gate, tuple(pair[q] for q in step.qubits), params)

    return replace(
        one,
        steps=steps,
        qubits=(pair[0], pair[1]),
        angles=tuple(summed(angle) for angle in one.angles),
        before=tuple(map(stepped, one.before)),
        after=tuple(map(stepped, one.after)),
        rzz=summed(one.rzz) if isinstance(one.rzz, AngleSum) else one.rzz,
    )


def _param(param: Param, angles: Sequence[Angle]) -> Param:
    if not isinstance(param, Angle):
        return param
    return angles[param.slot].scaled(param.scale, param.offset)


def _dealt(steps: Sequence[Step], count: int) -> list[tuple[Step, ...]]:
    """Deal a run's steps to its cuts, about as many gates to each, in order."""
    gates = sum(len(step.qubits) == 2 for step in steps)
    shares: list[list[Step]] = [[] for _ in range(count)]
    passed = 0
    for step in steps:
        shares[min(passed * count // gates, count - 1)].append(step)
        passed += len(step.qubits) == 2
    return [tuple(share) for share in shares]


def _one_by_one(steps: Sequence[Step]) -> tuple[Crossing, ...]:
    """Return each gate by itself, and the one-qubit steps as they are."""
    found: list[Crossing] = []
    between: list[Step] = []
    for step in steps:
        if len(step.qubits) == 1:
            between.append(step)
            continue
        one = crossing_of(step)
        before = (*between, *one.before)
        found.append(replace(one, steps=(*between, step), before=before))
        between = []
    return tuple(found)


# -- the cheapest form -------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _form(run: _Run, most_joined: int) -> tuple[Crossing, ...] | None:
    """Return a run's cuts on qubits 0 and 1; None if its gates are no dearer one by one."""
    groups, cost, local = _best([e for step in run.steps for e in _elements(step)], most_joined)
    if not any(_is_opened(step) for step in run.steps if len(step.qubits) == 2):
        own = _sum([_cost_of_gate(step) for step in run.steps if len(step.qubits) == 2])
        if not is_cheaper(cost, own):
            return None
    writing = _Writing()
    for group in groups:
        writing.add(group)
    return writing.end(local)


def _best(
    elements: list[np.ndarray | AxisRotation], most_joined: int
) -> tuple[list[_Group], _Cost, np.ndarray]:
    """Return the cheapest groups of a product, their cost and the local matrix behind them."""
    found: tuple[list[_Group], _Cost, np.ndarray] | None = None
    for product in framed(elements):
        rotations, local = reduced(product)
        groups, cost = _grouped(rotations, most_joined)
        if found is None or is_cheaper(cost, found[1]):
            found = (groups, cost, local)
    assert found is not None, "a product has a way through its frames at least"
    return found


def _elements(step: Step) -> list[np.ndarray | AxisRotation]:
    """Return a step as a matrix, or as rotations and matrices."""
    if not step.is_free:
        return [_matrix(step)]
    found: list[np.ndarray | AxisRotation] = []
    for paulis, angle in turns_of(step):
        axes: list[np.ndarray | None] = [None, None]
        for qubit, letter in zip(step.qubits, paulis, strict=True):
            axes[qubit] = None if letter == "I" else np.eye(3)["XYZ".index(letter)]
        rotation = AxisRotation((axes[0], axes[1]), angle)
        found.append(rotation if rotation.is_free else rotation.matrix)
    return found


def _matrix(step: Step) -> np.ndarray:
    """Return a step's matrix on both qubits, big-endian."""
    matrix = np.asarray(step.gate_with(step.params).to_matrix(), dtype=complex)
    if step.qubits == (0,):
        return np.kron(matrix, np.eye(2))
    if step.qubits == (1,):
        return np.kron(np.eye(2), matrix)
    # Qiskit's own order has a gate's second qubit first.
    if step.qubits == (1, 0):
        return matrix
    return matrix.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)


def _cost_of_gate(step: Step) -> _Cost:
    if step.is_free:
        return _cost_of_angles([None])
    return _cost_of_angles(_angles_of(_matrix(step)))


def _angles_of(matrix: np.ndarray) -> list[float]:
    # Weyl's chamber ends at quarter turns: a sine that vanishes is that of angle 0.
    return [angle for angle in weyl(matrix)[1] if abs(np.sin(angle)) > 1e-10]


def _cost_of_angles(angles: Sequence[float | None]) -> _Cost:
    """Return the cost of rotations about XX, YY, ZZ, of which only a single one may be free."""
    if angles == [None]:
        return (2 * log(3), 2 * log(5))
    fixed = [angle for angle in angles if angle is not None]
    operations = {0: 0.0, 1: 2 * log(5)}.get(len(fixed), 2 * log(22))
    return (log_overhead_of(fixed), operations)


def _sum(costs: Sequence[_Cost]) -> _Cost:
    return (sum(cost[0] for cost in costs), sum(cost[1] for cost in costs))


def is_cheaper(one: _Cost, other: _Cost) -> bool:
    """Whether the overhead is lower, or, if that is equal, the number of variants."""
    if abs(one[0] - other[0]) > _CLOSE:
        return one[0] < other[0]
    return one[1] < other[1] - _CLOSE


@dataclass(frozen=True)
class _Group:
    """Rotations that are cut as one: `turns` in the axes of local matrices around them.

    Without turns these matrices, or the one local rotation, are all that there is.
    """

    rotations: tuple[AxisRotation, ...]
    turns: tuple[Turn, ...] = ()
    before: np.ndarray = field(default_factory=lambda: np.eye(4))
    after: np.ndarray = field(default_factory=lambda: np.eye(4))

    @property
    def cost(self) -> _Cost:
        if not self.turns:
            return (0.0, 0.0)
        if len(self.turns) == 1:
            return _cost_of_angles([self.turns[0].angle])
        basis = product_basis(self.turns)
        first, second = (len(some) for some in basis.operations)
        return (log(basis.overhead), log(first) + log(second))


def _grouped(rotations: Sequence[AxisRotation], most_joined: int) -> tuple[list[_Group], _Cost]:
    """Return the cheapest division into consecutive cuts."""
    best: list[tuple[_Cost, list[_Group]]] = [((0.0, 0.0), [])]
    for end in range(1, len(rotations) + 1):
        found: tuple[_Cost, list[_Group]] | None = None
        for start in range(end - 1, max(-1, end - 1 - most_joined), -1):
            group = _group(rotations[start:end])
            if group is None:
                break
            cost = _sum([best[start][0], group.cost])
            if found is None or is_cheaper(cost, found[0]):
                found = (cost, [*best[start][1], group])
        assert found is not None, "one rotation is always a group"
        best.append(found)
    return best[-1][1], best[-1][0]


def _group(some: Sequence[AxisRotation]) -> _Group | None:
    """Return rotations as one cut, None if they are none."""
    if len(some) == 1 and some[0].is_local:
        return _Group(tuple(some))
    if any(r.is_local for r in some) or sum(r.is_free for r in some) > MOST_FREE:
        return None
    if len(some) > 1 and not any(r.is_free for r in some):
        return _bound_group(some)
    frames = [_frame([r.axes[side] for r in some]) for side in (0, 1)]  # type: ignore[misc]
    turns = tuple(
        Turn(
            (_within(r.axes[0], frames[0][0]), _within(r.axes[1], frames[1][0])),
            None if r.is_free else r.angle.offset,
        )
        for r in some
    )
    local = np.kron(frames[0][1], frames[1][1])
    return _Group(tuple(some), turns, local.conj().T, local)


def _bound_group(some: Sequence[AxisRotation]) -> _Group:
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
    return _Group(tuple(some), turns, cycle.conj().T @ right, left @ cycle)


#: The axes of XX, YY and ZZ after a cyclic turn that takes Z to X, X to Y and Y to Z.
_CYCLED = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def _frame(axes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return axes x, y, z as columns (3, 3), z the first given one, and the matrix to them, (2, 2).

    x lies in the plane of the first two given ones that differ.
    """
    z = axes[0]
    across = [axis - (axis @ z) * z for axis in axes[1:]]
    # Any third axis will do where all are along one, best one that leaves the Paulis alone.
    across += [e - (e @ z) * z for e in np.eye(3)]
    x = next(a for a in across if np.linalg.norm(a) > 1e-6)
    x = x / np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z], axis=1)
    return rotation, _spin(rotation)


def _spin(rotation: np.ndarray) -> np.ndarray:
    """Return the matrix W (2, 2) with ``W (v . sigma) W^-1 = (rotation v) . sigma``."""
    x, y, z, w = SpatialRotation.from_matrix(rotation).as_quat()
    matrix: np.ndarray = w * np.eye(2) - 1j * pauli((x, y, z))
    return matrix


_CYCLE = _spin(np.roll(np.eye(3), -1, axis=1))


def _within(axis: np.ndarray | None, frame: np.ndarray) -> tuple[float, float, float]:
    """Return an axis in a frame's coordinates, rounded so that equal ones are equal."""
    assert axis is not None
    x, y, z = (float(v) for v in np.round(frame.T @ axis, 15) + 0.0)
    return (x, y, z)


# -- writing it down ----------------------------------------------------------------------


class _Writing:
    """Crossings on their way: local matrices are gathered until a gate of theirs is needed."""

    def __init__(self) -> None:
        self._pending = [np.eye(2, dtype=complex), np.eye(2, dtype=complex)]
        self._locals: list[Step] = []
        self._found: list[Crossing] = []

    def add(self, group: _Group) -> None:
        """Add a local rotation or a cut."""
        self._multiply(group.before)
        if group.turns:
            self._cut(group)
        elif group.rotations[0].is_local:
            self._turn(group.rotations[0])
        self._multiply(group.after)

    def _cut(self, group: _Group) -> None:
        self._flush(0)
        self._flush(1)
        angles = tuple(r.angle for r in group.rotations if r.is_free)
        rzz: AngleSum | float | None = None
        if len(group.turns) == 1:
            rzz = angles[0] if angles else group.turns[0].angle
        basis = basis_of_rzz() if isinstance(rzz, AngleSum) else product_basis(group.turns)
        self._found.append(Crossing((), (0, 1), basis, angles, tuple(self._locals), (), rzz))
        self._locals = []

    def _turn(self, rotation: AxisRotation) -> None:
        """Add a local rotation as RZ gates, one for each free angle that it has."""
        side = 0 if rotation.axes[1] is None else 1
        axis = rotation.axes[side]
        assert axis is not None
        spin = _frame([axis])[1]
        self._pending[side] = spin.conj().T @ self._pending[side]
        self._flush(side)
        offset = rotation.angle.offset
        for slot, scale in rotation.angle.terms:
            # The angle 0 only makes the gate: what counts are the step's params.
            self._locals.append(Step(RZGate(0.0), (side,), (Angle(slot, scale, offset),)))
            offset = 0.0
        self._pending[side] = spin

    def _multiply(self, local: np.ndarray) -> None:
        pairs = local.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
        u, weights, v = np.linalg.svd(pairs)
        # The only weight of a unitary is 2, and a unit vector times its root is a unitary matrix.
        for side, vector in enumerate((u[:, 0], v[0])):
            factor = np.sqrt(weights[0]) * vector.reshape(2, 2)
            self._pending[side] = factor @ self._pending[side]

    def _flush(self, side: int) -> None:
        matrix = self._pending[side]
        if np.abs(matrix - matrix[0, 0] * np.eye(2)).max() > 1e-12:
            angles = u_angles(matrix)
            self._locals.append(Step(UGate(*angles), (side,), angles))
        self._pending[side] = np.eye(2, dtype=complex)

    def end(self, local: np.ndarray) -> tuple[Crossing, ...]:
        """Return the crossings, the last of which has the local matrix behind it."""
        self._multiply(local)
        self._flush(0)
        self._flush(1)
        if not self._found:
            return (Crossing((), (0, 1), None, before=tuple(self._locals)),)
        return (*self._found[:-1], replace(self._found[-1], after=tuple(self._locals)))
