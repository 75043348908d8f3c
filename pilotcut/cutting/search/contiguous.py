"""Contiguous blocks of a good order: exact for chains, fast for all.

Ends are put in an order of *cells*, and dynamic programming finds the best way to split it
between them. A cell is one end, so that wires are cut where a block takes only some of a
qubit's; or all ends of a qubit, where wires stay whole or there are too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee
from scipy.sparse.linalg import eigsh

from pilotcut.cutting.search.candidates import FragmentShape
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: Tables over pairs of cells are made for this many at most; else cells are qubits.
MOST_CELLS = 800

#: Above this many cells fewer widths are tried.
MANY_CELLS = 250

#: Eigenvectors of larger graphs are found by iteration.
_DENSE = 400


def contiguous(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield the best splits of several orders, for each number of cuts and several widths."""
    for cell in _orders(graph, goal):
        blocks = _Blocks(graph, cell)
        costs = None if goal.max_cuts is None else _costs(blocks, goal)
        for width in _widths(graph, goal, cell):
            for starts in _splits(blocks, width, goal, costs):
                yield np.searchsorted(starts, cell, side="right")


def _widths(graph: Interactions, goal: Goal, cell: np.ndarray) -> list[int]:
    # Where narrow fragments cost less whatever else they have, one table finds the narrowest.
    if goal.narrow:
        return [graph.num_qubits]
    return goal.widths(graph, 4 if cell.max() >= MANY_CELLS else 8)


# -- orders ------------------------------------------------------------------------------


