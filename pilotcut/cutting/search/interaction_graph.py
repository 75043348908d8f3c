"""Interaction graph: what can be cut in a program, at what price; the search partitions it.

Every two-qubit gate has two *ends*, and a qubit is the row of its ends in time. Gates join
two ends, wires join the neighbours in a row; a partition of the ends cuts what lies between
its parts. Consecutive gates on the same two qubits are one *block*: a wire cut between them
is never better than one beside them. One-qubit gates ride with the end in front of them.

A qubit that is measured in mid-circuit and one that this controls have ends too, which a block
without gates ties together: classical bits do not go between fragments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import log, prod

import numpy as np
from qiskit_addon_cutting.instructions import Move

from pilotcut.circuits.program import Angle, Program, Step
from pilotcut.cutting.basis import CutBasis, basis_of_gate, basis_of_rzz
from pilotcut.cutting.blocks import crossings_of, interaction_angles, is_cheaper
from pilotcut.cutting.crossing import Crossing
from pilotcut.cutting.rotations import RZZ_FORMS
from pilotcut.cutting.runs import runs_of
from pilotcut.cutting.turn_algebra import log_overhead_of
from pilotcut.errors import CutError

#: log gamma^2 of a gate that cannot be cut: more than all others together.
UNCUTTABLE = 1e4


@dataclass(frozen=True)
class Price:
    """Price of one cut.

    Parameters
    ----------
    log_overhead
        log gamma^2, at the worst angle where the gate's is free.
    operations
        Number of distinct local operations on either side.
    rank
        Number of branches.
    locals
        Number of local gates that stay behind on either side, less those that ride in its midst;
        an estimate where several bound gates are one cut.
    """

    log_overhead: float
    operations: tuple[int, int]
    rank: int
    locals: tuple[int, int] = (0, 0)


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
    blocks
        Integer array (blocks, 2): the ends that each block joins.
    gates
        Integer array (blocks,): how many of the circuit's gates each block has; 0 for a tie, which
        cannot be cut.
    prices
        For each block, the prices of its cuts, its gates in their cheapest form.
    """

    num_qubits: int
    qubit: np.ndarray
    after: np.ndarray
    riding: np.ndarray
    blocks: np.ndarray
    gates: np.ndarray
    prices: tuple[tuple[Price, ...], ...]

    @property
    def num_ends(self) -> int:
        """Number of ends."""
        return len(self.qubit)

    @cached_property
    def wires(self) -> np.ndarray:
        """Integer array (wires,): ends that the same qubit's next end follows."""
        return np.flatnonzero(self.qubit[1:] == self.qubit[:-1])

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


def interactions_of(program: Program) -> Interactions:
    """Return the ends and blocks of a program.

    Raises
    ------
    CutError
        If the program has cut markers of its own.
    """
    refuse_markers(program, "cut_wire", "move")
    program = program.opened
    blocks: list[list[int]] = []  # numbers of the steps of each block
    at: dict[int, int] = {}  # the block of a step; below -1 for one on a qubit that is tied
    last: dict[int, int] = {}  # the same, of what a qubit was in last
    rows: list[list[int]] = [[] for _ in range(program.num_qubits)]  # the same along a qubit
    read = {value for step in program.steps for value in step.reads}
    for number, step in enumerate(program.steps):
        if len(step.qubits) == 1 and not (step.reads or step.writes in read):
            continue
        new = len(blocks) if len(step.qubits) == 2 else -2 - number
        behind = {last.get(qubit) for qubit in step.qubits}
        before = behind.pop() if len(behind) == 1 else None
        if before is not None and (before >= 0) == (new >= 0):
            at[number] = before
        else:
            at[number] = new
            for qubit in step.qubits:
                last[qubit] = new
                rows[qubit].append(new)
            if new >= 0:
                blocks.append([])
        if at[number] >= 0:
            blocks[at[number]].append(number)
    return _numbered(program, blocks, rows, at)


def refuse_markers(program: Program, *markers: str) -> None:
    """Raise `CutError` if the program says itself, by such markers, where wires are cut."""
    if any(step.name in markers for step in program.steps):
        raise CutError(
            "the circuit carries cut markers of its own, so cuts and max_width have nothing to "
            "choose; leave both out, or remove the markers"
        )


