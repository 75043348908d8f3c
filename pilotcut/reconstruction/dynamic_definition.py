"""Dynamic definition: outcomes of wide circuits, resolved some qubits at a time.

A *bin* is all outcomes that share the bits of the qubits resolved so far. One query splits a bin
by the next few qubits. The search for the most probable outcomes splits the most probable bin
first, as a bin bounds all outcomes in it; sampling splits every bin that has shots. Nothing here
holds 2^n numbers.

References
----------
Tang et al., CutQC, arXiv:2012.02333 (dynamic definition).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pilotcut.reconstruction.open_network import OpenNetwork

#: Qubits that a query resolves.
RESOLVE = 10

#: Queries of one search, before it stops looking for the best and takes what is near.
MOST_QUERIES = 1000

#: Below this share of the largest probability of a query, a number is a rounding error.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class MostProbable:
    """The outcomes that a search found, and what it did not look at.

    Parameters
    ----------
    probabilities
        Bitstrings, qubit 0 (or the first of those asked for) rightmost, with their
        probabilities, the most probable first. There are fewer than asked for where the circuit
        has no more.
    unresolved
        Probability of all bins that were not resolved into single outcomes.
    bound
        Probability of the largest of these: no outcome in them has more.
    proven
        Whether nothing that is missing is more probable than what is listed. Only in exact
        mode: shots make errors of bins and outcomes.
    """

    probabilities: dict[str, float]
    unresolved: float
    bound: float
    proven: bool


class Search:
    """Splits the most probable bin first, until the most probable outcomes stand alone.

    Parameters
    ----------
    network
        Answers the queries.
    qubits
        The qubits of a bitstring, the rightmost first; all others are summed over.
    resolve
        Qubits that a query resolves.
    most_queries
        After so many it follows the deepest bins to their ends.
    """

    def __init__(
        self, network: OpenNetwork, qubits: Sequence[int], resolve: int, most_queries: int
    ) -> None:
        self._network, self._resolve, self._left = network, resolve, most_queries
        self._qubits, self._order = qubits, network.ordered(qubits)
        self._heap: list[_Family] = []

    def most_probable(self, count: int, *, exact: bool) -> MostProbable:
        """Return up to `count` outcomes; `exact` says that probabilities have no errors."""
        found: dict[str, float] = {}
        self._split(())
        while len(found) < count and self._heap:
            bits, probability = self._next()
            if len(bits) < len(self._order):
                self._split(bits)
            else:
                (name,) = bitstrings(np.array([bits]), self._order, self._qubits)
                found[name] = probability
        ranked = dict(sorted(found.items(), key=lambda item: -item[1]))
        bins = [family for family in self._heap if family.depth < len(self._order)]
        missed = max((family.best for family in self._heap), default=0.0)
        return MostProbable(
            ranked,
            unresolved=sum(family.mass for family in bins),
            bound=max((family.best for family in bins), default=0.0),
            proven=exact and missed <= min(ranked.values(), default=1.0),
        )

    def _split(self, bits: tuple[int, ...]) -> None:
        given, keep = _next_qubits(self._order, len(bits), self._resolve)
        row = np.array([bits], dtype=np.uint8).reshape(1, len(bits))
        probabilities = _clipped(self._network.marginals(keep, given, row))[0]
        self._left -= 1
        if self._left == 0:
            self._go_deep()
        if probabilities.any():
            family = _Family.of(bits, len(keep), probabilities, deep=self._left <= 0)
            heapq.heappush(self._heap, family)

    def _go_deep(self) -> None:
        for family in self._heap:
            family.deep = True
        # Their order is another now.
        heapq.heapify(self._heap)

    def _next(self) -> tuple[tuple[int, ...], float]:
        """Take the best bin that waits."""
        family = self._heap[0]
        bits, probability = family.pop()
        if family.left:
            heapq.heapreplace(self._heap, family)
        else:
            heapq.heappop(self._heap)
        return bits, probability


@dataclass
class _Family:
    """The bins that one query split, of which the best one stands for all in the heap.

    Parameters
    ----------
    parent
        Bits of the bin that was split.
    qubits
        How many qubits it was split by.
    probabilities
        (2^qubits,) probabilities.
    left
        Outcomes that were not taken yet, the best one last.
    deep
        Whether deep bins come before probable ones.
    """

    parent: tuple[int, ...]
    qubits: int
    probabilities: np.ndarray
    left: list[int]
    deep: bool = field(default=False)

    @classmethod
    def of(
        cls, parent: tuple[int, ...], qubits: int, probabilities: np.ndarray, *, deep: bool
    ) -> _Family:
        # Of equally probable bins the one with the smallest number comes first.
        ranking = np.argsort(-probabilities, kind="stable")[: np.count_nonzero(probabilities)]
        return cls(parent, qubits, probabilities, ranking[::-1].tolist(), deep)

    @property
    def depth(self) -> int:
        """Number of qubits that its bins have resolved."""
        return len(self.parent) + self.qubits

    @property
    def best(self) -> float:
        """Probability of its best bin."""
        return float(self.probabilities[self.left[-1]])

    @property
    def mass(self) -> float:
        """Probability of all its bins."""
        return float(self.probabilities[self.left].sum())

    def pop(self) -> tuple[tuple[int, ...], float]:
        """Take the best bin, as its bits and its probability."""
        outcome = self.left.pop()
        bits = tuple(outcome >> k & 1 for k in range(self.qubits))
        return (*self.parent, *bits), float(self.probabilities[outcome])

    def __lt__(self, other: _Family) -> bool:
        return self._rank < other._rank

    @property
    def _rank(self) -> tuple[int, float, tuple[int, ...]]:
        return (-self.depth if self.deep else 0, -self.best, self.parent)


def sampled(
    network: OpenNetwork,
    qubits: Sequence[int],
    shots: int,
    rng: np.random.Generator,
    resolve: int = RESOLVE,
) -> dict[str, int]:
    """Return counts of outcomes, drawn by splitting the shots over bins and bins of bins.

    Parameters
    ----------
    network
        Answers the queries; negative quasi-probabilities are taken for 0 at every split.
    qubits
        The qubits of a bitstring, the rightmost first; all others are summed over.
    shots
        How many outcomes to draw.
    rng
        Where the draws come from.
    resolve
        Qubits that a query resolves.

    Returns
    -------
    dict
        Bitstrings with their shots.
    """
    order = network.ordered(qubits)
    bits, counts = np.zeros((1, 0), dtype=np.uint8), np.array([shots])
    while bits.shape[1] < len(order):
        given, keep = _next_qubits(order, bits.shape[1], resolve)
        step = network.rows_at_once(keep)
        parts = [
            _split_shots(network, keep, given, bits[k : k + step], counts[k : k + step], rng)
            for k in range(0, len(bits), step)
        ]
        bits, counts = (np.concatenate(some) for some in zip(*parts, strict=True))
    return dict(zip(bitstrings(bits, order, qubits), counts.tolist(), strict=True))


def _split_shots(
    network: OpenNetwork,
    keep: Sequence[int],
    given: Sequence[int],
    bits: np.ndarray,
    counts: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bins (bins, bits) with shots that some bins with shots split into."""
    probabilities = _clipped(network.marginals(keep, given, bits))
    drawn = rng.multinomial(counts, probabilities / probabilities.sum(axis=1, keepdims=True))
    parent, outcome = np.nonzero(drawn)
    fresh = (outcome[:, None] >> np.arange(len(keep)) & 1).astype(np.uint8)
    return np.hstack([bits[parent], fresh]), drawn[parent, outcome]


def _next_qubits(order: Sequence[int], done: int, resolve: int) -> tuple[list[int], list[int]]:
    """Return the qubits that are resolved, and those that are next."""
    return list(order[:done]), list(order[done : done + resolve])


def _clipped(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities (rows, outcomes) with what is negative or a rounding error as 0."""
    least = NEGLIGIBLE * probabilities.max(axis=1, keepdims=True)
    return np.where(probabilities > least, probabilities, 0.0).clip(0.0)


def bitstrings(bits: np.ndarray, order: Sequence[int], qubits: Sequence[int]) -> list[str]:
    """Return rows of bits of the qubits `order` as strings, the first of `qubits` rightmost.

    Examples
    --------
    >>> bitstrings(np.array([[1, 0, 0]]), [2, 0, 1], [0, 1, 2])
    ['100']
    """
    place = [order.index(qubit) for qubit in reversed(qubits)]
    letters = (bits[:, place] + ord("0")).astype(np.uint8)
    return [row.tobytes().decode() for row in letters]
