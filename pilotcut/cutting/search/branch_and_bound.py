"""Branch and bound over all partitions of a small circuit.

Every edge is either cut or contracted, so each partition into connected parts is met once.
Edges join qubits by all gates between them; and, where wires may be cut, ends by gates and wires.
A branch ends where it has too many cuts, is too wide, or cannot be as good as what was found.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: Circuits of more qubits have too many partitions.
MOST_QUBITS = 12

#: A walk ends after this many choices, or where more partitions than this have been found;
#: it is exact for the numbers of cuts that it got through.
MOST_CHOICES, MOST_PARTITIONS = 15_000, 600

#: Choices among ends where any number of cuts is allowed: what they do not get through, the
#: other engines are better at.
MOST_CHOICES_OF_ENDS = 4000

#: A walk goes one call deeper with each edge, and Python's stack ends at 1000. Of so many edges
#: its choices would not get through a part worth having.
MOST_EDGES = 400


def exact(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield partitions within `max_cuts`, or ever better ones where that is no limit."""
    yield from walked(graph, goal)[0]


def walked(graph: Interactions, goal: Goal) -> tuple[list[np.ndarray], bool]:
    """Return partitions, and whether no other can be a better answer."""
    if graph.num_qubits > MOST_QUBITS:
        return [], False
    bounds = _Bounds(goal, MOST_CHOICES)
    qubits = _joined(graph.qubit[graph.blocks], graph.cuts, graph.log_overheads)
    found = [
        np.array(part)[graph.qubit] for part in bounds.walk(qubits, list(range(graph.num_qubits)))
    ]
    if not goal.wire_cuts:
        return found, bounds.complete
    bounds.restart(MOST_CHOICES_OF_ENDS if goal.max_cuts is None else MOST_CHOICES)
    found += map(np.array, bounds.walk(_edges_of_ends(graph), graph.qubit.tolist()))
    return found, bounds.complete


# -- edges -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Edge:
    """Edge between two vertices, with the number of cuts and the log gamma^2 that it takes."""

    ends: tuple[int, int]
    cuts: int
    logs: float


def _edges_of_ends(graph: Interactions) -> list[_Edge]:
    wires = graph.wires
    return _joined(
        np.concatenate([graph.blocks, np.stack([wires, wires + 1], axis=1)]),
        np.concatenate([graph.cuts, np.ones(len(wires), dtype=int)]),
        np.concatenate([graph.log_overheads, np.full(len(wires), graph.wire.log_overhead)]),
    )


def _joined(pairs: np.ndarray, cuts: np.ndarray, logs: np.ndarray) -> list[_Edge]:
    """Return one edge for each pair of vertices, neighbours of earlier ones first."""
    sums: dict[tuple[int, int], tuple[int, float]] = {}
    some = zip(np.sort(pairs, axis=1).tolist(), cuts.tolist(), logs.tolist(), strict=True)
    for (a, b), count, log in some:
        before = sums.get((a, b), (0, 0.0))
        sums[a, b] = (before[0] + count, before[1] + log)
    return [_Edge(pair, *sums[pair]) for pair in _growing(sums)]


