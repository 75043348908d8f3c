"""Layout of a plan's drawing: columns of gates, and stretches of qubits by fragment.

Pure functions of the plan. `segments` says in which column every gate stands and to which fragment
each stretch of each qubit belongs; `shown_columns` and `slots_of` choose what of a deep circuit is
drawn and fold it into bands. Nothing here knows of matplotlib.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, sqrt

from pilotcut.cutting.fragment import LayoutItem
from pilotcut.cutting.plan import CutPlan

# How much of a deep circuit is drawn: gates, columns x qubits, and columns.
_MOST_GATES, _MOST_CELLS, _MOST_COLUMNS = 3000, 12000, 480
_BAND = (24, 60)  # columns in one band of a folded circuit; more where there are many qubits


@dataclass(frozen=True)
class Segment:
    """Stretch of a qubit's line within one fragment, from column to column."""

    start: float
    end: float
    fragment: int


@dataclass(frozen=True)
class Segments:
    """Plan laid out in columns.

    Parameters
    ----------
    steps
        The plan's layout: every gate with the fragment at each of its qubits.
    columns
        The column of each of them; none lies over another.
    lines
        For each qubit, its segments from left to right; they meet where the qubit changes
        fragments, in the middle of the column of a wire cut.
    width
        Number of columns.
    """

    steps: tuple[LayoutItem, ...]
    columns: tuple[int, ...]
    lines: tuple[tuple[Segment, ...], ...]
    width: int


def segments(plan: CutPlan) -> Segments:
    """Return where the plan's gates and cuts stand, and to which fragment each line belongs.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut.cutting.plan import compile_plan
    >>> circuit = QuantumCircuit(2); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> segments(compile_plan(circuit, labels="AB")).columns
    (0, 1)
    """
    columns = _columns(plan.layout, plan.num_qubits)
    width = max(columns, default=-1) + 1
    last = {fragment.label: fragment.index for fragment in plan.fragments}
    lines = tuple(
        _line(list(_visits(plan.layout, columns, qubit)), last[plan.labels[qubit]], width)
        for qubit in range(plan.num_qubits)
    )
    return Segments(plan.layout, columns, lines, width)


def _columns(layout: Sequence[LayoutItem], num_qubits: int) -> tuple[int, ...]:
    """Return the first column of each step in which its qubits, and all between, are free."""
    free = [0] * num_qubits
    columns = []
    for step in layout:
        rows = range(min(step.qubits), max(step.qubits) + 1)
        column = max(free[q] for q in rows)
        free[rows.start : rows.stop] = [column + 1] * len(rows)
        columns.append(column)
    return tuple(columns)


def _visits(
    layout: Sequence[LayoutItem], columns: Sequence[int], qubit: int
) -> Iterator[tuple[float, int]]:
    """Yield (column, fragment) wherever a step says to which fragment a qubit belongs."""
    for step, column in zip(layout, columns, strict=True):
        for position, (other, fragment) in enumerate(zip(step.qubits, step.fragments, strict=True)):
            if other == qubit:  # a wire cut tells twice: before it and behind it
                yield column + (0.5 if _is_wire_cut(step) and position else 0.0), fragment


def _line(visits: Sequence[tuple[float, int]], last: int, width: int) -> tuple[Segment, ...]:
    found: list[Segment] = []
    start, fragment = 0.0, visits[0][1] if visits else last
    for column, here in visits:
        if here != fragment:
            found.append(Segment(start, column, fragment))
            start, fragment = column, here
    return (*found, Segment(start, float(width), fragment))


def _is_wire_cut(step: LayoutItem) -> bool:
    return step.bond is not None and step.name in ("cut_wire", "move")


@dataclass(frozen=True)
class Slot:
    """Place for one column in a band, or for a gap where columns are left out."""

    band: int
    x: int
    column: int | None
    left_out: int = 0


def shown_columns(laid: Segments, num_qubits: int) -> list[int]:
    """Return the columns to draw: of deep circuits those with cuts, then from the left."""
    steps = zip(laid.steps, laid.columns, strict=True)
    cut = {column for step, column in steps if step.bond is not None}
    order = sorted(range(laid.width), key=lambda column: (column not in cut, column))
    gates = Counter(laid.columns)
    drawn = accumulate(gates[column] for column in order)
    most = min(max(_MOST_CELLS // num_qubits, _widest_band(num_qubits)), _MOST_COLUMNS)
    return sorted(
        column for column, count in zip(order[:most], drawn, strict=False) if count <= _MOST_GATES
    )


def _widest_band(num_qubits: int) -> int:
    return max(_BAND[1], int(1.6 * num_qubits))


def slots_of(shown: Sequence[int], width: int, num_qubits: int) -> list[Slot]:
    """Return the columns in bands that make a page about one and a half times as wide as high."""
    places: list[tuple[int | None, int]] = []
    following = 0
    for column in (*shown, width):
        if column > following:
            places.append((None, column - following))
        places.append((column, 0))
        following = column + 1
    places.pop()  # the end is no column
    wanted = ceil(sqrt(1.6 * len(places) * (num_qubits + 2)))
    bands = ceil(len(places) / min(max(wanted, _BAND[0]), _widest_band(num_qubits))) or 1
    size = max(ceil(len(places) / bands), 1)
    return [Slot(k // size, k % size, *place) for k, place in enumerate(places)]
