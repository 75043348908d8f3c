"""Refinement of proposals by annealing: which partitions start it, how hot, and for how long.

Starts are the proposals of other engines, and for small circuits partitions at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pilotcut.cutting.search.annealing import HOT, TOO_MANY, TOO_WIDE, Start, anneal
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions, wire_price

#: Partitions that are moved at once: fewer where qubits have more ends than this.
WALKS, LONG_ROW = 96, 16

#: Moves made in each, at most.
MOST_STEPS = 3000

#: Circuits of fewer ends are searched from partitions at random too.
FEW_ENDS = 100

#: Labels beyond those that a proposal has, or that the width asks for.
_SPARE = 2


def refined(
    graph: Interactions, goal: Goal, proposals: Sequence[np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield the best that annealing makes of the most promising proposals."""
    if not len(graph.blocks):
        return
    widths = [w for w in goal.widths(graph, 6) if w < graph.num_qubits]
    longest = int(np.bincount(graph.qubit).max())
    walks = max(2 * len(widths), WALKS * LONG_ROW // max(LONG_ROW, longest))
    starts = [s for w in widths for s in _starts(graph, goal, proposals, w, walks // len(widths))]
    yield from anneal(
        graph,
        starts,
        max_cuts=goal.max_cuts,
        wire_cuts=goal.wire_cuts,
        steps=min(200 + 10 * graph.num_ends, 700 + 3 * graph.num_ends, MOST_STEPS),
        seed=goal.seed,
    )


def _starts(
    graph: Interactions, goal: Goal, proposals: Sequence[np.ndarray], width: int, walks: int
) -> Iterator[Start]:
    """Yield the best proposals for a width, each at several temperatures, and random ones."""
    blind = walks // 2 if graph.num_ends < FEW_ENDS else 0
    best = sorted(
        range(len(proposals)), key=lambda k: (_energy(graph, goal, proposals[k], width), k)
    )
    best = best[: max(1, (walks - blind) // 3)]
    for walk in range(walks - blind):
        labels = np.unique(proposals[best[walk % len(best)]], return_inverse=True)[1].reshape(-1)
        heat = 0.25 + 0.75 * (walk // len(best)) / max(1, (walks - blind) // len(best))
        fine = TOO_WIDE[walk // len(best) % 2]
        yield Start(labels, int(labels.max()) + 1 + _SPARE, width, HOT * heat, fine)
    rng = np.random.default_rng([goal.seed, width])
    for walk in range(blind):
        parts = -(-graph.num_qubits // width) + walk % (_SPARE + 1)
        labels = rng.integers(max(2, parts), size=graph.num_ends)
        labels = labels if goal.wire_cuts else labels[graph.qubit]
        yield Start(labels, max(2, parts), width, too_wide=TOO_WIDE[walk % 5 > 2])


def _energy(graph: Interactions, goal: Goal, labels: np.ndarray, width: int) -> float:
    """Return what the annealing would say of a proposal."""
    a, b = graph.blocks.T
    wires = graph.wires
    cut = labels[a] != labels[b]
    turns = wires[labels[wires] != labels[wires + 1]] + 1
    widths = np.bincount(labels, graph.first + graph.resets)
    widths = widths + np.bincount(labels[turns], minlength=len(widths))
    logs = graph.log_overheads[cut].sum() + len(turns) * wire_price().log_overhead
    too_many = max(0, graph.gates[cut].sum() + len(turns) - (goal.max_cuts or np.inf))
    return float(logs + TOO_WIDE[0] * np.maximum(widths - width, 0).sum() + TOO_MANY * too_many)