def _numbered(
    program: Program, blocks: list[list[int]], rows: list[list[int]], at: dict[int, int]
) -> Interactions:
    ends: dict[tuple[int, int], int] = {}  # (qubit, block) -> end; -1 for a qubit without blocks
    for qubit, row in enumerate(rows):
        for block in row or [-1]:
            ends[qubit, block] = len(ends)
    after, riding = (np.zeros(len(ends), dtype=int) for _ in range(2))
    passed: Counter[int] = Counter()
    current = {q: ends[q, (row or [-1])[0]] for q, row in enumerate(rows)}
    begun: set[int] = set()
    for number, step in enumerate(program.steps):
        for qubit in step.qubits:
            if number in at:
                current[qubit] = ends[qubit, at[number]]
                if current[qubit] not in begun:
                    begun.add(current[qubit])
                    after[current[qubit]] = passed[qubit]
            # A reset is no gate of a fragment: a wire ends there, and another begins.
            riding[current[qubit]] += len(step.qubits) == 1 and step.name != "reset"
        passed.update(step.qubits)
    sides = [program.steps[numbers[0]].qubits for numbers in blocks]
    joined = [[ends[q, k] for q in pair] for k, pair in enumerate(sides)]
    ties = _ties(program, ends, at)
    return Interactions(
        num_qubits=program.num_qubits,
        qubit=np.array([q for q, _ in ends], dtype=int),
        after=after,
        riding=riding,
        blocks=np.array(joined + ties, dtype=int).reshape(-1, 2),
        gates=np.array([len(numbers) for numbers in blocks] + [0 for _ in ties], dtype=int),
        prices=(*_prices(program, at, sides), *(() for _ in ties)),
    )


def _ties(
    program: Program, ends: dict[tuple[int, int], int], at: dict[int, int]
) -> list[list[int]]:
    """Return the ends of what is measured and what it controls, a pair each."""
    writer = {step.writes: number for number, step in enumerate(program.steps)}
    pairs = {
        (
            ends[program.steps[writer[value]].qubits[0], at[writer[value]]],
            ends[step.qubits[0], at[number]],
        )
        for number, step in enumerate(program.steps)
        for value in step.reads
    }
    return [[a, b] for a, b in sorted(pairs) if a != b]


# -- prices ----------------------------------------------------------------------------


def _prices(
    program: Program, block_of: dict[int, int], sides: Sequence[tuple[int, ...]]
) -> tuple[tuple[Price, ...], ...]:
    """Return the prices of the cuts of each block; a reset in its midst parts it."""
    found: list[list[Price]] = [[] for _ in sides]
    for run in runs_of(program.steps, lambda _: True):
        block = block_of[run[0]]
        found[block] += _prices_of_run([program.steps[k] for k in run], sides[block])
    return tuple(map(tuple, found))


def _prices_of_run(steps: Sequence[Step], sides: tuple[int, ...]) -> list[Price]:
    """Return the prices of a run's cuts, their sides in the order of `sides`."""
    gates = [step for step in steps if len(step.qubits) == 2]
    if len(gates) == 1:
        return [_turned(price_of(gates[0]), gates[0].qubits, sides)]
    if not any(isinstance(p, Angle) for step in steps for p in step.params):
        return _prices_of_bound(gates, steps, sides)
    prices = [
        _turned(_price_of_crossing(one), one.qubits, sides)
        for one in crossings_of(steps)
        if one.basis is not None
    ]
    # The gates between ride in the graph, and are among the local ones here.
    return [_without(prices[0], _between(steps, sides)), *prices[1:]] if prices else []


