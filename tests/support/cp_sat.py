"""The proven least overhead for fragments of a given width, by OR-tools' CP-SAT.

An integer program over gate and wire cuts: slow, and right. Tests and benchmarks measure the
search by it. OR-tools is imported on first use only; it comes with ``pip install pilotcut[test]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotcut.cutting.search.contiguous import contiguous
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions
from pilotcut.errors import CutError
from pilotcut.options import check_seed

#: Logarithms become whole numbers of this many units.
_UNITS = 10_000

#: Seconds after which a solver stops, where nobody says else.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Optimum:
    """What the solver found.

    Parameters
    ----------
    labels
        Integer array (ends,).
    log_overhead
        Sum of log gamma^2 over all cuts.
    proven
        Whether nothing is better.
    """

    labels: np.ndarray
    log_overhead: float
    proven: bool


def log_overhead(graph: Interactions, labels: np.ndarray) -> float:
    """Return the sum of log gamma^2 over what labels (ends,) cut."""
    a, b = graph.blocks.T
    wires = graph.wires
    cut_wires = np.count_nonzero(labels[wires] != labels[wires + 1])
    gates = graph.log_overheads[labels[a] != labels[b]].sum()
    return float(gates + cut_wires * graph.wire.log_overhead)


def widest(graph: Interactions, labels: np.ndarray) -> int:
    """Return the number of qubits of the widest fragment."""
    return max(len(set(graph.qubit[labels == label].tolist())) for label in set(labels.tolist()))


def optimum(
    graph: Interactions,
    *,
    max_width: int,
    max_cuts: int | None = None,
    wire_cuts: bool = True,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
    workers: int = 1,
) -> Optimum | None:
    """Return the least overhead within the limits; None where there is no plan.

    Raises
    ------
    CutError
        If OR-tools is not installed, or it found nothing in time.
    """
    check_seed(seed)
    cp_model = _ortools()
    start = _feasible(graph, max_width, wire_cuts)
    model = _Model(cp_model, graph, max_width, start)
    if not wire_cuts:
        model.forbid_wire_cuts()
    if max_cuts is not None:
        model.limit_cuts(max_cuts)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = patience_s
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed % 2**31  # its seeds are as big
    status = solver.solve(model.model)
    if status == cp_model.INFEASIBLE:
        return None
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise CutError(
            f"CP-SAT found no plan of {graph.num_ends} ends in {patience_s:g} s, expected a small "
            f"circuit; leave the engine out for 'auto'"
        )
    labels = model.labels(solver)
    return Optimum(labels, log_overhead(graph, labels), status == cp_model.OPTIMAL)


def cp_sat(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield the optimum for the goal's width, or for several widths where it has none."""
    for width in goal.widths(graph, 6):
        found = optimum(
            graph,
            max_width=width,
            max_cuts=goal.max_cuts,
            wire_cuts=goal.wire_cuts,
            seed=goal.seed,
        )
        if found is not None:
            yield found.labels


def _ortools() -> Any:
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise CutError(
            f"CP-SAT was asked, expected OR-tools to be installed ({error}); pip install ortools"
        ) from error
    return cp_model


def _feasible(graph: Interactions, max_width: int, wire_cuts: bool) -> np.ndarray:
    """Return some plan that is narrow enough; each qubit on its own where nothing else is."""
    plans = contiguous(graph, Goal(None, max_width, wire_cuts=wire_cuts))
    fitting = [plan for plan in plans if widest(graph, plan) <= max_width]
    return min(fitting, key=lambda p: log_overhead(graph, p), default=graph.qubit)


class _Model:
    """Which label each end has, and what is cut therefore."""

    def __init__(self, cp_model: Any, graph: Interactions, width: int, start: np.ndarray) -> None:
        self.model = cp_model.CpModel()
        self._graph = graph
        self._parts = _most_parts(graph, width, log_overhead(graph, start))
        shape = (graph.num_ends, self._parts)
        self._is = np.array(
            [[self.model.new_bool_var(f"{e}{k}") for k in range(shape[1])] for e in range(shape[0])]
        )
        for row in self._is:
            self.model.add_exactly_one(row.tolist())
        self._break_symmetry()
        self._gates = [self._differ(a, b).sum() for a, b in graph.blocks]
        self._starts = {wire: self._differ(wire + 1, wire) for wire in graph.wires}
        self._limit_widths(width)
        self._minimise()

    def _differ(self, one: int, other: int) -> np.ndarray:
        """Return for each label whether `one` has it and `other` has not."""
        found = np.array([self.model.new_bool_var("") for _ in range(self._parts)])
        for k, variable in enumerate(found):
            self.model.add_bool_or([~self._is[one, k], self._is[other, k], variable])
        return found

    def _break_symmetry(self) -> None:
        """Let labels appear in order: k only behind some end of label k - 1."""
        for end, row in enumerate(self._is):
            for k in range(1, self._parts):
                self.model.add_bool_or([~row[k], *self._is[:end, k - 1].tolist()])

    def _limit_widths(self, width: int) -> None:
        for k in range(self._parts):
            there = [self.model.new_bool_var("") for _ in range(self._graph.num_qubits)]
            for end, qubit in enumerate(self._graph.qubit.tolist()):
                self.model.add_implication(self._is[end, k], there[qubit])
            self.model.add(sum(there) <= width)

    def _minimise(self) -> None:
        units = np.round(_UNITS * self._graph.log_overheads).astype(int).tolist()
        wire = round(_UNITS * self._graph.wire.log_overhead)
        cuts = sum(u * c for u, c in zip(units, self._gates, strict=True))
        self.model.minimize(cuts + wire * sum(some.sum() for some in self._starts.values()))

    def limit_cuts(self, most: int) -> None:
        """Allow only so many cuts."""
        gates = self._graph.cuts.tolist()
        cuts = sum(n * c for n, c in zip(gates, self._gates, strict=True))
        self.model.add(cuts + sum(some.sum() for some in self._starts.values()) <= most)

    def forbid_wire_cuts(self) -> None:
        """Keep every qubit on one wire."""
        for variables in self._starts.values():
            self.model.add(variables.sum() == 0)

    def labels(self, solver: Any) -> np.ndarray:
        """Return the labels of a solution, (ends,)."""
        return np.array([[solver.value(v) for v in row] for row in self._is]).argmax(axis=1)


def _most_parts(graph: Interactions, width: int, bound: float) -> int:
    """Return how many fragments an optimum may have.

    Two fragments that fit together may as well be one, so any two of K have more than `width`
    qubits between them, and all have at least ``K (width + 1) / 2``. What an optimum costs limits
    its wire cuts, and so its wires.
    """
    wires = graph.num_qubits + int(min(bound / graph.wire.log_overhead, len(graph.wires)))
    return max(1, min(graph.num_ends, 2 * wires // (width + 1)))
