"""Simulated annealing: many partitions at once, a move in each at every step.

A move gives a run of one qubit's ends another label: a single end, all from or up to an end,
the wire around it, or the whole qubit. What it changes lies in one row, so that all partitions
are moved by a few array operations. Widths and numbers of cuts may be exceeded at a price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: Temperatures in units of log gamma^2, where a CX is 2.2 and a wire 2.8.
HOT, COLD = 2.0, 0.12

#: Prices of a wire more than allowed, for walks in turn; and of a cut more than allowed.
TOO_WIDE, TOO_MANY = (5.0, 2.5), 5.0

# Steps that are drawn at once.
_CHUNK = 64


@dataclass(frozen=True)
class Start:
    """A partition to begin with and what it is refined for.

    Parameters
    ----------
    labels
        Integer array (ends,), below `parts`.
    parts
        Number of labels.
    max_width
        Of a fragment.
    hot
        The first temperature.
    too_wide
        Price of a wire more than `max_width`. A low one gets around more, a high one less lost.
    """

    labels: np.ndarray
    parts: int
    max_width: int
    hot: float = HOT
    too_wide: float = TOO_WIDE[0]


def anneal(
    graph: Interactions, starts: Sequence[Start], goal: Goal, steps: int
) -> Iterator[np.ndarray]:
    """Yield the best partition that each start leads to, if any is within its limits."""
    if not starts or not len(graph.blocks):
        return
    walk = _Walk(graph, starts, goal)
    walk.run(steps, np.random.default_rng(goal.seed))
    yield from walk.best_labels()


class _Rows:
    """The ends of each qubit in a row, (qubits, length), the short ones padded."""

    def __init__(self, graph: Interactions) -> None:
        self.lengths = np.bincount(graph.qubit, minlength=graph.num_qubits)
        self.length = int(self.lengths.max())
        column = np.arange(graph.num_ends) - np.flatnonzero(graph.first)[graph.qubit]
        self.place = graph.qubit * self.length + column  # of each end in the flattened rows
        shape = (graph.num_qubits, self.length)
        self.price, self.count = np.zeros(shape), np.zeros(shape)
        partner = np.arange(shape[0] * shape[1])
        for side in (0, 1):
            ends = self.place[graph.blocks[:, side]]
            partner[ends] = self.place[graph.blocks[:, 1 - side]]
            self.price.flat[ends] = graph.log_overheads
            self.count.flat[ends] = graph.cuts
        self.partner = partner.reshape(shape)
        # The end that stands in each place; behind a row's last, the last.
        ends = np.cumsum(self.lengths)[:, None] - self.lengths[:, None]
        self.end = ends + np.minimum(np.arange(self.length), self.lengths[:, None] - 1)


@dataclass(frozen=True)
class _Moves:
    """Random draws of some steps in advance, (steps, walks) or (steps, walks, length).

    Places count through the labels of all walks.
    """

    places: np.ndarray
    partners: np.ndarray
    price: np.ndarray
    count: np.ndarray
    here: np.ndarray  # the place that the move is about
    source: np.ndarray  # the place whose label it proposes
    anyone: np.ndarray  # the label it proposes instead, or -1
    run: np.ndarray  # which ends move, beside those of
    like: np.ndarray  # the label of `here`, where this is true
    luck: np.ndarray  # -log of a uniform draw

    @classmethod
    def drawn(
        cls, rows: _Rows, parts: np.ndarray, wire_cuts: bool, steps: int, rng: np.random.Generator
    ) -> _Moves:
        draws = rng.random((6, steps, len(parts)))
        qubit = (draws[0] * len(rows.lengths)).astype(int)
        last = rows.lengths[qubit] - 1
        here = (draws[1] * (last + 1)).astype(int)
        column = np.arange(rows.length)
        offset = np.arange(len(parts)) * rows.partner.size
        first = offset + qubit * rows.length
        # The label of a gate's partner, of a neighbour on the qubit, or any.
        beside = np.where(draws[2] < 0.65, np.maximum(here - 1, 0), np.minimum(here + 1, last))
        partner = offset + rows.partner[qubit, here]
        anyone = np.where(draws[2] < 0.8, -1, (draws[5] * parts).astype(int))
        run = _runs(here[..., None], last[..., None], column, draws[3][..., None])
        return cls(
            places=first[..., None] + column,
            partners=offset[:, None] + rows.partner[qubit],
            price=rows.price[qubit],
            count=rows.count[qubit],
            here=first + here,
            source=np.where(draws[2] < 0.5, partner, first + beside),
            anyone=anyone,
            run=run if wire_cuts else np.ones_like(run),
            like=(draws[3] > 0.6) & (draws[3] < 0.85) & wire_cuts,
            # Metropolis: u < exp(-dE/T) is dE < -T log u. A draw may be 0, hence the least number
            # added.
            luck=-np.log(1e-300 + draws[4]),
        )


def _runs(here: np.ndarray, last: np.ndarray, column: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Return which ends move: one, all behind it, all before it, or the whole row.

    Padding goes with a row's last end.
    """
    column = np.minimum(column, last)
    run = np.where(draw < 0.2, column == here, column >= here)
    run = np.where(draw < 0.4, run, (draw < 0.6) & (column <= here))
    return run | (draw > 0.85)