def _prices_of_bound(
    gates: Sequence[Step], steps: Sequence[Step], sides: tuple[int, ...]
) -> list[Price]:
    """Return the same without a basis, which takes a hundred times as long as its price."""
    apart = [_turned(price_of(gate), gate.qubits, sides) for gate in gates]
    angles = interaction_angles(steps)
    size = (1, 5, 22, 22)[len(angles)]
    joined = Price(log_overhead_of(angles), (size, size), (1, 2, 4, 4)[len(angles)], (2, 2))
    logs = sum(price.log_overhead for price in apart)
    operations = prod(price.operations[0] * price.operations[1] for price in apart)
    if not is_cheaper((joined.log_overhead, 2 * log(size)), (logs, log(operations))):
        return apart
    # One local gate stands before and one behind on either side, in place of those between.
    return [_without(joined, _between(steps, sides))] if angles else []


def _between(steps: Sequence[Step], sides: tuple[int, ...]) -> tuple[int, int]:
    """Return how many one-qubit steps a run has on either side."""
    alone = [step.qubits[0] for step in steps if len(step.qubits) == 1]
    return alone.count(sides[0]), alone.count(sides[1])


def _without(price: Price, gates: tuple[int, int]) -> Price:
    a, b = price.locals
    return replace(price, locals=(a - gates[0], b - gates[1]))


def _price_of_crossing(one: Crossing) -> Price:
    assert one.basis is not None
    around = [step.qubits[0] for step in (*one.before, *one.after)]
    a, b = one.qubits
    return _price(one.basis, (around.count(a), around.count(b)))


def _turned(price: Price, qubits: tuple[int, ...], sides: tuple[int, ...]) -> Price:
    """Return a price with the sides in the order of `sides`."""
    if qubits == sides:
        return price
    (a, b), (c, d) = price.operations, price.locals
    return Price(price.log_overhead, (b, a), price.rank, (d, c))


def price_of(step: Step) -> Price:
    """Return what it costs to cut a two-qubit step."""
    if step.condition is not None:
        return Price(UNCUTTABLE, (1, 1), 1)
    if any(isinstance(p, Angle) for p in step.params):
        return _free_price(step.name) if step.name in RZZ_FORMS else _opened_price(step)
    # A matrix among the parameters cannot be a key of the cache.
    if any(not isinstance(p, (int, float)) for p in step.params):
        return _price_or_none(step)
    return _fixed_price(_Keyed(step))


def wire_price() -> Price:
    """Return what it costs to cut a wire (arXiv:1904.00102)."""
    return _price(_wire_basis())


@lru_cache(maxsize=1)
def _wire_basis() -> CutBasis:
    return basis_of_gate(Move())


@lru_cache(maxsize=64)
def _free_price(name: str) -> Price:
    _, frames, rotations = RZZ_FORMS[name]
    left = [len(frames[s][0]) + len(frames[s][1]) for s in (0, 1)]
    for side, _, _ in rotations:
        left[side] += 1
    return _price(basis_of_rzz(), (left[0], left[1]))


def _opened_price(step: Step) -> Price:
    """Return the price of a free gate that is cut as the product of its rotations."""
    try:
        (one,) = crossings_of([step])
    except CutError:
        return Price(UNCUTTABLE, (1, 1), 1)
    return _price_of_crossing(one)


class _Keyed:
    """A step that is equal to others of the same gate and angles, on whatever qubits."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._key = (step.name, step.params)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self._key == other._key


@lru_cache(maxsize=4096)
def _fixed_price(keyed: _Keyed) -> Price:
    step = keyed.step
    if step.name in RZZ_FORMS and len(step.params) == 1:
        (angle,) = step.params
        assert isinstance(angle, (int, float))
        sine = abs(np.sin(RZZ_FORMS[step.name][0] * angle))
        if sine > 1e-6:  # gamma = 1 + 2 |sin x| (arXiv:1909.07534); else fewer operations
            return Price(2 * log(1 + 2 * sine), (5, 5), 2)
    return _price_or_none(step)


def _price_or_none(step: Step) -> Price:
    try:
        return _price(basis_of_gate(step.gate_with(step.params)))
    except CutError:
        return Price(UNCUTTABLE, (1, 1), 1)


def _price(basis: CutBasis, left: tuple[int, int] = (0, 0)) -> Price:
    operations = (len(basis.operations[0]), len(basis.operations[1]))
    # Rounding may leave the gamma of a product of local gates below 1; no cut is paid for.
    return Price(max(0.0, log(basis.overhead)), operations, basis.rank, left)
