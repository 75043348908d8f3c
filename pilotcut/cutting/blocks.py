"""Blocks: what stands between two labels, as its cheapest cuts.

A block is a run of gates on the same two qubits, one-qubit gates between them. A run is multiplied
together (where angles are free, as rotations: `pilotcut.cutting.turn_algebra`), and divided again
into the cuts of least gamma^2: CX RZ(t) CX is one RZZ(t), and two iSWAPs are local. The gates
within fragments stay as they are. Refuses to know labels and fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from qiskit.circuit.library import RZGate, UGate

from pilotcut.circuits.program import Angle, AngleSum, Param, Step
from pilotcut.cutting.basis import u_angles
from pilotcut.cutting.crossing import Crossing, crossing_of
from pilotcut.cutting.gate_basis import basis_of_rzz
from pilotcut.cutting.gate_turns import has_turns, turns_of
from pilotcut.cutting.product_basis import product_basis
from pilotcut.cutting.rotation_groups import (
    FREE_OF_COST,
    Cost,
    RotationGroup,
    cost_of_angles,
    frame_of,
    grouped,
    is_cheaper,
    spin,
    sum_of,
)
from pilotcut.cutting.rotations import RZZ_FORMS
from pilotcut.cutting.turn_algebra import AxisRotation, framed, reduced, weyl

#: Rotations that are cut as one.
MOST_JOINED = 3

#: Gates that are multiplied together, where a run is divided: every stretch of so many is tried.
_MOST_MULTIPLIED = 8


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
    cost, stretches = _divided(run, most_joined)
    if not any(_is_opened(step) for step in run.steps if len(step.qubits) == 2):
        own = sum_of([_cost_of_gate(step) for step in run.steps if len(step.qubits) == 2])
        if not is_cheaper(cost, own):
            return None
    writing = _Writing()
    for stretch in stretches:
        groups, _, local = _best(stretch, most_joined)
        for group in groups:
            writing.add(group)
        writing.multiply(local)
    return writing.end()


def _divided(run: _Run, most_joined: int) -> tuple[Cost, list[tuple[Step, ...]]]:
    """Return the cheapest stretches of a run, each multiplied together, and what they cost.

    As a whole it may be dearer: where its rotations come to stand decides which of them join.
    """
    steps = run.steps
    starts = [k for k, step in enumerate(steps) if len(step.qubits) == 2]
    whole = _cost_of_stretch(_Run(steps[: starts[-1] + 1]), most_joined)
    # One free rotation is the least that there is; without any, the whole is one matrix.
    if whole[0] <= cost_of_angles([None])[0] or not any(step.is_free for step in steps):
        return whole, [steps]
    ends = [0, *starts[1:], len(steps)]
    best: list[tuple[Cost, int]] = [(FREE_OF_COST, 0)]
    for end in range(1, len(ends)):
        found: list[tuple[Cost, int]] = []
        for start in range(max(0, end - _MOST_MULTIPLIED), end):
            if best[start][0][0] > whole[0] and found:
                continue
            # The steps behind its last gate are local.
            stretch = _numbered(steps[starts[start] : starts[end - 1] + 1])
            cost = whole if end - start == len(starts) else _cost_of_stretch(stretch, most_joined)
            found.append((sum_of([best[start][0], cost]), start))
        best.append(_cheapest(found))
    if not is_cheaper(best[-1][0], whole):
        return whole, [steps]
    stretches: list[tuple[Step, ...]] = []
    end = len(starts)
    while end:
        start = best[end][1]
        stretches.append(steps[ends[start] : ends[end]])
        end = start
    return best[-1][0], stretches[::-1]


def _cheapest(found: Sequence[tuple[Cost, int]]) -> tuple[Cost, int]:
    best = found[0]
    for one in found[1:]:
        if is_cheaper(one[0], best[0]):
            best = one
    return best


def _numbered(steps: Sequence[Step]) -> _Run:
    """Return steps with free angles that are counted from 0."""
    angles: list[Angle] = []
    return _Run(tuple(_localised(step, (0, 1), angles) for step in steps))


@lru_cache(maxsize=4096)
def _cost_of_stretch(run: _Run, most_joined: int) -> Cost:
    if len(run.steps) == 1 and not _is_opened(run.steps[0]):
        return _cost_of_gate(run.steps[0])
    return _best(run.steps, most_joined)[1]


def _best(steps: Sequence[Step], most_joined: int) -> tuple[list[RotationGroup], Cost, np.ndarray]:
    """Return the cheapest groups of a product, their cost and the local matrix behind them."""
    found: tuple[list[RotationGroup], Cost, np.ndarray] | None = None
    for product in framed([element for step in steps for element in _elements(step)]):
        rotations, local = reduced(product)
        groups, cost = grouped(rotations, most_joined)
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


def _cost_of_gate(step: Step) -> Cost:
    if step.is_free:
        return cost_of_angles([None])
    return cost_of_angles(_angles_of(_matrix(step)))


def _angles_of(matrix: np.ndarray) -> list[float]:
    # Weyl's chamber ends at quarter turns: a sine that vanishes is that of angle 0.
    return [angle for angle in weyl(matrix)[1] if abs(np.sin(angle)) > 1e-10]


# -- writing it down ----------------------------------------------------------------------


class _Writing:
    """Crossings on their way: local matrices are gathered until a gate of theirs is needed."""

    def __init__(self) -> None:
        self._pending = [np.eye(2, dtype=complex), np.eye(2, dtype=complex)]
        self._locals: list[Step] = []
        self._found: list[Crossing] = []

    def add(self, group: RotationGroup) -> None:
        """Add a local rotation or a cut."""
        before, after = group.around
        self.multiply(before)
        if group.turns:
            self._cut(group)
        elif group.rotations[0].is_local:
            self._turn(group.rotations[0])
        self.multiply(after)

    def _cut(self, group: RotationGroup) -> None:
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
        turned = spin(frame_of([axis]))
        self._pending[side] = turned.conj().T @ self._pending[side]
        self._flush(side)
        offset = rotation.angle.offset
        for slot, scale in rotation.angle.terms:
            # The angle 0 only makes the gate: what counts are the step's params.
            self._locals.append(Step(RZGate(0.0), (side,), (Angle(slot, scale, offset),)))
            offset = 0.0
        self._pending[side] = turned

    def multiply(self, local: np.ndarray) -> None:
        """Add a local matrix."""
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

    def end(self) -> tuple[Crossing, ...]:
        """Return the crossings, the last of which has the local matrices behind it."""
        self._flush(0)
        self._flush(1)
        if not self._found:
            return (Crossing((), (0, 1), None, before=tuple(self._locals)),)
        return (*self._found[:-1], replace(self._found[-1], after=tuple(self._locals)))
