"""Refinement of proposals by annealing: which partitions start it, how hot, and for how long.

Starts are the proposals of other engines, and for small circuits partitions at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.cutting.search.annealing import HOT, TOO_MANY, TOO_WIDE, Start, anneal
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: Partitions that are moved at once: fewer where qubits have more ends than this.
WALKS, LONG_ROW = 96, 16

#: Moves made in each, at most.
MOST_STEPS = 3000

#: Circuits of fewer ends are searched from partitions at random too.
FEW_ENDS = 100

#: Labels beyond those that a proposal has, or that the width asks for.
_SPARE = 2


def refined(
    graph: Interactions,
    goal: Goal,
    proposals: Sequence[np.ndarray],
    aims: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the best that annealing makes of the most promising proposals.

    Parameters
    ----------
    aims
        Widths that fragments are to have at most; None for those of the goal.
    """
    if not len(graph.blocks):
        return
    some = goal.widths(graph, 6) if aims is None else aims
    widths = [w for w in some if w < graph.num_qubits]
    longest = int(np.bincount(graph.qubit).max())
    walks = max(2 * len(widths), WALKS * LONG_ROW // max(LONG_ROW, longest))
    if graph.num_ends < FEW_ENDS:  # half of them blind
        walks *= 2
    weighed = [_Proposal.of(graph, labels) for labels in proposals]
    starts = [s for w in widths for s in _starts(graph, goal, weighed, w, walks // len(widths))]
    steps = min(200 + 10 * graph.num_ends, 700 + 3 * graph.num_ends, MOST_STEPS)
    yield from anneal(graph, starts, goal, steps)


@dataclass(frozen=True)
class _Proposal:
    """A partition with what the annealing goes by, whatever the width."""

    labels: np.ndarray
    logs: float
    cuts: int
    widths: np.ndarray

    @classmethod
    def of(cls, graph: Interactions, labels: np.ndarray) -> _Proposal:
        a, b = graph.blocks.T
        wires = graph.wires
        cut = labels[a] != labels[b]
        turns = int(np.count_nonzero(labels[wires] != labels[wires + 1]))
        logs = graph.log_overheads[cut].sum() + turns * graph.wire.log_overhead
        return cls(labels, float(logs), int(graph.cuts[cut].sum()) + turns, graph.widths(labels))

    def energy(self, goal: Goal, width: int) -> float:
        """Return what the annealing would say of it."""
        off = max(0, self.cuts - (goal.max_cuts or np.inf))
        if goal.narrow:
            off += max(0, goal.least_cuts - self.cuts)
        too_wide = np.maximum(self.widths - width, 0).sum()
        return float(self.logs + TOO_WIDE[0] * too_wide + TOO_MANY * off)


def _starts(
    graph: Interactions, goal: Goal, proposals: Sequence[_Proposal], width: int, walks: int
) -> Iterator[Start]:
    """Yield the best proposals for a width, each at several temperatures, and random ones."""
    blind = walks // 2 if graph.num_ends < FEW_ENDS else 0
    best = sorted(range(len(proposals)), key=lambda k: (proposals[k].energy(goal, width), k))
    best = best[: max(1, (walks - blind) // 3)]
    for walk in range(walks - blind):
        chosen = proposals[best[walk % len(best)]].labels
        labels = np.unique(chosen, return_inverse=True)[1].reshape(-1)
        heat = 0.25 + 0.75 * (walk // len(best)) / max(1, (walks - blind) // len(best))
        fine = TOO_WIDE[walk // len(best) % 2]
        yield Start(labels, int(labels.max()) + 1 + _SPARE, width, HOT * heat, fine)
    rng = np.random.default_rng([goal.seed, width])
    for walk in range(blind):
        parts = -(-graph.num_qubits // width) + walk % (_SPARE + 1)
        labels = rng.integers(max(2, parts), size=graph.num_ends)
        labels = labels if goal.wire_cuts else labels[graph.qubit]
        yield Start(labels, max(2, parts), width, too_wide=TOO_WIDE[walk % 5 > 2])
