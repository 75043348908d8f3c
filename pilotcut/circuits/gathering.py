"""Gates on the same two qubits brought next to each other, past gates that they commute with.

What stands together is cut as one (`pilotcut.cutting.blocks`): of RZZ(0, 1), RZZ(1, 2), RZZ(0, 1)
two gates are one cut between qubits 0 and 1. A gate has an *axis* on a qubit, X, Y or Z, if it
commutes with this Pauli there: CX has Z on its control and X on its target. Two gates commute if
they have the same axis on every qubit that they share: in the axes' eigenbasis both are diagonal
on these qubits, and on the others they act apart. Runs move as a whole, since what is torn out of
a run may be what made the run cheap: CX RZ CX. Refuses to know cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from qiskit.circuit import Instruction, QuantumCircuit, Reset
from qiskit.quantum_info import Operator, Pauli

from pilotcut.circuits import controlled_gates, instructions
from pilotcut.circuits.markers import CutWire, Move
from pilotcut.circuits.steps import Step

#: Steps with a free angle in one run: the search for its cheapest cuts takes the cube of them.
MOST_FREE_STEPS = 24

#: What no run goes on behind.
_ENDS = frozenset({Reset, CutWire, Move})

#: Steps of a run that are multiplied together to see its axes.
_MOST_MULTIPLIED = 8

#: An axis for each qubit of a gate; None where it has none.
_Axes = tuple[str | None, ...]


def gathered(steps: Sequence[Step]) -> Sequence[Step]:
    """Return steps of the same effect, in an order with fewer runs of gates on two qubits.

    The order depends on the kinds of gates, their qubits and on which angles are free, never on
    angles. It takes a time linear in the number of steps. Where nothing has moved, the given steps
    are returned themselves.
    """
    gathering = _Gathering()
    for some in _parts_of(steps):
        gathering.add(_Part.of(some))
    return gathering.in_order() if gathering.has_moved else steps


def _parts_of(steps: Sequence[Step]) -> list[list[Step]]:
    """Return runs of gates on two qubits as they stand, and all other steps by themselves.

    A run has the one-qubit steps between its gates, and neither those in front nor those behind.
    """
    parts: list[list[Step]] = []
    runs: dict[int, list[list[Step]]] = {}  # by qubit: the run, and what rides behind its last gate
    for step in steps:
        found = runs.get(step.qubits[0])
        if len(step.qubits) > 2 or _ends_runs(step):
            for qubit in step.qubits:
                runs.pop(qubit, None)
            parts.append([step])
        elif len(step.qubits) == 1:
            parts.append([step])
            if found is not None:
                found.append(parts[-1])
        elif found is not None and runs.get(step.qubits[1]) is found:
            run, *riding = found
            for one in riding:
                run += one
                one.clear()
            run.append(step)
            del found[1:]
        else:
            parts.append([step])
            runs[step.qubits[0]] = runs[step.qubits[1]] = [parts[-1]]
    return [part for part in parts if part]


@dataclass(frozen=True)
class _Part:
    """A run or another step: on which qubits, with which axes, and how many steps are free."""

    steps: Sequence[Step]
    qubits: tuple[int, ...]
    axes: _Axes
    free: int

    @classmethod
    def of(cls, steps: Sequence[Step]) -> _Part:
        axes = axes_of(steps[0]) if len(steps) == 1 else _axes_of_run(steps)
        return cls(steps, steps[0].qubits, axes, sum(step.is_free for step in steps))

    @property
    def moves(self) -> bool:
        """Whether it may join others."""
        return len(self.qubits) < 3 and not _ends_runs(self.steps[0])


class _Group:
    """Parts that stand together: runs on two qubits, and what rides with them.

    Parameters
    ----------
    first
        Its first part; others act on its qubits, too.
    """

    def __init__(self, first: _Part) -> None:
        self.steps: list[Step] = []
        self.place = dict.fromkeys(first.qubits, 0)
        self._free = 0
        self._last = first  # the last run, and the free steps on one qubit behind it
        self._turns: list[_Part] = []
        self.add(first)

    def add(self, part: _Part) -> None:
        self.steps += part.steps
        self._free += part.free
        if len(part.qubits) > 1:
            self._last = part
            self._turns = []
        elif part.free:
            self._turns.append(part)

    def gains_by(self, run: _Part) -> bool:
        """Whether a run behind it may be cut cheaper with it than alone."""
        if self._free + run.free > MOST_FREE_STEPS:
            return False
        if not self._turns or not (self._last.free or run.free):
            return True
        # RZZ RX RZZ with free angles stay two rotations, with or without what stands between.
        last = dict(zip(self._last.qubits, self._last.axes, strict=True))
        own = dict(zip(run.qubits, run.axes, strict=True))
        return all(
            last[qubit] == own[qubit] == axis is not None
            for turn in self._turns
            for qubit, axis in zip(turn.qubits, turn.axes, strict=True)
        )


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
        self._of_pair: dict[frozenset[int], _Group] = {}

    def in_order(self) -> list[Step]:
        return [step for group in self._groups for step in group.steps]

    def add(self, part: _Part) -> None:
        """Add a part behind all others, or to a group from which on it commutes with them."""
        for qubit in part.qubits:
            if qubit not in self._lines:
                self._lines[qubit] = _Line()
        lines = [self._lines[qubit] for qubit in part.qubits]
        if not part.moves:
            self._begin(part, lines)
        elif len(part.qubits) == 1:
            # It rides: another run on the qubits of the one in front may come to stand behind it.
            self._join(lines[0].last, part, lines)
        else:
            pair = frozenset(part.qubits)
            group = self._reached(self._of_pair.get(pair), part, lines)
            self._of_pair[pair] = self._join(group, part, lines)

    def _reached(self, group: _Group | None, run: _Part, lines: Sequence[_Line]) -> _Group | None:
        """Return a group that a run may be added to, if it gains by that; it may have to move."""
        if group is None or not group.gains_by(run):
            return None
        places = list(zip(lines, run.qubits, run.axes, strict=True))
        if all(line.lets_back(group, qubit, axis) for line, qubit, axis in places):
            return group
        if all(line.lets_on(group, qubit) for line, qubit, _ in places):
            return self._moved_on(group)
        return None

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

    def _join(self, group: _Group | None, part: _Part, lines: Sequence[_Line]) -> _Group:
        """Add a part to a group, a new one if there is none."""
        if group is None:
            return self._begin(part, lines)
        group.add(part)
        for line, axis in zip(lines, part.axes, strict=True):
            if line.last is group:
                line.extend(axis)
            else:  # its axis is that of all behind the group
                self.has_moved = True
        return group

    def _begin(self, part: _Part, lines: Sequence[_Line]) -> _Group:
        group = _Group(part)
        self._groups[group] = None
        for line, qubit, axis in zip(lines, part.qubits, part.axes, strict=True):
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


def _axes_of_run(steps: Sequence[Step]) -> _Axes:
    """Return the axis of a run on each qubit of its first gate.

    All its steps have it, or their product has: CX RZ CX is diagonal.
    """
    qubits = steps[0].qubits
    alike: dict[int, set[str | None]] = {qubit: set() for qubit in qubits}
    for step in steps:
        for qubit, axis in zip(step.qubits, axes_of(step), strict=True):
            alike[qubit].add(axis)
    axes = tuple(next(iter(its)) if len(its) == 1 else None for its in alike.values())
    if None not in axes or len(steps) > _MOST_MULTIPLIED:
        return axes
    return _axes_of_product(
        tuple(
            (instructions.class_of(step.gate), tuple(map(qubits.index, step.qubits)))
            for step in steps
        )
    )


@lru_cache(maxsize=1024)
def _axes_of_product(kinds: tuple[tuple[type, tuple[int, ...]], ...]) -> _Axes:
    """Return the axes of a product of gates on two qubits, given as classes and qubits."""
    circuit = QuantumCircuit(2)
    for kind, qubits in kinds:
        gate = _at_some_angles(kind, len(circuit.data))
        if gate is None:
            return (None, None)
        circuit.append(gate, qubits)
    return _axes_of_operator(Operator(circuit))


@lru_cache(maxsize=256)
def _axes_of_class(kind: type, num_qubits: int) -> _Axes:
    """Return the axes of one of Qiskit's gates, at all angles alike."""
    gate = _at_some_angles(kind)
    return (None,) * num_qubits if gate is None else _axes_of_operator(Operator(gate))


def _at_some_angles(kind: type, number: int = 0) -> Instruction | None:
    """Return one of Qiskit's gates at angles of its own for each number, None for any other."""
    # What a gate commutes with at angles that have nothing to do with each other, it always does.
    standard = instructions.STANDARD.get(kind)
    if standard is None:
        return None
    return standard.base_class(
        *(0.7 + 0.41 * k + 0.0917 * number for k in range(len(standard.params)))
    )


def _axes_of_operator(gate: Operator) -> _Axes:
    paulis = {axis: Operator(Pauli(axis)) for axis in "XYZ"}
    return tuple(
        next((axis for axis, pauli in paulis.items() if _commute(gate, pauli, qubit)), None)
        for qubit in range(gate.num_qubits)
    )


def _commute(gate: Operator, pauli: Operator, qubit: int) -> bool:
    before = gate.dot(pauli, [qubit]).data
    behind = gate.compose(pauli, [qubit]).data
    return bool(np.abs(before - behind).max() < 1e-9)