def _growing(pairs: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return pairs so that each has most vertices of those before it, and is the least of such.

    So parts grow edge by edge, and limits on width end a branch early.
    """
    at: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for pair in pairs:
        for end in pair:
            at[end].append(pair)
    # One that has come nearer is put in once more: what is left of it behind is passed over.
    waiting = [(0, pair) for pair in pairs]
    heapq.heapify(waiting)
    order: dict[tuple[int, int], None] = {}
    reached: set[int] = set()
    while waiting:
        _, pair = heapq.heappop(waiting)
        if pair in order:
            continue
        order[pair] = None
        for end in set(pair) - reached:
            reached.add(end)
            for near in at[end]:
                if near not in order:
                    heapq.heappush(waiting, (-len(reached.intersection(near)), near))
    return list(order)


# -- the walk ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """Vertices in parts, as far as edges were decided; all by the number of a part's root."""

    part: list[int]  # of each vertex, its root
    members: list[int]  # as bits
    foes: list[int]  # vertices, as bits, that cut edges keep apart from it
    qubits: list[int]  # as bits
    cuts: int = 0
    logs: float = 0.0

    def joined(self, one: int, other: int) -> _State:
        """Return the state with two parts contracted."""
        members, foes, qubits = self.members.copy(), self.foes.copy(), self.qubits.copy()
        members[one] |= members[other]
        foes[one] |= foes[other]
        qubits[one] |= qubits[other]
        part = [one if p == other else p for p in self.part]
        return _State(part, members, foes, qubits, self.cuts, self.logs)

    def cut(self, edge: _Edge, one: int, other: int) -> _State:
        """Return the state with an edge cut between two parts."""
        foes = self.foes.copy()
        foes[one] |= self.members[other]
        foes[other] |= self.members[one]
        cuts, logs = self.cuts + edge.cuts, self.logs + edge.logs
        return _State(self.part, self.members, foes, self.qubits, cuts, logs)


class _Bounds:
    """What a partition has to keep to be of interest, over one walk and the next."""

    def __init__(self, goal: Goal, most_choices: int) -> None:
        self._goal = goal
        self._widest = inf if goal.max_width is None else goal.max_width
        self._best = inf
        self.restart(most_choices)

    def restart(self, most_choices: int) -> None:
        """Begin to count choices, keeping what is known."""
        self._most, self.choices, self.complete = most_choices, 0, True

    def walk(self, edges: list[_Edge], qubits: list[int]) -> Iterator[list[int]]:
        """Yield labels of vertices, for each number of cuts in turn as long as budgets last."""
        if len(edges) > MOST_EDGES:
            self.complete = False
            return
        size = len(qubits)
        members, bits = ([1 << k for k in some] for some in (range(size), qubits))
        start = _State(list(range(size)), members, [0] * size, bits)
        if self._goal.max_cuts is None:
            yield from self._decide(edges, 0, start, inf)
            return
        count = 0
        for cuts in range(self._goal.least_cuts, self._goal.max_cuts + 1):
            self.choices = 0
            for labels in self._decide(edges, 0, start, cuts):
                yield labels
                count += 1
                if count >= MOST_PARTITIONS:
                    self.complete = False
                    return
            if not self.complete:
                return

    def _decide(
        self, edges: list[_Edge], number: int, state: _State, cuts: float
    ) -> Iterator[list[int]]:
        """Go depth first through the edges, contracting before cutting."""
        self.choices += 1
        if self.choices > self._most:
            self.complete = False
            return
        part = state.part
        while number < len(edges) and part[edges[number].ends[0]] == part[edges[number].ends[1]]:
            number += 1
        if number == len(edges):
            # Fewer cuts were yielded by the walk before.
            if state.cuts == cuts or cuts == inf:
                self._note(state)
                yield part
            return
        edge = edges[number]
        one, other = sorted((part[edge.ends[0]], part[edge.ends[1]]))
        # An edge between these parts was cut before: joining them now would meet a partition again
        # that another branch has, with a cut gate inside a part.
        apart = state.foes[one] & state.members[other]
        width = (state.qubits[one] | state.qubits[other]).bit_count()
        if not apart and width <= self._widest:
            yield from self._decide(edges, number + 1, state.joined(one, other), cuts)
        further = state.cut(edge, one, other)
        if self._promises(further, cuts):
            yield from self._decide(edges, number + 1, further, cuts)

    def _promises(self, state: _State, cuts: float) -> bool:
        """Whether a partition that has just been cut may still be of interest."""
        if state.cuts > cuts:
            return False
        # Equals stay: which of them has fewer variants is not known here. Sums of logarithms
        # differ in last digits by their order.
        return cuts < inf or state.logs <= self._best + 1e-9

    def _note(self, state: _State) -> None:
        self._best = min(self._best, state.logs)
        if self._goal.narrow:
            widest = max(state.qubits[root].bit_count() for root in state.part)
            self._widest = min(self._widest, widest)
