"""Goal of a cut search, and what an engine is: a function from a graph and a goal to partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np

from pilotcut.cutting.search.candidates import Cost, FragmentShape, proxy_cost
from pilotcut.cutting.search.interaction_graph import Interactions


@dataclass(frozen=True)
class Goal:
    """Limits of a search, and the cost that is to be small.

    Parameters
    ----------
    max_cuts, max_width
        Limits; at least one is given. Without `max_cuts` the least overhead is looked for.
    cost
        Of a fragment.
    wire_cuts
        Whether wires may be cut.
    seed
        Of all that is drawn.
    narrow
        Whether narrow fragments of exactly `max_cuts` cuts are looked for, and nothing else;
        the cost is then one of widths alone.
    """

    max_cuts: int | None
    max_width: int | None
    cost: Cost = proxy_cost
    wire_cuts: bool = True
    seed: int = 0
    narrow: bool = False

    @property
    def least_cuts(self) -> int:
        """The fewest cuts of interest, beside none at all."""
        return self.max_cuts if self.narrow and self.max_cuts else 1

    def costs_of_widths(self, widths: np.ndarray) -> np.ndarray:
        """Return the cost of fragments of which only the width matters, (fragments,)."""
        some, which = np.unique(widths, return_inverse=True)
        costs = [self.cost(FragmentShape(int(w), 0, 0, 1, 1)) for w in some]
        return np.array(costs)[which]

    def widths(self, graph: Interactions, most: int) -> list[int]:
        """Return the widths to aim at, the widest first, `most` at most.

        With a limit on cuts these are even shares of the qubits and a bit more: K cuts leave
        K + 1 fragments at most.
        """
        whole = graph.num_qubits
        limit = min(self.max_width or whole, whole)
        if self.max_cuts is None:
            return [limit]
        shares = [ceil(whole / parts) for parts in range(1, self.max_cuts + 2)]
        aims = {w for share in shares for w in (share, ceil(1.15 * share), ceil(1.4 * share))}
        some = sorted({w for w in aims if w <= limit} | {limit}, reverse=True)
        kept = np.unique(np.linspace(0, len(some) - 1, min(most, len(some))).round().astype(int))
        return [some[k] for k in kept]


#: An engine proposes labels of ends, (ends,) each; whether they fit is looked at later.
Engine: TypeAlias = Callable[[Interactions, Goal], Iterator[np.ndarray]]
