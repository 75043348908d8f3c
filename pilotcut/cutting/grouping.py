"""Grouping: the steps of a program with the cuts of its wires, in an order that joins some cuts.

Owns which cuts may be one, and where the cuts of a placement stand among the steps. Refuses to know
how a cut is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from qiskit_addon_cutting.instructions import CutWire

from pilotcut.circuits.program import Program, Step
from pilotcut.cutting.joint import parallel_groups
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.rotations import is_rotation

#: The fragments that a wire which is cut comes from and goes to.
WireEnds: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Item:
    """A step of the program, or a wire cut that the placement puts in front of one.

    Parameters
    ----------
    step
        The step, or a `CutWire`.
    label
        Label of the wire behind a cut of the placement, else None.
    """

    step: Step
    label: str | None = None


def items_of(program: Program, placement: Placement | None) -> list[Item]:
    """Return the program's steps, with the placement's wire cuts where they are due."""
    due = {} if placement is None else placement.label_behind()
    passed: Counter[int] = Counter()
    items: list[Item] = []

    def add_due(qubits: Iterable[int]) -> None:
        for qubit in qubits:
            label = due.get((qubit, passed[qubit]))
            if label is not None:
                items.append(Item(Step(CutWire(), (qubit,)), label))

    for step in program.steps:
        add_due(step.qubits)
        items.append(Item(step))
        passed.update(step.qubits)
    add_due(range(program.num_qubits))
    return items


def grouped(
    program: Program,
    items: Sequence[Item],
    placement: Placement | None,
    markers: Iterator[WireEnds],
    *,
    gates: bool,
    wires: bool,
) -> list[tuple[Item, ...]]:
    """Return the items in an order in which those that are cut together form one group.

    Parameters
    ----------
    program, items, placement
        See `items_of`.
    markers
        Without a placement, the ends of each `CutWire` in turn.
    gates, wires
        What is cut together: parallel gates between two labels, and wires between two fragments.
    """
    crossing: list[int] = []
    between: list[Hashable] = []
    for number, sides in enumerate(_sides(items, placement, markers)):
        is_gate = isinstance(sides, frozenset)
        cut = len(sides) > 1 and is_rotation(items[number].step) if is_gate else wires
        if cut and (gates or not is_gate):
            crossing.append(number)
            between.append(sides)
    whole = replace(program, steps=tuple(item.step for item in items))
    groups = parallel_groups(whole, crossing, between)
    return [tuple(items[number] for number in group) for group in groups]


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
            yield first, item.label
        elif item.step.name == "cut_wire" or (item.step.name == "move" and first != last):
            yield first, last
        else:
            yield frozenset(label[q] for q in qubits)