def _orders(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield the place of each end's cell in an order, (ends,)."""
    pairs = qubit_graph(graph)
    fine = goal.wire_cuts and graph.num_ends <= MOST_CELLS
    seen: set[bytes] = set()
    for qubits in (np.arange(graph.num_qubits), _bandwidth(pairs), spectral_order(pairs)):
        # The reverse of an order has the same blocks.
        if qubits.tobytes() in seen or qubits[::-1].tobytes() in seen:
            continue
        seen.add(qubits.tobytes())
        place = np.argsort(qubits)[graph.qubit]
        yield np.argsort(np.argsort(place, kind="stable")) if fine else place
    if fine:
        yield np.argsort(spectral_order(end_graph(graph)))


def qubit_graph(graph: Interactions) -> csr_matrix:
    """Return how strongly qubits are joined, (qubits, qubits): log gamma^2 of their gates."""
    rows, columns = graph.qubit[graph.blocks].T
    return _symmetric(rows, columns, graph.log_overheads, graph.num_qubits)


def end_graph(graph: Interactions) -> csr_matrix:
    """Return how strongly ends are joined by gates and wires, (ends, ends)."""
    wires = graph.wires
    rows = np.concatenate([graph.blocks[:, 0], wires])
    columns = np.concatenate([graph.blocks[:, 1], wires + 1])
    wire = np.full(len(wires), graph.wire.log_overhead)
    return _symmetric(rows, columns, np.concatenate([graph.log_overheads, wire]), graph.num_ends)


def _symmetric(rows: np.ndarray, columns: np.ndarray, data: np.ndarray, size: int) -> csr_matrix:
    # Cuts that cost nothing still join: with weights of 0 the Laplacian has more than one
    # eigenvalue 0, and its second vector orders nothing.
    some = coo_matrix((np.maximum(data, 1e-6), (rows, columns)), shape=(size, size))
    return csr_matrix(some + some.T)


def _bandwidth(pairs: csr_matrix) -> np.ndarray:
    return np.asarray(reverse_cuthill_mckee(pairs, symmetric_mode=True), dtype=int)


def spectral_order(weights: csr_matrix) -> np.ndarray:
    """Return vertices sorted by the Fiedler vector of their component, components in turn."""
    count, part = connected_components(weights, directed=False)
    order = []
    for k in range(count):
        members = np.flatnonzero(part == k)
        order.append(members[np.argsort(_fiedler(weights[members][:, members]), kind="stable")])
    return np.concatenate(order)


def _fiedler(weights: csr_matrix) -> np.ndarray:
    size = weights.shape[0]
    if size < 3:
        return np.arange(size)
    laplacian = -weights.toarray() if size <= _DENSE else None
    degrees = np.asarray(weights.sum(axis=1)).reshape(-1)
    if laplacian is not None:
        laplacian[np.diag_indices(size)] += degrees
        vector = np.linalg.eigh(laplacian)[1][:, 1]
    else:
        sparse = coo_matrix((degrees, (np.arange(size),) * 2)).tocsc() - weights.tocsc()
        start = np.linspace(-1, 1, size)  # else eigsh draws one, and runs differ
        # A shift of 0 would factorise the Laplacian itself, which is singular.
        vector = eigsh(sparse, k=2, sigma=-1e-3, v0=start)[1][:, 1]
    rounded = np.round(vector, 9)  # ties are broken by number and not by noise
    return rounded * (np.sign(rounded[np.flatnonzero(rounded)[:1]]).sum() or 1)


# -- blocks of an order ------------------------------------------------------------------


class _Blocks:
    """Figures of every block [s, e) of an order as a fragment, (cells + 1, cells + 1) each.

    `cuts` and `logs` count only what joins a block to earlier ones, so that they add up. Each
    is computed where it is asked for: the least overhead needs two of them.
    """

    def __init__(self, graph: Interactions, cell: np.ndarray) -> None:
        self._graph = graph
        self._edges = _Edges.of(graph, cell)
        self._wire = graph.wire
        self.size = self._edges.size

    def _with_wires(self, blocks: np.ndarray, wire: float) -> np.ndarray:
        return np.concatenate([blocks, np.full(len(self._graph.wires), wire)])

    @cached_property
    def cuts(self) -> np.ndarray:
        """Number of cuts to earlier blocks."""
        counts = self._with_wires(self._graph.cuts, 1.0)
        return self._edges.reaching_back(counts).round().astype(int)

    @cached_property
    def logs(self) -> np.ndarray:
        """Log gamma^2 of the cuts to earlier blocks."""
        logs = self._with_wires(self._graph.log_overheads, self._wire.log_overhead)
        return self._edges.reaching_back(logs)

    @cached_property
    def width(self) -> np.ndarray:
        """Number of qubits."""
        return self._edges.distinct(self._graph.qubit)

    @cached_property
    def gates(self) -> np.ndarray:
        """Number of gates that stay, local ones of cut gates included."""
        gates = self._edges.inside(self._graph.riding)
        gates += self._edges.within(self._with_wires(self._graph.gates, 0.0))
        left = self._edges.crossing(self._graph.sums(lambda p: p.locals), (0, 0))
        return (gates + left).round().astype(int)

    @cached_property
    def sites(self) -> np.ndarray:
        """Number of ends of cuts."""
        sites = self._graph.sums(lambda _: (1, 1))
        return self._edges.crossing(sites, (1, 1)).round().astype(int)

    @cached_property
    def variants(self) -> np.ndarray:
        """Logarithm of the number of variants: products become sums, as all else here."""
        logs = self._graph.sums(lambda p: (log(p.operations[0]), log(p.operations[1])))
        return self._edges.crossing(logs, np.log(self._wire.operations))

    @cached_property
    def branches(self) -> np.ndarray:
        """Logarithm of the number of branches."""
        logs = self._graph.sums(lambda p: (log(p.rank), log(p.rank)))
        return self._edges.crossing(logs, np.log([self._wire.rank, self._wire.rank]))


@dataclass(frozen=True)
class _Edges:
    """Blocks and wires, which join cells `low` <= `high` of an order of `size` cells."""

    size: int
    cell: np.ndarray
    low: np.ndarray
    high: np.ndarray
    turned: np.ndarray  # whether side 0 is at `high`

    @classmethod
    def of(cls, graph: Interactions, cell: np.ndarray) -> _Edges:
        wires = np.stack([graph.wires, graph.wires + 1], axis=1)
        where = cell[np.concatenate([graph.blocks, wires])]
        low, high = where.min(axis=1), where.max(axis=1)
        return cls(int(cell.max()) + 1, cell, low, high, where[:, 0] > where[:, 1])

    def _below(self, weights: np.ndarray) -> np.ndarray:
        """Return P[s, e], the weight of edges with low < s and high < e."""
        table = np.zeros((self.size + 1, self.size + 1))
        np.add.at(table, (self.low + 1, self.high + 1), weights)
        return table.cumsum(axis=0).cumsum(axis=1)

    def inside(self, weights: np.ndarray) -> np.ndarray:
        """Return the weight of the ends in [s, e)."""
        sums = np.concatenate([[0], np.cumsum(np.bincount(self.cell, weights, self.size))])
        return (sums[None, :] - sums[:, None]).astype(float)

    def distinct(self, kinds: np.ndarray) -> np.ndarray:
        """Return how many kinds of ends are in [s, e), given the kind of each end."""
        order = np.lexsort((self.cell, kinds))
        again = kinds[order[1:]] == kinds[order[:-1]]
        # Each kind is counted at its first end in the block: where the one before is outside.
        first = np.bincount(self.cell[order[np.concatenate([[True], ~again])]], minlength=self.size)
        begun = np.concatenate([[0], np.cumsum(first)])
        low, high = self.cell[order[:-1][again]], self.cell[order[1:][again]]
        links = _Edges(self.size, self.cell, low, high, np.zeros(len(low), dtype=bool))
        back = links.reaching_back(np.ones(len(low)))
        return (begun[None, :] - begun[:, None] + back).round().astype(int)

    def within(self, weights: np.ndarray) -> np.ndarray:
        """Return the weight of edges with both ends in [s, e)."""
        below = self._below(weights)
        return np.diagonal(below)[None, :] - below

    def reaching_back(self, weights: np.ndarray) -> np.ndarray:
        """Return the weight of edges from [s, e) to [0, s)."""
        below = self._below(weights)
        return below - np.diagonal(below)[:, None]

    def _reaching_on(self, weights: np.ndarray) -> np.ndarray:
        """Return the weight of edges from [s, e) to [e, size)."""
        below = self._below(weights)
        starting = below[:, -1]
        return starting[None, :] - starting[:, None] - np.diagonal(below)[None, :] + below

    def crossing(self, blocks: np.ndarray, wire: tuple[float, float] | np.ndarray) -> np.ndarray:
        """Return the weight of sites in [s, e), given for both sides of blocks and wires."""
        count = len(self.low) - len(blocks)
        sides = np.concatenate([blocks, np.tile(np.asarray(wire, dtype=float), (count, 1))])
        at_low = np.where(self.turned, sides[:, 1], sides[:, 0])
        at_high = np.where(self.turned, sides[:, 0], sides[:, 1])
        return self.reaching_back(at_high) + self._reaching_on(at_low)


# -- dynamic programming -----------------------------------------------------------------


#: Splits that are of use where one number of cuts is asked for.
_NEAR = 4

#: A millionth of it is the logarithm of the most variants that a float can count.
_MOST_COUNTED = 700 * 10**6


def _costs(blocks: _Blocks, goal: Goal) -> np.ndarray:
    """Return the cost of every block that may be a fragment, else infinity."""
    assert goal.max_cuts is not None
    some = np.triu(blocks.sites <= goal.max_cuts, 1)
    if goal.max_width is not None:
        some &= blocks.width <= goal.max_width
    costs = np.full(some.shape, np.inf)
    if goal.narrow:
        costs[some] = goal.costs_of_widths(blocks.width[some])
        return costs
    # The logarithms of equal products differ in last digits by their order: rounded to millionths,
    # equal blocks are priced once.
    figures = np.stack(
        [
            blocks.width[some],
            blocks.gates[some],
            blocks.sites[some],
            np.round(1e6 * blocks.variants[some]),
            np.round(1e6 * blocks.branches[some]),
        ],
        axis=1,
    ).astype(np.int64)
    _, chosen, which = np.unique(_hashed(figures), return_index=True, return_inverse=True)
    found = [_cost_of(row, goal) for row in figures[chosen].tolist()]
    costs[some] = np.array(found)[which.reshape(-1)]
    return costs


def _hashed(rows: np.ndarray) -> np.ndarray:
    """Return one number a row; sorting them is many times faster than sorting rows."""
    # Odd factors lose no bit modulo 2^64.
    factors = np.random.default_rng(0).integers(1, 2**62, rows.shape[1]) | 1
    return rows @ factors


def _cost_of(row: list[int], goal: Goal) -> float:
    if max(row[3:]) > _MOST_COUNTED:
        # Beyond all others and still finite: infinite is what may be no fragment at all.
        return 1e300
    variants, branches = (round(np.exp(x / 1e6)) for x in row[3:])
    return goal.cost(FragmentShape(row[0], row[1], row[2], variants, branches))


def _splits(
    blocks: _Blocks, width: int, goal: Goal, costs: np.ndarray | None
) -> Iterator[np.ndarray]:
    """Yield where blocks begin, but for the first.

    For each number of cuts the split of least cost; without a limit on cuts, the one split of
    least overhead.
    """
    size = blocks.size
    columns = 1 if goal.max_cuts is None else goal.max_cuts + 1
    table = np.full((size + 1, columns), np.inf)
    table[0, 0] = 0
    links = np.full((size + 1, columns, 2), -1)
    counted = np.zeros_like(blocks.width) if goal.max_cuts is None else blocks.cuts
    # Of equal overheads the split into even blocks.
    price = blocks.logs + 1e-6 * blocks.width**2 if costs is None else costs
    fits = np.triu((blocks.width <= width) & (counted < columns) & np.isfinite(price), 1)
    wanted = np.arange(columns)
    for end in range(1, size + 1):
        starts = np.flatnonzero(fits[:end, end])
        if not len(starts):
            continue
        # All numbers of cuts at once: a row of the table is as long as there are numbers that are
        # asked for.
        left = wanted[None, :] - counted[starts, end][:, None]
        sums = np.where(left >= 0, table[starts[:, None], np.maximum(left, 0)], np.inf)
        sums = sums + price[starts, end][:, None]
        best = sums.argmin(axis=0)
        table[end] = sums[best, wanted]
        links[end, :, 0], links[end, :, 1] = starts[best], left[best, wanted]
    found = np.flatnonzero(np.isfinite(table[size]))
    # Fewer cuts than are asked for are a start for the annealing at best.
    for column in found[-_NEAR:] if goal.narrow else found:
        yield _traced(links, int(column))


def _traced(links: np.ndarray, column: int) -> np.ndarray:
    """Return where the blocks of a split begin, but for the first."""
    starts = []
    end = len(links) - 1
    while end:
        end, column = (int(k) for k in links[end, column])
        starts.append(end)
    return np.array(starts[-2::-1], dtype=int)
