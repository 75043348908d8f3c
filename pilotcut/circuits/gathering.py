"""Gates on the same two qubits brought next to each other, past gates that they commute with.

What stands together is cut as one (`pilotcut.cutting.blocks`): of RZZ(0, 1), RZZ(1, 2), RZZ(0, 1)
two gates are one cut between qubits 0 and 1. A gate has an *axis* on a qubit, X, Y or Z, if it
commutes with this Pauli there: CX has Z on its control and X on its target. Two gates commute if
they have the same axis on every qubit that they share: in the axes' eigenbasis both are diagonal
on these qubits, and on the others they act apart. Refuses to know cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from qiskit.circuit import Reset
from qiskit.quantum_info import Operator, Pauli
from qiskit_addon_cutting.instructions import CutWire, Move

from pilotcut.circuits import controlled_gates, instructions
from pilotcut.circuits.steps import Step

#: What no run goes on behind.
_ENDS = frozenset({Reset, CutWire, Move})

#: An axis for each qubit of a gate; None where it has none.
_Axes = tuple[str | None, ...]


def gathered(steps: Sequence[Step]) -> Sequence[Step]:
    """Return steps of the same effect, in an order with fewer runs of gates on two qubits.

    The order depends on the kinds of gates and their qubits alone, never on angles. It takes a time
    linear in the number of steps. Where nothing has moved, the given steps are returned themselves.
    """
    gathering = _Gathering()
    for step in steps:
        gathering.add(step)
    return gathering.in_order() if gathering.has_moved else steps


class _Group:
    """Steps that stand together: a run on two qubits, and what rides with it.

    Parameters
    ----------
    qubits
        What its first step acts on; others act on these, too.
    """

    def __init__(self, qubits: tuple[int, ...]) -> None:
        self.steps: list[Step] = []
        self.place = dict.fromkeys(qubits, 0)


class _Line:
    """A qubit: the last of its groups, and since which of them all steps have one axis."""

    def __init__(self) -> None:
        self.count = 0
        self.last: _Group | None = None
        self.axis: str | None = None
        self.since = 0  # equal to `count`, and no axis: not even the last group has one

    def enter(self, group: _Group, qubit: int) -> None:
        group.place[qubit] = self.count
        self.last = group
        self.count += 1

    def begin(self, group: _Group, qubit: int, axis: str | None) -> None:
        """Add a group with a first step."""
        self.enter(group, qubit)
        if axis is None:
            self.since = self.count
        elif axis != self.axis:
            self.since = self.count - 1
        self.axis = axis

    def extend(self, axis: str | None) -> None:
        """Add a step to the last group."""
        if axis is None or axis != self.axis:
            self.axis, self.since = None, self.count

    def lets_back(self, group: _Group, qubit: int, axis: str | None) -> bool:
        """Whether a step with an axis commutes with all that stands behind a group."""
        if group is self.last:
            return True
        return axis is not None and axis == self.axis and self.since <= group.place[qubit] + 1

    def lets_on(self, group: _Group, qubit: int) -> bool:
        """Whether a group commutes with all that stands behind it."""
        return group is self.last or self.since <= group.place[qubit]


class _Gathering:
    def __init__(self) -> None:
        self.has_moved = False
        self._groups: dict[_Group, None] = {}  # a set in order
        self._lines: dict[int, _Line] = {}
        self._of_pair: dict[tuple[int, ...], _Group] = {}

    def in_order(self) -> list[Step]:
        return [step for group in self._groups for step in group.steps]

    def add(self, step: Step) -> None:
        """Add a step behind all others, or to a group from which on it commutes with them."""
        for qubit in step.qubits:
            if qubit not in self._lines:
                self._lines[qubit] = _Line()
        lines = [self._lines[qubit] for qubit in step.qubits]
        axes = axes_of(step)
        if len(step.qubits) > 2 or _ends_runs(step):
            self._begin(step, lines, axes)
        elif len(step.qubits) == 1:
            # It rides: another gate of the run in front of it may come to stand behind it.
            self._join(lines[0].last, step, lines, axes)
        else:
            self._pair(step, lines, axes)

    def _pair(self, step: Step, lines: Sequence[_Line], axes: _Axes) -> None:
        pair = (min(step.qubits), max(step.qubits))
        group = self._of_pair.get(pair)
        if group is not None:
            places = list(zip(lines, step.qubits, axes, strict=True))
            if not all(line.lets_back(group, qubit, axis) for line, qubit, axis in places):
                on = all(line.lets_on(group, qubit) for line, qubit, _ in places)
                group = self._moved_on(group) if on else None
        self._of_pair[pair] = self._join(group, step, lines, axes)

    def _moved_on(self, group: _Group) -> _Group:
        """Move a group behind all others."""
        del self._groups[group]
        self._groups[group] = None
        for qubit in group.place:
            line = self._lines[qubit]
            if line.last is not group:
                line.enter(group, qubit)
        self.has_moved = True
        return group

    def _join(
        self, group: _Group | None, step: Step, lines: Sequence[_Line], axes: _Axes
    ) -> _Group:
        """Add a step to a group, a new one if there is none."""
        if group is None:
            return self._begin(step, lines, axes)
        group.steps.append(step)
        for line, axis in zip(lines, axes, strict=True):
            if line.last is group:
                line.extend(axis)
            else:  # its axis is that of all behind the group
                self.has_moved = True
        return group

    def _begin(self, step: Step, lines: Sequence[_Line], axes: _Axes) -> _Group:
        group = _Group(step.qubits)
        group.steps.append(step)
        self._groups[group] = None
        for line, qubit, axis in zip(lines, step.qubits, axes, strict=True):
            line.begin(group, qubit, axis)
        return group


def axes_of(step: Step) -> _Axes:
    """Return the axis of a step on each of its qubits; none for what is not a plain gate."""
    if step.is_classical:
        return (None,) * len(step.qubits)
    if len(step.qubits) < 3:
        return _axes_of_class(instructions.class_of(step.gate), len(step.qubits))
    target = controlled_gates.target_of(step.gate)
    own = _axes_of_class(instructions.class_of(target), target.num_qubits)
    return ("Z",) * (len(step.qubits) - len(own)) + own


def _ends_runs(step: Step) -> bool:
    return step.is_classical or instructions.class_of(step.gate) in _ENDS


@lru_cache(maxsize=256)
def _axes_of_class(kind: type, num_qubits: int) -> _Axes:
    """Return the axes of one of Qiskit's gates, at all angles alike."""
    standard = instructions.STANDARD.get(kind)
    if standard is None:
        return (None,) * num_qubits
    # What a gate commutes with at angles that have nothing to do with each other, it always does.
    angles = [0.7 + 0.41 * k for k in range(len(standard.params))]
    gate = Operator(standard.base_class(*angles))
    found: list[str | None] = []
    for qubit in range(num_qubits):
        paulis = {axis: Operator(Pauli(axis)) for axis in "XYZ"}
        found.append(next((a for a, p in paulis.items() if _commute(gate, p, qubit)), None))
    return tuple(found)


def _commute(gate: Operator, pauli: Operator, qubit: int) -> bool:
    before = gate.dot(pauli, [qubit]).data
    behind = gate.compose(pauli, [qubit]).data
    return bool(np.abs(before - behind).max() < 1e-9)
