"""Local search: descent by the cost itself, where annealing knows the overhead alone.

Of the cheapest candidate of each number of cuts the ends beside its cuts change sides, as long
as that is cheaper and cuts no more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pilotcut.cutting.search.candidates import Candidate, Evaluator
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: Partitions that are looked at, for all numbers of cuts together: at most so many, and fewer
#: where each has many ends.
MOST_LOOKS, MOST_ENDS = 1200, 150_000


def polish(evaluator: Evaluator, goal: Goal) -> None:
    """Add what is found from the cheapest candidates to those of the evaluator."""
    assert goal.max_cuts is not None
    best: dict[int, tuple[Candidate, np.ndarray]] = {}
    for candidate, parts in evaluator.partitions():
        before = best.get(candidate.cuts)
        if _allowed(candidate, goal, goal.max_cuts) and (
            before is None or candidate.cost < before[0].cost
        ):
            best[candidate.cuts] = (candidate, parts)
    best.pop(0, None)
    looks = min(MOST_LOOKS, MOST_ENDS // evaluator.graph.num_ends)
    for cuts in sorted(best):
        _descend(evaluator, goal, *best[cuts], looks=looks // len(best))


def _allowed(candidate: Candidate, goal: Goal, most_cuts: int) -> bool:
    narrow = goal.max_width is None or candidate.max_width <= goal.max_width
    # Cuts that are asked for are not to be got rid of.
    many = not goal.narrow or candidate.cuts >= goal.least_cuts
    return narrow and many and candidate.cuts <= most_cuts


def _descend(
    evaluator: Evaluator, goal: Goal, candidate: Candidate, parts: np.ndarray, looks: int
) -> None:
    cuts = candidate.cuts
    better = True
    while better and looks > 0:
        better = False
        for labels in _neighbours(evaluator.graph, goal, parts):
            looks -= 1
            found = evaluator.look(labels)
            if found is None or not _allowed(found[0], goal, cuts):
                continue
            # By more than rounding: sums in another order could lead the descent round in a ring.
            if found[0].cost < candidate.cost * (1 - 1e-9):
                (candidate, parts), better = found, True
                break
            if looks <= 0:
                break


def _neighbours(graph: Interactions, goal: Goal, parts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield partitions in which one end at a cut, or what hangs on it, changes sides."""
    wires = graph.wires
    pairs = np.concatenate([graph.blocks, np.stack([wires, wires + 1], axis=1)])
    pairs = pairs[parts[pairs[:, 0]] != parts[pairs[:, 1]]]
    for end, other in np.concatenate([pairs, pairs[:, ::-1]]).tolist():
        for run in _runs(graph, parts, end, goal.wire_cuts):
            labels = parts.copy()
            labels[run] = parts[other]
            yield labels


def _runs(
    graph: Interactions, parts: np.ndarray, end: int, wire_cuts: bool
) -> Iterator[np.ndarray]:
    """Yield the qubit's ends in the same part; and, of these, one alone, or all on one side."""
    row = np.flatnonzero((graph.qubit == graph.qubit[end]) & (parts == parts[end]))
    yield row
    if wire_cuts and len(row) > 1:
        yield np.array([end])
        yield row[row <= end]
        yield row[row >= end]