class _Walk:
    """The state of all partitions: labels (walks x places), widths (walks, labels), energies."""

    def __init__(self, graph: Interactions, starts: Sequence[Start], goal: Goal) -> None:
        self._rows = _Rows(graph)
        self._wire = graph.wire.log_overhead
        self._wire_cuts = goal.wire_cuts
        self._labels = np.concatenate([s.labels[self._rows.end].reshape(-1) for s in starts])
        self._parts = np.array([s.parts for s in starts])
        self._limit = np.array([s.max_width for s in starts])[:, None]
        self._too_wide = np.array([s.too_wide for s in starts])
        self._hot = np.array([s.hot for s in starts])
        self._most_cuts = np.inf if goal.max_cuts is None else goal.max_cuts
        self._least_cuts = goal.least_cuts if goal.narrow else 0
        self._shape = (len(starts), int(self._parts.max()))  # of what is counted by label
        self._walks = np.arange(len(starts))[:, None]
        self._count_all()

    def _count_all(self) -> None:
        walks, rows = self._shape[0], self._rows
        labels = self._labels.reshape(walks, *rows.partner.shape)
        partners = self._labels.reshape(walks, -1)[:, rows.partner]
        apart = labels != partners
        turns = labels[:, :, 1:] != labels[:, :, :-1]
        # A gate is seen from both of its ends, hence the halves.
        self._cuts = (apart * rows.count).sum(axis=(1, 2)) / 2 + turns.sum(axis=(1, 2))
        self._logs = (apart * rows.price).sum(axis=(1, 2)) / 2
        self._logs += self._wire * turns.sum(axis=(1, 2))
        self._widths = np.zeros(self._shape)
        for qubit in range(labels.shape[1]):
            self._widths += self._having(labels[:, qubit])
        self._energy = self._logs + self._fines(self._cuts, self._widths)
        self._best = np.full(walks, np.inf)
        self._best_labels = self._labels.copy()
        self._keep(np.ones(walks, dtype=bool))

    def _having(self, row: np.ndarray) -> np.ndarray:
        """Return 1 for each label that some end of a row has in each walk, (walks, labels)."""
        found = np.zeros(self._shape)
        found[self._walks, row] = 1
        return found

    def _fines(self, cuts: np.ndarray, widths: np.ndarray) -> np.ndarray:
        fines = self._too_wide * np.maximum(widths - self._limit, 0).sum(axis=1)
        if np.isfinite(self._most_cuts):
            fines += TOO_MANY * np.maximum(cuts - self._most_cuts, 0)
        if self._least_cuts:
            fines += TOO_MANY * np.maximum(self._least_cuts - cuts, 0)
        return fines

    def run(self, steps: int, rng: np.random.Generator) -> None:
        """Make that many moves in every partition, cooling down."""
        for begun in range(0, steps, _CHUNK):
            size = min(_CHUNK, steps - begun)
            moves = _Moves.drawn(self._rows, self._parts, self._wire_cuts, size, rng)
            for k in range(size):
                time = (begun + k) / max(1, steps - 1)
                self._move(moves, k, self._hot * (COLD / self._hot) ** time)

    def _move(self, moves: _Moves, k: int, temperature: np.ndarray) -> None:
        """Propose a move in every partition, and make those that the temperature allows."""
        labels = self._labels
        old, partners = labels[moves.places[k]], labels[moves.partners[k]]
        label = np.where(moves.anyone[k] < 0, labels[moves.source[k]], moves.anyone[k])
        run = moves.run[k] | (moves.like[k][:, None] & (old == labels[moves.here[k]][:, None]))
        new = np.where(run, label[:, None], old)
        turns, before = new[:, 1:] != new[:, :-1], old[:, 1:] != old[:, :-1]
        change = (new != partners).astype(float) - (old != partners)
        wires = turns.sum(axis=1) - before.sum(axis=1)
        logs = self._logs + (change * moves.price[k]).sum(axis=1) + self._wire * wires
        cuts = self._cuts + (change * moves.count[k]).sum(axis=1) + wires
        widths = self._widths + self._having(new) - self._having(old)
        energy = logs + self._fines(cuts, widths)
        taken = energy - self._energy <= temperature * moves.luck[k]
        labels[moves.places[k][taken]] = new[taken]
        for state, after in ((self._logs, logs), (self._cuts, cuts), (self._energy, energy)):
            np.copyto(state, after, where=taken)
        np.copyto(self._widths, widths, where=taken[:, None])
        self._keep(taken)

    def _keep(self, taken: np.ndarray) -> None:
        """Remember partitions that are within their limits and better than any before."""
        better = taken & (self._energy < self._best - 1e-9)
        if better.any():
            better &= self._energy <= self._logs + 1e-9  # no fines
            self._best[better] = self._logs[better]
            walks = self._shape[0]
            self._best_labels.reshape(walks, -1)[better] = self._labels.reshape(walks, -1)[better]

    def best_labels(self) -> Iterator[np.ndarray]:
        """Yield the best labels of ends, (ends,), of each walk that has any, the best first."""
        order = np.argsort(self._best, kind="stable")
        for walk in order[np.isfinite(self._best[order])]:
            yield self._best_labels.reshape(self._shape[0], -1)[walk][self._rows.place]
