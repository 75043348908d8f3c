"""Opening of multi-controlled steps, once the labels of their qubits are known.

What comes of it is a program of one- and two-qubit steps with ancillas as further qubits, and
the same placement over it. A gate within one label is opened as its definition says; one between
labels takes its cheapest form (`pilotcut.cutting.controlled`). Where the placement has a width to
keep, labels that become too wide are given fewer ancillas.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np

from pilotcut.circuits.program import Program, Shown, Step, free_angle, parts_of
from pilotcut.cutting.controlled import cheapest_form
from pilotcut.cutting.controlled_draft import Form
from pilotcut.cutting.liveness import lifetimes
from pilotcut.cutting.placement import Placement, WireCut


def opened(program: Program, placement: Placement | None) -> tuple[Program, Placement | None]:
    """Return a program without multi-controlled steps, and its placement.

    Qubits from `program.num_qubits` on are ancillas, each within one label.
    """
    if all(len(step.qubits) < 3 for step in program.steps):
        return program, placement
    if placement is None:  # markers cut wires, and no gate
        return program.opened, None
    room: dict[str, float] = defaultdict(lambda: inf)
    while True:
        walk = _Walk(program, placement, room)
        most = inf if placement.max_width is None else placement.max_width
        wide = {
            label for label, width in walk.widths().items() if width > most and walk.used[label]
        }
        if not wide:
            return walk.result()
        for label in wide:
            room[label] = walk.used[label] - 1


class _Walk:
    """One walk over a program: labels of its qubits meanwhile, and what was opened.

    Parameters
    ----------
    program, placement
        The circuit, and where it is cut.
    room
        How many further wires a gate may have on each label.
    """

    def __init__(self, program: Program, placement: Placement, room: Mapping[str, float]) -> None:
        self._program, self._placement, self._room = program, placement, room
        self._label = list(placement.labels)
        self._due = placement.label_behind()
        self._passed: Counter[int] = Counter()  # steps of each qubit in the opened program
        self._placed: Counter[int] = Counter()  # in the new one
        self._steps: list[Step] = []
        self._cuts: list[WireCut] = []
        self._labels = list(placement.labels)  # of first wires, ancillas' behind the qubits'
        self._ancillas: defaultdict[str, list[int]] = defaultdict(list)  # those to use again
        #: The most further wires that a gate has on each label.
        self.used: Counter[str] = Counter()
        for number, step in enumerate(program.steps):
            self._take(step, number)
        self._cut_what_is_due(range(program.num_qubits))

    def result(self) -> tuple[Program, Placement]:
        """Return the new program and placement."""
        labels = tuple(self._labels)
        program = replace(self._program, num_qubits=len(labels), steps=tuple(self._steps))
        return program, replace(self._placement, labels=labels, wire_cuts=tuple(self._cuts))

    def widths(self) -> dict[str, int]:
        """Return how many wires of each label are alive at the same time, if all are observed."""
        if self._placement.max_width is None:
            return {}
        return _widths(*self.result(), self._program.num_qubits)

    def _take(self, step: Step, number: int) -> None:
        """Add a step of that number, or what it is opened into."""
        parts = parts_of(step, number)
        if len(parts) == 1:
            self._add(step)
            return
        self._cut_what_is_due(step.qubits)
        labels = [self._label[q] for q in step.qubits]
        names = list(dict.fromkeys(labels))
        if len(names) == 1 or self._cut_within(step, parts):
            for part in parts:
                self._add(part if len(names) == 1 else _showing_itself(part, number))
            return
        sides = [names.index(label) for label in labels]
        form = cheapest_form(step, sides, [self._room[name] for name in names])
        for side, name in enumerate(names):
            self.used[name] = max(self.used[name], form.further_wires(side))
        self._put(step, number, form, sides, names)
        self._passed.update(q for part in parts for q in part.qubits)

    def _add(self, step: Step) -> None:
        """Add a step of the opened program."""
        self._cut_what_is_due(step.qubits)
        self._append(step)
        self._passed.update(step.qubits)

    def _append(self, step: Step) -> None:
        self._steps.append(step)
        self._placed.update(step.qubits)

    def _cut_what_is_due(self, qubits: Iterable[int]) -> None:
        for qubit in qubits:
            label = self._due.pop((qubit, self._passed[qubit]), None)
            if label is not None:
                self._label[qubit] = label
                self._cuts.append(WireCut(qubit, self._placed[qubit], label))

    def _cut_within(self, step: Step, parts: Sequence[Step]) -> bool:
        """Whether a wire of a step is cut between two of its parts: it is opened then."""
        count = Counter(q for part in parts for q in part.qubits)
        return any(
            (q, self._passed[q] + k) in self._due for q in step.qubits for k in range(1, count[q])
        )

    def _put(
        self, step: Step, number: int, form: Form, sides: Sequence[int], labels: Sequence[str]
    ) -> None:
        """Add the steps of a form of a step between labels."""
        qubits = list(step.qubits)
        used: Counter[str] = Counter()
        for wire, side in enumerate(form.sides):
            label = labels[side]
            if wire in form.visited:
                qubits.append(self._new_qubit(label))
                continue
            # An ancilla is in |0> behind a gate, so the next one takes it as it is.
            if used[label] == len(self._ancillas[label]):
                self._ancillas[label].append(self._new_qubit(label))
            qubits.append(self._ancillas[label][used[label]])
            used[label] += 1
        free = free_angle(step)
        parts = [part.placed(qubits, free) for part in form.steps]
        if form.is_definition:
            for part in parts:
                self._append(_showing_itself(part, number))
            return
        for part, shown in zip(parts, _shown(form, step, sides), strict=True):
            wires = tuple(qubits[wire] for wire in shown.wires)
            self._append(replace(part, shown=replace(shown, wires=wires, step=number)))

    def _new_qubit(self, label: str) -> int:
        self._labels.append(label)
        return len(self._labels) - 1


def _widths(program: Program, placement: Placement, observed: int) -> dict[str, int]:
    """Return the most wires of each label that are alive at the same time.

    Parameters
    ----------
    program, placement
        Of one- and two-qubit steps.
    observed
        How many qubits, the first ones, live to the end.
    """
    due = placement.label_behind()
    label_of: list[str] = []
    wire: list[int] = []
    passed: Counter[int] = Counter()

    def begin(qubit: int, label: str) -> None:
        wire[qubit] = len(label_of)
        label_of.append(label)

    def reach(qubits: Iterable[int]) -> None:
        for qubit in qubits:
            if (label := due.get((qubit, passed[qubit]))) is not None:
                ends.append((wire[qubit],))
                begin(qubit, label)

    for qubit, label in enumerate(placement.labels):
        wire.append(-1)
        begin(qubit, label)
    ends: list[tuple[int, ...]] = []  # the wires that each step is on
    for step in program.steps:
        reach(step.qubits)
        ends.append(tuple(wire[q] for q in step.qubits))
        if step.name == "reset":
            begin(step.qubits[0], label_of[wire[step.qubits[0]]])
        elif step.name == "move":
            source, destination = step.qubits
            begin(destination, label_of[wire[destination]])
            ends.append((wire[destination],))
            begin(source, label_of[wire[source]])
        passed.update(step.qubits)
    reach(range(len(wire)))
    last = np.zeros(len(label_of), dtype=bool)
    last[wire[:observed]] = True
    found = {}
    for label in dict.fromkeys(label_of):
        own = np.flatnonzero(np.array(label_of) == label)
        place = {int(w): k for k, w in enumerate(own)}
        on = [[place[w] for w in wires if w in place] for wires in ends]
        found[label] = lifetimes(on, last[own]).peak
    return found


def _showing_itself(part: Step, number: int) -> Step:
    return replace(part, shown=Shown(part.name, part.qubits, step=number))


def _shown(form: Form, step: Step, sides: Sequence[int]) -> list[Shown]:
    """Return what each step of a form shows of the gate; wires are the form's own."""
    side = [*sides, *form.sides]
    kinds = [
        "move" if part.name == "move" else "cut" if len({side[w] for w in part.qubits}) > 1 else ""
        for part in form.steps
    ]
    # Where wires alone are cut, the gate stands whole on the side that its qubits visit.
    inside = [] if "cut" in kinds else [k for k, kind in enumerate(kinds) if not kind]
    last = inside[-1] if inside else None  # a gate of a whole turn takes no step at all
    on = list(range(len(sides)))  # the wire that each qubit of the gate is on meanwhile
    result: list[Shown] = []
    for k, (part, kind) in enumerate(zip(form.steps, kinds, strict=True)):
        if kind == "move":
            source, destination = part.qubits
            place = on.index(source)
            on[place] = destination
            result.append(Shown("cut_wire", (step.qubits[place],) * 2))
            continue
        touched = {side[w] for w in part.qubits} if kind == "cut" else set(side)
        near = [place for place, wire in enumerate(on) if side[wire] in touched]
        qubits, wires = (tuple(of[place] for place in near) for of in (step.qubits, on))
        result.append(Shown(step.name, qubits, wires) if kind or k == last else Shown())
    return result
