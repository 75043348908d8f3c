"""Grouping: the steps of a program with the cuts of its wires, in an order that joins some cuts.

Owns which cuts may be one, and where the cuts of a placement stand among the steps. Refuses to know
how a cut is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import TypeAlias

from pilotcut.circuits.markers import CutWire
from pilotcut.circuits.program import AngleSum, Program, Step
from pilotcut.cutting.blocks import MOST_JOINED, crossings_of
from pilotcut.cutting.crossing import Crossing
from pilotcut.cutting.joint import joint_gamma, parallel_groups
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.runs import runs_of

#: The fragments that a wire which is cut comes from and goes to.
WireEnds: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Item:
    """A step of the program, what cuts a run of them, or a wire cut of the placement.

    Parameters
    ----------
    step
        The step, the crossing, or a `CutWire`.
    label
        Label of the wire behind a cut of the placement, else None.
    """

    step: Step | Crossing
    label: str | None = None


def items_of(program: Program, placement: Placement | None) -> list[Item]:
    """Return the program's steps, with the placement's wire cuts where they are due.

    A wire cut beside a reset cuts nothing, as a wire ends there anyhow: the reset has its label.
    """
    due = {} if placement is None else placement.label_behind()
    passed: Counter[int] = Counter()
    items: list[Item] = []
    reset: dict[int, int] = {}  # the item of a qubit's reset, where it was the last on it

    def add_due(qubits: Iterable[int]) -> None:
        for qubit in qubits:
            label = due.get((qubit, passed[qubit]))
            if label is None:
                continue
            if qubit in reset:
                items[reset[qubit]] = replace(items[reset[qubit]], label=label)
            else:
                items.append(Item(Step(CutWire(), (qubit,)), label))

    for step in program.steps:
        if step.name == "reset":
            (qubit,) = step.qubits
            reset.setdefault(qubit, len(items))  # of several the first has the label
            items.append(Item(step))
        add_due(step.qubits)
        if step.name != "reset":
            items.append(Item(step))
            for qubit in step.qubits:
                reset.pop(qubit, None)
        passed.update(step.qubits)
    add_due(range(program.num_qubits))
    return items


def grouped(
    items: Sequence[Item],
    placement: Placement | None,
    markers: Sequence[WireEnds],
    *,
    gates: bool,
    wires: bool,
) -> list[tuple[Item, ...]]:
    """Return the items in an order in which those that are cut together form one group.

    Gates between two labels are crossings then.

    Parameters
    ----------
    items, placement
        See `items_of`.
    markers
        Without a placement, the ends of each `CutWire` in turn.
    gates, wires
        What is cut together: parallel gates between two labels, and wires between two fragments.
    """
    # What is joined to a gate of two or three axes is no rotation that may be cut jointly.
    ways = [
        _together(_crossed(items, placement, most), placement, markers, gates=gates, wires=wires)
        for most in ((MOST_JOINED, 1) if gates else (MOST_JOINED,))
    ]
    return min(ways, key=lambda way: round(sum(map(_log_gamma, way)), 9))


def _crossed(items: Sequence[Item], placement: Placement | None, most_joined: int) -> list[Item]:
    """Return the items with crossings in place of the runs of gates between two labels."""
    if placement is None:  # without labels only markers cut, and these cut wires
        return list(items)
    steps = [item.step for item in items if isinstance(item.step, Step)]
    sides = list(_sides(items, placement, iter(())))
    # What stands under classical control cannot be cut, and whoever places it says so.
    gates = [
        isinstance(some, frozenset) and len(some) > 1 and not step.is_classical
        for some, step in zip(sides, steps, strict=True)
    ]
    runs = {run[0]: run for run in runs_of(steps, gates.__getitem__)}
    inside = {number for run in runs.values() for number in run[1:]}
    found: list[Item] = []
    for number, item in enumerate(items):
        if number in runs:
            crossings = crossings_of([steps[k] for k in runs[number]], most_joined)
            found += map(Item, crossings)
        # Nothing else stands on these qubits between a run's first step and its last.
        elif number not in inside:
            found.append(item)
    return found


def _together(
    items: Sequence[Item],
    placement: Placement | None,
    markers: Sequence[WireEnds],
    *,
    gates: bool,
    wires: bool,
) -> list[tuple[Item, ...]]:
    if not gates and not wires:
        return [(item,) for item in items]
    crossing: list[int] = []
    between: list[Hashable] = []
    for number, sides in enumerate(_sides(items, placement, iter(markers))):
        step = items[number].step
        if isinstance(sides, frozenset):
            cut = gates and isinstance(step, Crossing) and step.is_rotation
        else:
            cut = wires and len(sides) > 1
        if cut:
            crossing.append(number)
            between.append(sides)
    groups = parallel_groups([_touched(item.step) for item in items], crossing, between)
    return [tuple(items[number] for number in group) for group in groups]


def _touched(step: Step | Crossing) -> tuple[int, ...]:
    """Return what keeps a step in its place: its qubits, and values, which have numbers below 0."""
    if isinstance(step, Crossing):
        return step.qubits
    values = (*step.reads, *(() if step.writes is None else (step.writes,)))
    return (*step.qubits, *(-1 - value for value in dict.fromkeys(values)))


def _log_gamma(together: Sequence[Item]) -> float:
    """Return log gamma of the gates that are cut together."""
    crossings = [one.step for one in together if isinstance(one.step, Crossing)]
    if len(crossings) > 1:
        angles = [one.as_rzz().rzz for one in crossings]
        return log(joint_gamma([None if isinstance(x, AngleSum) else x for x in angles]))
    return sum(log(one.basis.overhead) / 2 for one in crossings if one.basis)


def _sides(
    items: Sequence[Item], placement: Placement | None, markers: Iterator[WireEnds]
) -> Iterator[WireEnds | frozenset[str]]:
    """Yield for each item the ends of the wire that it cuts, or the labels of a gate."""
    label = [] if placement is None else list(placement.labels)
    for item in items:
        qubits = item.step.qubits
        if placement is None:
            yield next(markers) if item.step.name == "cut_wire" else frozenset()
            continue
        first, last = label[qubits[0]], label[qubits[-1]]
        if item.label is not None:
            label[qubits[0]] = item.label
            yield frozenset([item.label]) if item.step.name == "reset" else (first, item.label)
        elif item.step.name == "cut_wire" or (item.step.name == "move" and first != last):
            yield first, last
        else:
            yield frozenset(label[q] for q in qubits)
