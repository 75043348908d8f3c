"""Exact engine: each fragment the cheaper exact way, by the states of its branches or its network.

Owns the choice, by predicted time and memory. Refuses to know how either way works.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf

import numpy as np
import torch

from pilotcut.backends.cache import Cache
from pilotcut.backends.network import CACHED_NETWORKS, Network, NetworkEngine
from pilotcut.backends.network_plan import NetworkTooLargeError
from pilotcut.backends.outcomes import StateOutcomes
from pilotcut.backends.statevector import Linearised, StatevectorEngine
from pilotcut.cutting.fragment import Fragment
from pilotcut.errors import CutError
from pilotcut.io.large_numbers import digits
from pilotcut.options import NETWORK, STATEVECTOR, USUAL_ENGINE, EngineOptions


class ExactEngine:
    """Exact tensors of fragments, differentiable by their angles.

    Parameters
    ----------
    device
        A torch device.
    options
        The way: "auto" takes for each fragment what is predicted to be faster, "network" its
        network wherever it has one. And the dtype, in which it computes; angles and results are in
        double precision.

    Attributes
    ----------
    typical_rows
        For which the ways are compared: a batch of a training.
    """

    typical_rows = 16

    def __init__(self, device: str = "cpu", options: EngineOptions = USUAL_ENGINE) -> None:
        self.states = StatevectorEngine(device, getattr(torch, options.dtype))
        self._networks = NetworkEngine(self.states.device, self.states.dtype.to_real())
        self._way = options.way
        self._chosen: Cache[str, Network | None] = Cache(CACHED_NETWORKS)

    @property
    def memory_bytes(self) -> int:
        """What a batch may take."""
        return self.states.memory_bytes

    @memory_bytes.setter
    def memory_bytes(self, limit: int) -> None:
        self.states.memory_bytes = limit

    def network(self, fragment: Fragment) -> Network | None:
        """Return the network by which a fragment is computed, None if by its states."""
        return self._chosen.get(fragment.fingerprint, lambda: self._network(fragment, inf))

    def _network(self, fragment: Fragment, limit_s: float) -> Network | None:
        """Choose; raise NetworkTooLargeError where a limit left networks out."""
        if self._way == STATEVECTOR:
            return None
        rows = self.typical_rows
        states_s = inf if self._way == NETWORK else self.state_seconds(fragment, rows)
        found = self._networks.network(fragment, min(states_s, limit_s), rows)
        if found is None and limit_s < states_s:
            raise NetworkTooLargeError
        if found is None or self._way == NETWORK:
            return found
        fits = found.row_bytes <= self.memory_bytes
        return found if fits and found.seconds(rows) < states_s else None

    def seconds(self, fragment: Fragment, rows: int, limit_s: float = inf) -> float:
        """Return about how long values and derivatives take; infinite where memory lacks.

        Also where `typical_rows` take longer than a limit: then not every way is looked for.
        """
        try:
            # What was not looked at is not remembered as no way.
            self._chosen.get(fragment.fingerprint, lambda: self._network(fragment, limit_s))
        except NetworkTooLargeError:
            return inf
        network = self.network(fragment)
        if network is None:
            return self.state_seconds(fragment, rows)
        return network.seconds(rows) if network.row_bytes <= self.memory_bytes else inf

    def state_seconds(self, fragment: Fragment, rows: int) -> float:
        """Return the same by states, whichever way is chosen."""
        fits = self.states.row_bytes(fragment) <= self.memory_bytes
        return self.states.seconds(fragment, rows) if fits else inf

    def tensor(self, fragment: Fragment, angles: torch.Tensor) -> torch.Tensor:
        """Return the fragment's tensor in torch; see `StatevectorEngine.tensor`."""
        network = self.network(fragment)
        if network is None:
            return self.states.tensor(fragment, angles)
        self.rows_at_once(fragment)
        return network.tensor(angles)

    def values(self, fragment: Fragment, angles: np.ndarray) -> np.ndarray:
        """Return `tensor` as an array, without keeping what derivatives need."""
        network = self.network(fragment)
        if network is None:
            return self.states.values(fragment, angles)
        return np.concatenate([network.at(a).values for a in self._chunks(fragment, angles)])

    def outcomes(
        self, fragment: Fragment, angles: np.ndarray, wires: Sequence[int]
    ) -> list[StateOutcomes]:
        """Return the final states of all branches; see `StatevectorEngine.outcomes`."""
        return self.states.outcomes(fragment, angles, wires)

    def pull_back(
        self,
        fragment: Fragment,
        angles: np.ndarray,
        cotangents: np.ndarray,
        wanted: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return d outputs / d angles; see `Linearised.pull_back`."""
        network = self.network(fragment)
        if network is None:
            return self.states.pull_back(fragment, angles, cotangents, wanted)
        both = zip(self._chunks(fragment, angles), self._chunks(fragment, cotangents), strict=True)
        return np.concatenate([network.at(some).pull_back(c, wanted) for some, c in both])

    def linearised(self, fragment: Fragment, angles: np.ndarray) -> Linearised:
        """Return the tensor at some angles with what its derivatives need."""
        network = self.network(fragment)
        return self.states.linearised(fragment, angles) if network is None else network.at(angles)

    def rows_at_once(self, fragment: Fragment) -> int:
        """Return how many rows fit the memory limit.

        Raises
        ------
        CutError
            If not one does.
        """
        network = self.network(fragment)
        if network is None:
            return self.states.rows_at_once(fragment)
        if network.row_bytes > self.memory_bytes:
            raise CutError(
                f"fragment {fragment.label} ({fragment.width} qubits) needs "
                f"{digits(network.row_bytes // 2**30)} GiB for one parameter set by its network, "
                f"expected at most {self.memory_bytes / 2**30:.3g} GiB; leave engine='network' out"
            )
        return max(1, self.memory_bytes // max(1, network.row_bytes))

    def row_bytes(self, fragment: Fragment, *, recorded: bool = False) -> int:
        """Return what one row takes, with what its derivatives need.

        Parameters
        ----------
        recorded
            Whether autograd records it, for higher derivatives than the first.
        """
        network = self.network(fragment)
        if network is None:
            return self.states.row_bytes(fragment, recorded=recorded)
        return network.row_bytes

    def widest(self, fragment: Fragment) -> int:
        """Return the amplitudes of the largest state of one row, 1 where there is none."""
        return 1 if self.network(fragment) is not None else self.states.widest(fragment)

    def _chunks(self, fragment: Fragment, rows: np.ndarray) -> list[np.ndarray]:
        pieces = ceil(len(rows) / self.rows_at_once(fragment))
        return np.array_split(rows, max(1, pieces))
