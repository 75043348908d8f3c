"""Partitions of wide circuits by multilevel partitioners, over gates and wires.

The vertices are the ends of gates, or whole qubits where wires stay whole; edges weigh log
gamma^2. Mt-KaHyPar is asked, pymetis where it is not installed, and recursive bisection
along Fiedler vectors where neither is. They balance first wires and know nothing of those
that wire cuts begin, so that what they find is to be refined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, triu

from pilotcut.cutting.search.contiguous import end_graph, qubit_graph, spectral_order
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: (weights of edges, weights of vertices, parts, largest part / mean - 1, seed) -> labels.
Partitioner = Callable[[csr_matrix, np.ndarray, int, float, int], np.ndarray]

#: Circuits of more ends are divided by whole qubits.
MOST_ENDS = 4000

# Whole numbers that weights become: units of log gamma^2, and of a first wire.
_UNITS, _WIRE = 100, 8


def hypergraph(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield partitions for several widths, each in as few parts as fit, and in one more."""
    if not len(graph.blocks):
        return
    partition = partitioner()
    by_ends = goal.wire_cuts and graph.num_ends <= MOST_ENDS
    weights, vertices = _weighed(graph, by_ends)
    for width in goal.widths(graph, 3):
        fewest = ceil(graph.num_qubits / width)
        for parts in sorted({max(2, fewest), fewest + 1}):
            slack = max(0.03, width * parts / graph.num_qubits - 1)
            labels = partition(weights, vertices, parts, slack, goal.seed)
            yield labels if by_ends else labels[graph.qubit]


def partitioner() -> Partitioner:
    """Return the best one that is installed."""
    for attempt in (_mtkahypar, _pymetis):
        try:
            return attempt()
        except ImportError:
            continue
    return bisected


def _weighed(graph: Interactions, by_ends: bool) -> tuple[csr_matrix, np.ndarray]:
    """Return the weights of edges and of vertices, which are ends or qubits."""
    if by_ends:
        return end_graph(graph), 1 + (_WIRE - 1) * graph.first
    return qubit_graph(graph), np.full(graph.num_qubits, _WIRE)


def _edges(weights: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return edges (edges, 2) and whole weights of at least one."""
    upper = triu(weights, 1).tocoo()
    edges = np.stack([upper.row, upper.col], axis=1)
    return edges, np.maximum(1, np.round(_UNITS * upper.data)).astype(int)


# -- installed partitioners --------------------------------------------------------------


def _mtkahypar() -> Partitioner:
    library, initializer = _initialized()

    def partition(
        weights: csr_matrix, vertices: np.ndarray, parts: int, slack: float, seed: int
    ) -> np.ndarray:
        library.set_seed(seed % 2**31)  # its seeds are as big
        # Of its presets the one that promises equal partitions for equal seeds.
        context = initializer.context_from_preset(library.PresetType.DETERMINISTIC)
        context.set_partitioning_parameters(parts, slack, library.Objective.CUT)
        edges, costs = _edges(weights)
        made = initializer.create_graph(
            context, len(vertices), len(edges), edges.tolist(), vertices.tolist(), costs.tolist()
        )
        return np.array(made.partition(context).get_partition(), dtype=int)

    return partition


@lru_cache(maxsize=1)
def _initialized() -> tuple[Any, Any]:
    import mtkahypar

    return mtkahypar, mtkahypar.initialize(1)  # one thread; once for a process


def _pymetis() -> Partitioner:
    import pymetis

    def partition(
        weights: csr_matrix, vertices: np.ndarray, parts: int, slack: float, seed: int
    ) -> np.ndarray:
        whole = csr_matrix(weights)
        _, labels = pymetis.part_graph(
            parts,
            **_adjacency(pymetis, whole),
            vweights=vertices.tolist(),
            eweights=np.maximum(1, np.round(_UNITS * whole.data)).astype(int).tolist(),
            # METIS reads ufactor as the imbalance in thousandths.
            options=pymetis.Options(seed=seed % 2**31, ufactor=max(1, round(1000 * slack))),
        )
        return np.array(labels, dtype=int)

    return partition


def _adjacency(pymetis: Any, weights: csr_matrix) -> dict[str, Any]:
    """Return neighbours in the words of pymetis 2025.2 and later, or of those before."""
    lists = weights.indptr.tolist(), weights.indices.tolist()
    if hasattr(pymetis, "CSRAdjacency"):
        return {"adjacency": pymetis.CSRAdjacency(*lists)}
    return dict(zip(("xadj", "adjncy"), lists, strict=True))


# -- our own -----------------------------------------------------------------------------


def bisected(
    weights: csr_matrix, vertices: np.ndarray, parts: int, slack: float, seed: int
) -> np.ndarray:
    """Return parts from splitting the heaviest again and again, where its order is thinnest."""
    del slack, seed  # splits are near to even, and nothing is drawn
    labels = np.zeros(len(vertices), dtype=int)
    for part in range(1, parts):
        weight = np.bincount(labels, vertices)
        members = np.flatnonzero(labels == weight.argmax())
        if len(members) < 2:
            break
        share = weight.max() / weight.sum() * parts  # of how many parts this one is to become
        members = members[spectral_order(weights[members][:, members])]
        place = _thinnest(weights[members][:, members], vertices[members], max(2, round(share)))
        labels[members[place:]] = part
    return labels


def _thinnest(weights: csr_matrix, vertices: np.ndarray, parts: int) -> int:
    """Return where an order is cut by the least weight, near a whole number of parts."""
    upper = triu(weights, 1).tocoo()
    steps = np.zeros(len(vertices) + 1)
    np.add.at(steps, upper.row + 1, upper.data)
    np.add.at(steps, upper.col + 1, -upper.data)
    crossing = steps.cumsum()[1:-1]
    left = vertices.cumsum()[:-1]
    total = vertices.sum()
    off = np.abs(left - total * (parts // 2) / parts)
    near = off <= max(0.06 * total, off.min())
    return int(np.where(near, crossing, np.inf).argmin()) + 1
