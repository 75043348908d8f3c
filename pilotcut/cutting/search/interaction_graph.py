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
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log

import numpy as np
from qiskit_addon_cutting.instructions import Move

from pilotcut.circuits.program import Angle, Program, Step
from pilotcut.cutting.basis import CutBasis, basis_of_gate, basis_of_rzz
from pilotcut.cutting.rotations import RZZ_FORMS
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
        Number of local gates that stay behind on either side.
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
    prices
        For each block, the prices of its gates; none for a tie, which cannot be cut.
    """

    num_qubits: int
    qubit: np.ndarray
    after: np.ndarray
    riding: np.ndarray
    blocks: np.ndarray
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
    def gates(self) -> np.ndarray:
        """Integer array (blocks,): number of gates of each block."""
        return np.array([len(some) for some in self.prices], dtype=int)

    @cached_property
    def log_overheads(self) -> np.ndarray:
        """Array (blocks,): log gamma^2 of cutting each block."""
        return np.array(
            [sum(p.log_overhead for p in some) if some else UNCUTTABLE for some in self.prices]
        )

    def widths(self, labels: np.ndarray) -> np.ndarray:
        """Return how many qubits have an end of each label, (labels,), for labels (ends,).

        A fragment needs no more: of the wires of one qubit one is alive at a time.
        """
        pairs = np.unique(labels * self.num_qubits + self.qubit)
        return np.bincount(pairs // self.num_qubits, minlength=int(labels.max()) + 1)

    def sums(self, of: Callable[[Price], tuple[float, float]]) -> np.ndarray:
        """Return sums over the gates of each block of what `of` says of its sides, (blocks, 2)."""
        rows = [[of(price) for price in some] for some in self.prices]
        return np.array([np.sum(row, axis=0) if row else (0, 0) for row in rows]).reshape(-1, 2)


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
        prices=(
            *(
                tuple(_turned(program.steps[n], sides[k]) for n in numbers)
                for k, numbers in enumerate(blocks)
            ),
            *(() for _ in ties),
        ),
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


def _turned(step: Step, sides: tuple[int, ...]) -> Price:
    """Return a step's price with the sides in the order of `sides`."""
    price = price_of(step)
    if step.qubits == sides:
        return price
    (a, b), (c, d) = price.operations, price.locals
    return Price(price.log_overhead, (b, a), price.rank, (d, c))


def price_of(step: Step) -> Price:
    """Return what it costs to cut a two-qubit step."""
    if step.condition is not None:
        return Price(UNCUTTABLE, (1, 1), 1)
    if any(isinstance(p, Angle) for p in step.params):
        return _free_price(step.name)
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
    if name not in RZZ_FORMS:
        return Price(UNCUTTABLE, (1, 1), 1)
    _, frames, rotations = RZZ_FORMS[name]
    left = [len(frames[s][0]) + len(frames[s][1]) for s in (0, 1)]
    for side, _, _ in rotations:
        left[side] += 1
    return _price(basis_of_rzz(), (left[0], left[1]))


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
