"""Interaction graph: what can be cut in a program, at what price; the search partitions it.

Every two-qubit gate has two *ends*, and a qubit is the row of its ends in time. Gates join
two ends, wires join the neighbours in a row; a partition of the ends cuts what lies between
its parts. Consecutive gates on the same two qubits are one *block*: a wire cut between them
is never better than one beside them. One-qubit gates ride with the end in front of them.

A qubit that is measured in mid-circuit and one that this controls have ends too, which a block
without gates ties together: classical bits do not go between fragments.

A multi-controlled gate is a chain of blocks along its qubits, each at the price of cutting the gate
there: that is what engines see, and the right price where a gate falls into two parts of the
chain. What it costs in any other parts, `pilotcut.cutting.search.candidates` knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from math import inf

import numpy as np

from pilotcut.circuits.program import Program, Step, parts_of
from pilotcut.cutting.controlled import cheapest_form
from pilotcut.cutting.prices import UNCUTTABLE, Price, prices_of_run, turned, wire_price
from pilotcut.cutting.runs import runs_of
from pilotcut.errors import CutError
from pilotcut.options import AUTO, SEPARATE


@dataclass(frozen=True)
class Chain:
    """A multi-controlled gate among the blocks.

    Parameters
    ----------
    step
        The gate.
    ends
        Integer array (qubits,): the first end of each of its qubits, in the step's order.
    blocks
        Integer array (qubits - 1,): the blocks of its chain.
    within
        Integer array (qubits - 2, 2): a qubit's second end in the chain, and its first: a wire
        that ends between them ends behind the gate.
    size
        Number of its one- and two-qubit steps where it is opened.
    """

    step: Step
    ends: np.ndarray
    blocks: np.ndarray
    within: np.ndarray
    size: int


@dataclass(frozen=True)
class Interactions:
    """The ends of a program's two-qubit gates, numbered qubit by qubit.

    Parameters
    ----------
    num_qubits
        How many rows there are.
    qubit
        Integer array (ends,): the row of each end. A qubit without two-qubit gates has one
        end that belongs to no block.
    after
        Integer array (ends,): how many of the qubit's steps stand before its block.
    riding
        Integer array (ends,): one-qubit gates between this end and the next.
    fresh
        Boolean array (ends,): whether the qubit was reset since its end before. A wire ended there,
        and the next one may begin in any part: that cuts nothing.
    blocks
        Integer array (blocks, 2): the ends that each block joins.
    gates
        Integer array (blocks,): how many of the circuit's gates each block has; 0 for a tie, which
        cannot be cut.
    prices
        For each block, the prices of its cuts, its gates in their cheapest form.
    chains
        The multi-controlled gates.
    wire
        Price of cutting one wire, for engines: what parallel wires cost together, and wires that
        no order of fragments suits, `pilotcut.cutting.search.wire_groups` knows.
    cut_as
        How wires are cut, one of `pilotcut.options.WIRES`.
    start
        Integer array (ends,): a number for the first step of each end's block, in their order.
    moves
        For each `Move` between two qubits its block, and the ends that it leads from and to.
    """

    num_qubits: int
    qubit: np.ndarray
    after: np.ndarray
    riding: np.ndarray
    fresh: np.ndarray
    blocks: np.ndarray
    gates: np.ndarray
    prices: tuple[tuple[Price, ...], ...]
    chains: tuple[Chain, ...] = ()
    wire: Price = field(default_factory=wire_price)
    cut_as: str = SEPARATE
    start: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    moves: tuple[tuple[int, int, int], ...] = ()

    @property
    def num_ends(self) -> int:
        """Number of ends."""
        return len(self.qubit)

    @cached_property
    def wires(self) -> np.ndarray:
        """Integer array (wires,): ends that the same qubit's next end follows on its wire."""
        return np.flatnonzero((self.qubit[1:] == self.qubit[:-1]) & ~self.fresh[1:])

    @cached_property
    def first(self) -> np.ndarray:
        """Boolean array (ends,): whether an end is its qubit's first."""
        return np.concatenate([[True], self.qubit[1:] != self.qubit[:-1]])

    @cached_property
    def cuts(self) -> np.ndarray:
        """Integer array (blocks,): number of cuts that cutting each block takes."""
        return np.array([len(some) for some in self.prices], dtype=int)

    @cached_property
    def log_overheads(self) -> np.ndarray:
        """Array (blocks,): log gamma^2 of cutting each block."""
        return np.array(
            [
                sum(p.log_overhead for p in some) if gates else UNCUTTABLE
                for some, gates in zip(self.prices, self.gates.tolist(), strict=True)
            ]
        )

    def widths(self, labels: np.ndarray) -> np.ndarray:
        """Return how many qubits have an end of each label, (labels,), for labels (ends,).

        A fragment needs no more: of the wires of one qubit one is alive at a time.
        """
        pairs = np.unique(labels * self.num_qubits + self.qubit)
        return np.bincount(pairs // self.num_qubits, minlength=int(labels.max()) + 1)

    def sums(self, of: Callable[[Price], tuple[float, float]]) -> np.ndarray:
        """Return sums over the cuts of each block of what `of` says of its sides, (blocks, 2)."""
        rows = [np.array([of(price) for price in some]).reshape(-1, 2) for some in self.prices]
        return np.array([row.sum(axis=0) for row in rows]).reshape(-1, 2)


def interactions_of(program: Program, wires: str = AUTO) -> Interactions:
    """Return the ends and blocks of a program.

    Parameters
    ----------
    program
        What is to be cut.
    wires
        How wires will be cut, one of `pilotcut.options.WIRES`: that decides their price.

    Raises
    ------
    CutError
        If the program has cut markers of its own.
    """
    refuse_markers(program, "cut_wire")
    wire = wire_price(wires)
    entries, chained = _entries(program, wire)
    steps = [entry.step for entry in entries]
    blocks: list[list[int]] = []  # numbers of the entries of each block
    at: dict[int, int] = {}  # the block of an entry; below -1 for one on a qubit that is tied
    last: dict[int, int] = {}  # the same, of what a qubit was in last
    rows: list[list[int]] = [[] for _ in range(program.num_qubits)]  # the same along a qubit
    read = {value for step in steps for value in step.reads}
    for number, step in enumerate(steps):
        if step.name == "reset":  # what follows may lie elsewhere, so no block goes on behind it
            last.pop(step.qubits[0], None)
        if len(step.qubits) == 1 and not (step.reads or step.writes in read):
            continue
        new = len(blocks) if len(step.qubits) == 2 else -2 - number
        in_chain = entries[number].prices is not None
        behind = {last.get(qubit) for qubit in step.qubits}
        before = behind.pop() if len(behind) == 1 and not in_chain else None
        if before is not None and (before >= 0) == (new >= 0):
            at[number] = before
        else:
            at[number] = new
            for qubit in step.qubits:
                last[qubit] = new
                rows[qubit].append(new)
            if new >= 0:
                blocks.append([])
        if in_chain:  # no block goes on behind it
            for qubit in step.qubits:
                del last[qubit]
        if at[number] >= 0:
            blocks[at[number]].append(number)
    graph = _numbered(program.num_qubits, entries, blocks, rows, at, wire)
    chains = (
        _chain(step, np.array([at[n] for n in numbers]), graph.blocks) for step, numbers in chained
    )
    return replace(graph, chains=tuple(chains), cut_as=wires)


@dataclass(frozen=True)
class _Entry:
    """A one- or two-qubit step, or the part of a multi-controlled one between two of its qubits.

    Parameters
    ----------
    step
        What stands on the qubits.
    passes
        How many steps of the opened program each of its qubits passes.
    prices
        Of a part: those of cutting the gate here.
    """

    step: Step
    passes: dict[int, int]
    prices: tuple[Price, ...] | None = None


def _entries(program: Program, wire: Price) -> tuple[list[_Entry], list[tuple[Step, list[int]]]]:
    """Return what blocks are made of, and for each multi-controlled step which entries are its."""
    entries: list[_Entry] = []
    chained: list[tuple[Step, list[int]]] = []
    for step in program.steps:
        if len(step.qubits) < 3:
            entries.append(_Entry(step, dict.fromkeys(step.qubits, 1)))
            continue
        passes = Counter(q for part in parts_of(step) for q in part.qubits)
        row = sorted(step.qubits)
        chained.append((step, list(range(len(entries), len(entries) + len(row) - 1))))
        for k, pair in enumerate(pairwise(row), start=1):
            # Each qubit passes the whole gate at its first entry.
            own = {q: passes.pop(q, 0) for q in pair}
            prices = _prices_between(step, set(row[:k]), wire)
            entries.append(_Entry(Step(step.gate, pair, step.params), own, prices))
    return entries, chained


def _prices_between(step: Step, low: set[int], wire: Price) -> tuple[Price, ...]:
    """Return the prices of cutting a multi-controlled step between some qubits and the others."""
    first = step.qubits[0] in low
    sides = [int((q in low) != first) for q in step.qubits]  # numbered by first appearance
    form = cheapest_form(step, sides, (inf, inf))
    prices = [wire if cut.is_wire else cut.price for cut in form.cuts]
    return tuple(
        price if cut.sides[0] == int(not first) else turned(price)
        for cut, price in zip(form.cuts, prices, strict=True)
    )


def _chain(step: Step, blocks: np.ndarray, ends: np.ndarray) -> Chain:
    pairs = ends[blocks]
    firsts = np.concatenate([pairs[:1, 0], pairs[:, 1]])  # by ascending qubit
    order = np.argsort(np.argsort(step.qubits))
    within = np.stack([pairs[1:, 0], pairs[:-1, 1]], axis=1)
    return Chain(step, firsts[order], blocks, within, len(parts_of(step)))


def refuse_markers(program: Program, *markers: str) -> None:
    """Raise `CutError` if the program says itself, by such markers, where wires are cut."""
    if any(step.name in markers for step in program.steps):
        raise CutError(
            "the circuit carries cut markers of its own, so cuts and max_width have nothing to "
            "choose; leave both out, or remove the markers"
        )


def _numbered(
    num_qubits: int,
    entries: list[_Entry],
    blocks: list[list[int]],
    rows: list[list[int]],
    at: dict[int, int],
    wire: Price,
) -> Interactions:
    ends: dict[tuple[int, int], int] = {}  # (qubit, block) -> end; -1 for a qubit without blocks
    for qubit, row in enumerate(rows):
        for block in row or [-1]:
            ends[qubit, block] = len(ends)
    after, riding, start = (np.zeros(len(ends), dtype=int) for _ in range(3))
    fresh = np.zeros(len(ends), dtype=bool)
    reset: dict[int, tuple[int, int]] = {}  # steps up to a qubit's last reset, gates behind it
    passed: Counter[int] = Counter()
    current = {q: ends[q, (row or [-1])[0]] for q, row in enumerate(rows)}
    begun: set[int] = set()
    for number, entry in enumerate(entries):
        step = entry.step
        for qubit in step.qubits:
            if number in at:
                current[qubit] = ends[qubit, at[number]]
                if current[qubit] not in begun:
                    begun.add(current[qubit])
                    fresh[current[qubit]] = qubit in reset and at[number] != rows[qubit][0]
                    after[current[qubit]], behind = reset.pop(qubit, (passed[qubit], 0))
                    riding[current[qubit]] += behind
                    start[current[qubit]] = number
            # A reset is no gate of a fragment: a wire ends there, and another begins.
            if step.name == "reset":
                riding[current[qubit]] += reset.pop(qubit, (0, 0))[1]
                reset[qubit] = (passed[qubit] + 1, 0)
            elif len(step.qubits) == 1 and number not in at and qubit in reset:
                reset[qubit] = (reset[qubit][0], reset[qubit][1] + 1)
            else:
                riding[current[qubit]] += len(step.qubits) == 1
        passed.update(entry.passes)
    for qubit, (_, left) in reset.items():
        riding[current[qubit]] += left
    sides = [entries[numbers[0]].step.qubits for numbers in blocks]
    joined = [[ends[q, k] for q in pair] for k, pair in enumerate(sides)]
    ties = _ties([entry.step for entry in entries], ends, at)
    return Interactions(
        num_qubits=num_qubits,
        qubit=np.array([q for q, _ in ends], dtype=int),
        after=after,
        riding=riding,
        fresh=fresh,
        blocks=np.array(joined + ties, dtype=int).reshape(-1, 2),
        gates=np.array([len(numbers) for numbers in blocks] + [0 for _ in ties], dtype=int),
        prices=(*_prices(entries, at, sides, wire), *(() for _ in ties)),
        wire=wire,
        start=start,
        moves=_moves(entries, ends, at),
    )


def _moves(
    entries: list[_Entry], ends: dict[tuple[int, int], int], at: dict[int, int]
) -> tuple[tuple[int, int, int], ...]:
    """Return the block of each move, and its ends at the source and the destination."""
    pairs = ((k, e.step.qubits) for k, e in enumerate(entries) if e.step.name == "move")
    return tuple((at[k], ends[a, at[k]], ends[b, at[k]]) for k, (a, b) in pairs)


def _ties(
    steps: list[Step], ends: dict[tuple[int, int], int], at: dict[int, int]
) -> list[list[int]]:
    """Return the ends of what is measured and what it controls, a pair each."""
    writer = {step.writes: number for number, step in enumerate(steps)}
    pairs = {
        (
            ends[steps[writer[value]].qubits[0], at[writer[value]]],
            ends[step.qubits[0], at[number]],
        )
        for number, step in enumerate(steps)
        for value in step.reads
    }
    return [[a, b] for a, b in sorted(pairs) if a != b]


def _prices(
    entries: Sequence[_Entry],
    block_of: dict[int, int],
    sides: Sequence[tuple[int, ...]],
    wire: Price,
) -> tuple[tuple[Price, ...], ...]:
    """Return the prices of the cuts of each block; a reset in its midst parts it."""
    found: list[list[Price]] = [[] for _ in sides]
    steps = [entry.step for entry in entries]
    for run in runs_of(steps, lambda number: entries[number].prices is None):
        block, first = block_of[run[0]], steps[run[0]]
        if first.name == "move":  # a run of its own
            found[block].append(wire if first.qubits == sides[block] else turned(wire))
            continue
        found[block] += prices_of_run([steps[number] for number in run], sides[block])
    for number, entry in enumerate(entries):
        if entry.prices is not None:
            found[block_of[number]] += entry.prices
    return tuple(map(tuple, found))
