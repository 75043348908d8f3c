"""Balanced partitions: qubit labels with a given number of cuts, or with fragments that fit.

Exact search over partitions for small circuits, contiguous blocks of a good qubit order
for large ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from pilotcut.circuits.program import Program
from pilotcut.cutting.placement import letter
from pilotcut.cutting.search.interaction_graph import refuse_markers
from pilotcut.errors import CutError

#: Up to this many qubits all partitions are searched, those apart that cannot be best: 115,975 of
#: 10 qubits, and already 4,213,597 of 12.
EXACT_QUBITS = 10


@dataclass(frozen=True)
class _Candidate:
    """A partition, ordered by what makes one better than another."""

    max_width: int
    spread: int  # sum of squared widths: smaller is more balanced
    labels: tuple[int, ...]
    cuts: int

    @property
    def rank(self) -> tuple[int, int, tuple[int, ...]]:
        # Labels last, so that of equals it is always the same that is chosen.
        return (self.max_width, self.spread, self.labels)


def choose_labels(
    program: Program, *, cuts: int | None = None, max_width: int | None = None
) -> tuple[str, ...]:
    """Return one label a qubit, for exactly `cuts` cuts or for fragments of `max_width`.

    With `cuts`, fragment widths are as balanced as that number of cuts allows; with
    `max_width`, the number of cuts is the smallest found.

    Raises
    ------
    CutError
        If the circuit has no partition with that many cuts, or none so narrow.
    """
    refuse_markers(program, "cut_wire")
    weights = _interactions(program)
    if cuts is not None:
        found = _with_cuts(program.num_qubits, weights, cuts)
    else:
        assert max_width is not None
        found = _with_width(program.num_qubits, weights, max_width)
    return tuple(map(letter, found.labels))


def _interactions(program: Program) -> np.ndarray:
    """Return how many two-qubit gates act on each pair, (qubits, qubits), symmetric."""
    counts = Counter(tuple(sorted(s.qubits)) for s in program.steps if len(s.qubits) == 2)
    weights = np.zeros((program.num_qubits, program.num_qubits), dtype=int)
    for (a, b), count in counts.items():
        weights[a, b] = weights[b, a] = count
    return weights


def _with_cuts(num_qubits: int, weights: np.ndarray, cuts: int) -> _Candidate:
    if not isinstance(cuts, int) or cuts < 0:
        raise CutError(f"cuts is {cuts!r}, expected a whole number from 0; 0 means uncut")
    if cuts == 0:
        return _Candidate(num_qubits, num_qubits**2, (0,) * num_qubits, 0)
    best = min(
        (c for c in _candidates(num_qubits, weights, range(cuts, cuts + 1)) if c.cuts == cuts),
        key=lambda c: c.rank,
        default=None,
    )
    if best is None:
        raise CutError(_no_such_cuts(num_qubits, weights, cuts))
    return best


def _with_width(num_qubits: int, weights: np.ndarray, max_width: int) -> _Candidate:
    if not isinstance(max_width, int) or max_width < 1:
        raise CutError(f"max_width is {max_width!r}, expected a whole number from 1")
    if max_width >= num_qubits:
        return _Candidate(num_qubits, num_qubits**2, (0,) * num_qubits, 0)
    total = int(weights.sum() // 2)
    some = _candidates(num_qubits, weights, range(total + 1), max_width)
    narrow = (c for c in some if c.max_width <= max_width)
    # Every qubit on its own is always narrow enough, so there is a best.
    return min(narrow, key=lambda c: (c.cuts, *c.rank))


def _no_such_cuts(num_qubits: int, weights: np.ndarray, cuts: int) -> str:
    total = int(weights.sum() // 2)
    if cuts > total:
        return (
            f"cuts is {cuts}, but the circuit has only {total} two-qubit gates to cut, expected "
            f"at most {total}; ask for fewer cuts"
        )
    possible = {c.cuts for c in _contiguous(list(range(num_qubits)), weights, total)} - {0}
    near = sorted(possible, key=lambda k: (abs(k - cuts), k))[:4]
    return (
        f"cuts is {cuts}, but no partition of the qubits cuts exactly {cuts} gates, expected one "
        f"of {', '.join(map(str, sorted(near)))}; choose one of these, or give labels"
    )


def _candidates(
    num_qubits: int, weights: np.ndarray, cuts: range, widest: int | None = None
) -> Iterator[_Candidate]:
    """Yield partitions with a number of cuts in `cuts`; wide or other ones may be among them."""
    # Beyond, blocks of the given order, which is best for chains, and of the one of least
    # bandwidth.
    if num_qubits <= EXACT_QUBITS:
        yield from _all_partitions(num_qubits, weights, cuts, widest or num_qubits)
    else:
        yield from _contiguous(list(range(num_qubits)), weights, cuts.stop - 1)
        yield from _contiguous(_bandwidth_order(weights), weights, cuts.stop - 1)


def _all_partitions(
    num_qubits: int, weights: np.ndarray, cuts: range, widest: int
) -> Iterator[_Candidate]:
    """Walk restricted growth strings, leaving a branch that cannot end within the limits."""
    labels = [0] * num_qubits
    to_come = [int(np.triu(weights)[:, q:].sum()) for q in range(num_qubits + 1)]

    def extend(qubit: int, used: int, cut: int) -> Iterator[_Candidate]:
        if qubit == num_qubits:
            widths = np.bincount(labels)
            yield _Candidate(int(widths.max()), int((widths**2).sum()), tuple(labels), cut)
            return
        degree = int(weights[qubit, :qubit].sum())
        for label in range(used + 1):
            inside = sum(weights[qubit, q] for q in range(qubit) if labels[q] == label)
            crossing = cut + degree - int(inside)
            reachable = crossing < cuts.stop and crossing + to_come[qubit + 1] >= cuts.start
            if reachable and labels[:qubit].count(label) < widest:
                labels[qubit] = label
                yield from extend(qubit + 1, max(used, label + 1), crossing)

    yield from extend(0, 0, 0)


def _contiguous(order: list[int], weights: np.ndarray, most_cuts: int) -> Iterator[_Candidate]:
    """Yield, for each number of cuts, the best partition of `order` into contiguous blocks.

    Dynamic programming over (end of block, gates inside the blocks so far); gates inside
    blocks add up, and what is not inside is cut.
    """
    size = len(order)
    permuted = weights[np.ix_(order, order)]
    below = np.tril(permuted, -1).cumsum(axis=1)  # gates of q to the first j+1 qubits of order
    table: list[dict[int, tuple[int, int, int]]] = [{} for _ in range(size + 1)]
    table[0][0] = (0, 0, -1)
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for end in range(1, size + 1):
        for start in range(end):
            crossing = _reach_back(below, start, end)
            for cuts_before, (widest, spread, _) in table[start].items():
                cuts = cuts_before + crossing
                if cuts > most_cuts:
                    continue
                width = end - start
                score = (max(widest, width), spread + width**2, start)
                if cuts not in table[end] or score < table[end][cuts]:
                    table[end][cuts] = score
                    links[end, cuts] = (start, cuts_before)
    for cuts, (widest, spread, _) in sorted(table[size].items()):
        yield _Candidate(widest, spread, _labels_of(order, links, size, cuts), cuts)


def _reach_back(below: np.ndarray, start: int, end: int) -> int:
    """Return how many gates join qubits [start, end) of the order to earlier ones."""
    return int(below[start:end, start - 1].sum()) if start else 0


def _labels_of(
    order: list[int], links: dict[tuple[int, int], tuple[int, int]], end: int, cuts: int
) -> tuple[int, ...]:
    blocks = []
    while end:
        start, before = links[end, cuts]
        blocks.append(order[start:end])
        end, cuts = start, before
    labels = [0] * len(order)
    for number, block in enumerate(reversed(blocks)):
        for qubit in block:
            labels[qubit] = number
    return _in_order_of_appearance(labels)


def _in_order_of_appearance(labels: list[int]) -> tuple[int, ...]:
    names: dict[int, int] = {}
    return tuple(names.setdefault(label, len(names)) for label in labels)


def _bandwidth_order(weights: np.ndarray) -> list[int]:
    return [int(q) for q in reverse_cuthill_mckee(csr_matrix(weights), symmetric_mode=True)]
