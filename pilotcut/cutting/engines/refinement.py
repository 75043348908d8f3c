"""What is refined for how long: proposals of other engines, and partitions at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pilotcut.cutting.engines.annealing import HOT, TOO_MANY, TOO_WIDE, Start, anneal
from pilotcut.cutting.engines.goal import Goal
from pilotcut.cutting.interactions import Interactions, wire_price

#: Partitions that are moved at once, and in how many of them each move is made.
WALKS, STEPS = 48, 800

#: Circuits of fewer ends are searched from partitions at random too.
FEW_ENDS = 100

#: Steps for each end above so many; labels at random beyond what the width asks for.
_STEPS_PER_END, _SPARE = 4, 2


def refined(
    graph: Interactions, goal: Goal, proposals: Sequence[np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield the best that annealing makes of the most promising proposals."""
    if not len(graph.blocks):
        return
    widths = [w for w in goal.widths(graph, 6) if w < graph.num_qubits]
    starts = [s for w in widths for s in _starts(graph, goal, proposals, w, WALKS // len(widths))]
    yield from anneal(
        graph,
        starts,
        max_cuts=goal.max_cuts,
        wire_cuts=goal.wire_cuts,
        steps=STEPS + _STEPS_PER_END * max(0, graph.num_ends - FEW_ENDS),
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
        yield Start(labels, int(labels.max()) + 1 + _SPARE, width, HOT * heat)
    rng = np.random.default_rng([goal.seed, width])
    for walk in range(blind):
        parts = -(-graph.num_qubits // width) + walk % (_SPARE + 1)
        labels = rng.integers(max(2, parts), size=graph.num_ends)
        yield Start(labels if goal.wire_cuts else labels[graph.qubit], max(2, parts), width)


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
    return float(logs + TOO_WIDE * np.maximum(widths - width, 0).sum() + TOO_MANY * too_many)
