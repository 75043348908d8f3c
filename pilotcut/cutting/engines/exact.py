"""All partitions of the qubits of a small circuit, those apart that cannot be wanted.

Every pair of qubits with gates between them is either cut or contracted, so each partition
into connected parts is met once. Only gates are cut here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pilotcut.cutting.engines.goal import Goal
from pilotcut.cutting.interactions import Interactions

#: Circuits of more qubits have too many partitions.
MOST_QUBITS = 12

#: The walk ends after this many choices; where it does, it is not exact.
MOST_CHOICES = 20_000


def exact(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield partitions with up to `max_cuts` gate cuts, or ever better ones without a limit."""
    if graph.num_qubits > MOST_QUBITS:
        return
    for labels in _Walk(graph, goal).partitions():
        yield np.array(labels)[graph.qubit]


class _Walk:
    """Depth first through the pairs; parts are kept as bit sets of qubits."""

    def __init__(self, graph: Interactions, goal: Goal) -> None:
        self._size = graph.num_qubits
        self._most_cuts = np.inf if goal.max_cuts is None else goal.max_cuts
        self._widest = min(goal.max_width or self._size, self._size)
        self._pairs = _pairs(graph)
        self._choices = 0
        # Without a limit on the cuts only what lowers the overhead is of interest.
        self._improve = goal.max_cuts is None
        self._best = np.inf

    def partitions(self) -> Iterator[list[int]]:
        """Yield labels of qubits."""
        yield from self._decide(0, list(range(self._size)), frozenset(), 0, 0.0)

    def _decide(
        self,
        number: int,
        part: list[int],
        apart: frozenset[tuple[int, int]],
        cuts: int,
        logs: float,
    ) -> Iterator[list[int]]:
        self._choices += 1
        if cuts > self._most_cuts or self._choices > MOST_CHOICES:
            return
        if self._improve and logs >= self._best - 1e-9:
            return
        if number == len(self._pairs):
            self._best = logs
            yield part
            return
        a, b, gates, log = self._pairs[number]
        one, other = sorted((part[a], part[b]))
        if one == other:
            yield from self._decide(number + 1, part, apart, cuts, logs)
            return
        together = (one, other) not in apart
        if together and part.count(one) + part.count(other) <= self._widest:
            merged = [one if p == other else p for p in part]
            pairs = frozenset(
                (min(x, y), max(x, y))
                for p, q in apart
                for x, y in [(one if p == other else p, one if q == other else q)]
            )
            yield from self._decide(number + 1, merged, pairs, cuts, logs)
        yield from self._decide(number + 1, part, apart | {(one, other)}, cuts + gates, logs + log)


def _pairs(graph: Interactions) -> list[tuple[int, int, int, float]]:
    """Return pairs of qubits with their gates and log gamma^2, neighbours of earlier ones first."""
    joined: dict[tuple[int, int], tuple[int, float]] = {}
    for (a, b), gates, log in zip(
        np.sort(graph.qubit[graph.blocks], axis=1).tolist(),
        graph.gates.tolist(),
        graph.log_overheads.tolist(),
        strict=True,
    ):
        before = joined.get((a, b), (0, 0.0))
        joined[a, b] = (before[0] + gates, before[1] + log)
    order: list[tuple[int, int]] = []
    reached: set[int] = set()
    rest = sorted(joined)
    while rest:
        rest.sort(key=lambda pair: (-len(reached & set(pair)), pair))
        order.append(rest.pop(0))
        reached |= set(order[-1])
    return [(a, b, *joined[a, b]) for a, b in order]
