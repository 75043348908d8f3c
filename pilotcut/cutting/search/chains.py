"""Multi-controlled gates in a partition: into which parts each falls, and what that costs.

Engines see a chain of blocks for each. Here a partition is given its true price: the form that the
gate will have between these parts, with its cuts and its ancillas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pilotcut.circuits.program import Bare
from pilotcut.cutting.controlled import cheapest_form
from pilotcut.cutting.controlled_draft import Form
from pilotcut.cutting.search.interaction_graph import Chain, Interactions


@dataclass(frozen=True)
class CutChain:
    """A multi-controlled gate between parts.

    Parameters
    ----------
    chain
        The gate.
    parts
        The parts that it lies in: `Form` numbers them as sides.
    form
        What it is cut as.
    """

    chain: Chain
    parts: tuple[int, ...]
    form: Form


class Chains:
    """The chains of a graph, for all partitions of its ends.

    Parameters
    ----------
    graph
        The ends and what joins them.
    """

    def __init__(self, graph: Interactions) -> None:
        self.chains = graph.chains
        self._bare = [Bare(chain.step) for chain in graph.chains]
        self._forms: dict[tuple[object, ...], Form] = {}
        #: Boolean (blocks,): those that are gates of their own.
        self.alone = np.ones(len(graph.blocks), dtype=bool)
        within, pairs = [np.zeros((0, 2), dtype=int)], [graph.blocks]
        for chain in graph.chains:
            self.alone[chain.blocks] = False
            within.append(chain.within)
            # Two qubits of a gate may lie in one part though the chain between them does not.
            pairs.append(np.array(list(combinations(chain.ends.tolist(), 2))))
        self._within = np.concatenate(within)
        self._ends = np.array([end for chain in graph.chains for end in chain.ends], dtype=int)
        self._starts = np.cumsum([0, *(len(chain.ends) for chain in graph.chains)])[:-1]
        #: Integer array (pairs, 2): ends that are in one part if they have one label.
        self.joins = np.concatenate(pairs)

    def settled(self, labels: np.ndarray) -> np.ndarray:
        """Return labels of ends in which no wire is cut within a chain, but behind it."""
        if not len(self._within):
            return labels
        labels = labels.copy()
        later, first = self._within.T
        labels[later] = labels[first]
        return labels

    def cut(self, parts: np.ndarray, widths: np.ndarray, most: float) -> list[CutChain]:
        """Return the chains that a partition cuts.

        Parameters
        ----------
        parts
            Integer array (ends,).
        widths
            Integer array (parts,): how wide the parts are without ancillas.
        most
            How wide they may be.
        """
        if not self.chains:
            return []
        low, high = (
            of.reduceat(parts[self._ends], self._starts) for of in (np.minimum, np.maximum)
        )
        found = []
        for number in np.flatnonzero(low != high).tolist():
            where = parts[self.chains[number].ends].tolist()
            names = tuple(dict.fromkeys(where))
            sides = tuple(names.index(part) for part in where)
            room = tuple(max(0.0, most - int(widths[part])) for part in names)
            form = self._form(self._bare[number], sides, room)
            found.append(CutChain(self.chains[number], names, form))
        return found

    def _form(self, bare: Bare, sides: Sequence[int], room: Sequence[float]) -> Form:
        key = (bare, sides, room)
        if key not in self._forms:
            self._forms[key] = cheapest_form(bare.step, sides, room)
        return self._forms[key]
