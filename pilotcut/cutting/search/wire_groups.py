"""Parallel wires of a partition: which of them a plan can cut together, and what all of them cost.

An estimate from below: two groups that wait for each other, and groups that would make a fragment
wider, are known to the plan alone. Refuses to know what else a partition cuts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from pilotcut.cutting.prices import Price, wire_price
from pilotcut.cutting.search.interaction_graph import Interactions
from pilotcut.cutting.wire_ways import SentWires, ways_of
from pilotcut.cutting.wires import MOST_WIRES
from pilotcut.options import COMMUNICATION, SEPARATE


class WireGroups:
    """Groups of parallel wires, and their prices.

    Parameters
    ----------
    graph
        The ends, and how its wires are cut.
    """

    def __init__(self, graph: Interactions) -> None:
        self._graph = graph

    def priced(
        self, parts: np.ndarray, wires: Sequence[int], others: Iterable[tuple[int, int]]
    ) -> list[tuple[tuple[int, int], Price]] | None:
        """Return what is cut together, as the parts on its two sides and its price.

        Parameters
        ----------
        parts
            Integer array (ends,).
        wires
            The wires that are cut, by the end in front of each.
        others
            The parts on the two sides of each further wire, behind the wires' groups in the result.

        Returns
        -------
        list or None
            None where communication is asked for and no order of the parts suits.
        """
        groups = self._grouped(parts, wires)
        sent = [SentWires(int(parts[g[0]]), int(parts[g[0] + 1]), len(g)) for g in groups]
        sent += [SentWires(a, b) for a, b in others]
        ways = ways_of(sent, self._graph.cut_as)
        if self._graph.cut_as == COMMUNICATION and set(ways) - {COMMUNICATION}:
            return None
        return [
            ((one.sender, one.receiver), wire_price(way, one.number))
            for one, way in zip(sent, ways, strict=True)
        ]

    def _grouped(self, parts: np.ndarray, wires: Sequence[int]) -> list[list[int]]:
        """Return the wires in groups, gathered as `pilotcut.cutting.joint.parallel_groups` does."""
        if self._graph.cut_as == SEPARATE or len(wires) < 2:
            return [[wire] for wire in wires]
        start = self._graph.start
        groups: list[list[int]] = []
        between: dict[tuple[int, int], list[list[int]]] = {}
        for wire in sorted(wires, key=lambda w: (start[w + 1], w)):
            pair = int(parts[wire]), int(parts[wire + 1])
            for group in between.setdefault(pair, []):
                if len(group) < MOST_WIRES and not any(self._before(w, wire) for w in group):
                    group.append(wire)
                    break
            else:
                groups.append([wire])
                between[pair].append(groups[-1])
        return groups

    def _before(self, wire: int, other: int) -> bool:
        """Return whether a path leads from behind one wire to what is in front of another."""
        node = self._nodes
        return bool(self._ancestors[node[other]] >> node[wire + 1] & 1)

    @cached_property
    def _nodes(self) -> list[int]:
        """The node of each end: those of one gate, or of one block of gates, are one."""
        graph = self._graph
        node = np.arange(graph.num_ends)
        for a, b in graph.blocks[graph.gates > 0]:
            node[node == node[b]] = node[a]
        for chain in graph.chains:
            some = np.unique(np.concatenate([chain.ends, chain.within.reshape(-1)]))
            node[np.isin(node, node[some])] = node[some[0]]
        return [int(n) for n in node]

    @cached_property
    def _ancestors(self) -> dict[int, int]:
        """For each node the nodes that a path leads from, itself among them, as bits."""
        graph, node = self._graph, self._nodes
        before: dict[int, set[int]] = {n: set() for n in node}
        ties = graph.blocks[graph.gates == 0].tolist()
        for a, b in [*((w, w + 1) for w in graph.wires.tolist()), *ties]:
            if node[a] != node[b]:
                before[node[b]].add(node[a])
        first: dict[int, int] = {}
        for end, n in enumerate(node):
            first[n] = min(first.get(n, int(graph.start[end])), int(graph.start[end]))
        found: dict[int, int] = {}
        for n in sorted(first, key=first.__getitem__):
            bits = 1 << n
            for earlier in before[n]:
                bits |= found.get(earlier, 0)
            found[n] = bits
        return found
