"""Load of the exact engine: a fragment's statevectors, or its tensor networks.

Which of the two is the engine's choice (`pilotcut.backends.exact`), and is asked for here; nothing
is run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pilotcut import backends
from pilotcut.cutting.fragment import Fragment
from pilotcut.execution.batching import exact_rows
from pilotcut.io.large_numbers import bounded
from pilotcut.options import USUAL_ENGINE, EngineOptions
from pilotcut.perfmodel.load import NETWORKS, STATES, FragmentWork, Load
from pilotcut.perfmodel.statevector_load import StatevectorCounter

if TYPE_CHECKING:
    from pilotcut.backends.network import Network


def exact_work(fragment: Fragment, rows: int, engine: EngineOptions = USUAL_ENGINE) -> FragmentWork:
    """Return the work of a fragment's exact tensor, by the way that an engine goes."""
    counter = ExactCounter(fragment, engine)
    sizes = Counter(piece.stop - piece.start for piece in exact_rows(fragment, rows, engine))
    loads = tuple(Load(counter.amounts(size), number) for size, number in sizes.items())
    return FragmentWork(loads, len(fragment.steps), counter.memory_bytes)


class ExactCounter:
    """Counter of a fragment's calls in exact mode.

    Parameters
    ----------
    fragment
        Whose states or networks are counted.
    engine
        How it is asked to compute; amounts do not depend on the dtype.

    Attributes
    ----------
    memory_bytes
        What one parameter set takes.
    """

    def __init__(self, fragment: Fragment, engine: EngineOptions = USUAL_ENGINE) -> None:
        exact = backends.exact_engine(engine)
        self._network = exact.network(fragment)
        self._states = None if self._network else StatevectorCounter(fragment)
        self.memory_bytes = bounded(exact.row_bytes(fragment))

    def amounts(self, rows: int) -> np.ndarray:
        """Return the amounts of one call for `rows` parameter sets."""
        if self._network is not None:
            a_call = dict.fromkeys(STATES, 0.0) | {"calls": 1.0}
            return np.array([*a_call.values(), *_of_network(self._network, rows)])
        assert self._states is not None
        return np.append(self._states.amounts(rows), np.zeros(len(NETWORKS)))


def _of_network(network: Network, rows: int) -> list[float]:
    """Return amounts in the order of `NETWORKS`."""
    groups = [group for group in network.plan.groups if group.kind != "constant"]
    products = sum(group.multiplications for group in groups)
    entries = sum(group.size for group in groups)
    return [len(groups), rows * len(groups), float(rows * products), float(rows * entries)]
