"""Branch and bound over all partitions of a small circuit.

Every edge is either cut or contracted, so each partition into connected parts is met once.
Edges join qubits by all gates between them; and, where wires may be cut and few cuts are
allowed, ends by gates and wires. A branch ends where it has too many cuts, is too wide, or, where
the number of cuts is free, costs as much as the best so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions, wire_price

#: Circuits of more qubits have too many partitions.
MOST_QUBITS = 12

#: A walk ends after this many choices, or where more partitions than this have been found;
#: it is exact for the numbers of cuts that it got through.
MOST_CHOICES, MOST_PARTITIONS = 15_000, 600


@dataclass(frozen=True)
class _Edge:
    """Edge between two vertices, with the number of cuts and the log gamma^2 that it takes."""

    ends: tuple[int, int]
    cuts: int
    logs: float


def exact(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield partitions within `max_cuts`, or ever better ones where that is no limit."""
    if graph.num_qubits > MOST_QUBITS:
        return
    qubits = _joined(graph.qubit[graph.blocks], graph.gates, graph.log_overheads)
    for labels in _fewest_first(qubits, [1] * graph.num_qubits, goal):
        yield np.array(labels)[graph.qubit]
    if goal.wire_cuts and goal.max_cuts is not None:
        for labels in _fewest_first(_edges_of_ends(graph), graph.first.tolist(), goal):
            yield np.array(labels)


def _fewest_first(edges: list[_Edge], wires: list[int], goal: Goal) -> Iterator[list[int]]:
    """Yield labels of vertices, for each number of cuts in turn as long as the budgets last."""
    if goal.max_cuts is None:
        yield from _Walk(edges, wires, goal, inf).partitions()
        return
    count = 0
    for cuts in range(1, goal.max_cuts + 1):
        walk = _Walk(edges, wires, goal, cuts)
        for labels in walk.partitions():
            yield labels
            count += 1
            if count >= MOST_PARTITIONS:
                return
        if walk.choices > MOST_CHOICES:
            return


def _edges_of_ends(graph: Interactions) -> list[_Edge]:
    wires = graph.wires
    return _joined(
        np.concatenate([graph.blocks, np.stack([wires, wires + 1], axis=1)]),
        np.concatenate([graph.gates, np.ones(len(wires), dtype=int)]),
        np.concatenate([graph.log_overheads, np.full(len(wires), wire_price().log_overhead)]),
    )


def _joined(pairs: np.ndarray, cuts: np.ndarray, logs: np.ndarray) -> list[_Edge]:
    """Return one edge for each pair of vertices, neighbours of earlier ones first."""
    sums: dict[tuple[int, int], tuple[int, float]] = {}
    some = zip(np.sort(pairs, axis=1).tolist(), cuts.tolist(), logs.tolist(), strict=True)
    for (a, b), count, log in some:
        before = sums.get((a, b), (0, 0.0))
        sums[a, b] = (before[0] + count, before[1] + log)
    # So parts grow edge by edge, and limits on width end a branch early.
    order: list[tuple[int, int]] = []
    reached: set[int] = set()
    rest = set(sums)
    while rest:
        order.append(min(rest, key=lambda pair: (-len(reached & set(pair)), pair)))
        rest.remove(order[-1])
        reached |= set(order[-1])
    return [_Edge(pair, *sums[pair]) for pair in order]


class _Walk:
    """Depth first through the edges, contracting before cutting, to a number of cuts.

    Where any number is allowed, only what lowers the overhead is of interest.
    """

    def __init__(self, edges: list[_Edge], wires: list[int], goal: Goal, cuts: float) -> None:
        self._edges = edges
        self._wires = wires  # of each vertex; those that wire cuts begin come on top
        self._cuts = cuts
        self._widest = inf if goal.max_width is None else goal.max_width
        self.choices = 0
        self._best = inf

    def partitions(self) -> Iterator[list[int]]:
        """Yield labels of vertices."""
        yield from self._decide(0, list(range(len(self._wires))), frozenset(), 0, 0.0)

    def _decide(
        self,
        number: int,
        part: list[int],
        apart: frozenset[tuple[int, int]],
        cuts: int,
        logs: float,
    ) -> Iterator[list[int]]:
        self.choices += 1
        if cuts > self._cuts or self.choices > MOST_CHOICES:
            return
        # Sums of logarithms differ in last digits by their order: equal overheads are no
        # improvement.
        if self._cuts == inf and logs >= self._best - 1e-9:
            return
        while number < len(self._edges) and self._is_inside(number, part):
            number += 1
        if number == len(self._edges):
            self._best = logs
            # Fewer cuts were yielded by the walk before.
            if cuts == self._cuts or self._cuts == inf:
                yield part
            return
        edge = self._edges[number]
        one, other = sorted((part[edge.ends[0]], part[edge.ends[1]]))
        # An edge between these parts was cut before: joining them now would meet a partition again
        # that another branch has, with a cut gate inside a part.
        if (one, other) not in apart and self._wide(part, one, other) <= self._widest:
            merged = [one if p == other else p for p in part]
            moved = frozenset(_renamed(pair, other, one) for pair in apart)
            yield from self._decide(number + 1, merged, moved, cuts, logs)
        further = apart | {(one, other)}
        yield from self._decide(number + 1, part, further, cuts + edge.cuts, logs + edge.logs)

    def _is_inside(self, number: int, part: list[int]) -> bool:
        a, b = self._edges[number].ends
        return part[a] == part[b]

    def _wide(self, part: list[int], one: int, other: int) -> int:
        """Return the wires that two parts have at least."""
        return sum(w for p, w in zip(part, self._wires, strict=True) if p in (one, other))


def _renamed(pair: tuple[int, int], old: int, new: int) -> tuple[int, int]:
    if old not in pair:
        return pair
    (rest,) = (p for p in pair if p != old)
    return (min(rest, new), max(rest, new))
