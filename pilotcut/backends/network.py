"""Network engine: exact values of a fragment without sites, by contracting its tensor network.

Where gates are few for the number of qubits, or a term sees few of them, the network of Pauli
transfer matrices is far cheaper to contract than the state. What is multiplied is written down in
`pilotcut.backends.network_plan`, and done in `pilotcut.backends.network_schedule`; this module owns
the choice of the library, and what is kept from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from pilotcut.backends.cache import Cache
from pilotcut.backends.native_gates import NativeFragment, over_native_gates
from pilotcut.backends.network_plan import NetworkPlan, NetworkTooLargeError
from pilotcut.backends.network_schedule import (
    NetworkSchedule,
    NumpyArrays,
    Pass,
    TorchArrays,
)
from pilotcut.cutting.fragment import Fragment, Site

#: Networks kept by one engine.
CACHED_NETWORKS = 64

#: Gates, and gates that terms see, added up, above which a network is not looked for: each of the
#: latter takes about 60 us.
MOST_GATES, MOST_SEEN = 1000, 12_000

#: Wires of a gate, at most: its transfer matrix has 16 times as many entries for each.
MOST_WIRES = 3

# Measured with numpy 2.4 on one core of two: a call of a group, forwards and backwards, and a
# multiplication of small matrices.
_CALL_S, _MULTIPLICATION_S = 4e-5, 2e-9


class NetworkEngine:
    """Exact values by tensor networks, differentiable by their angles.

    Parameters
    ----------
    device
        A torch device; on "cpu" numpy is used, whose calls are cheaper.
    dtype
        A real one of torch, in which networks are contracted.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float64) -> None:
        self._torch = TorchArrays(device, dtype)
        name = str(dtype).removeprefix("torch.")
        self._arrays = NumpyArrays(name) if device.type == "cpu" else self._torch
        self._networks: Cache[str, Network | None] = Cache(CACHED_NETWORKS)

    def network(self, fragment: Fragment) -> Network | None:
        """Return a fragment's network, None where it has none that is worth looking for."""
        return self._networks.get(fragment.fingerprint, lambda: self._network(fragment))

    def _network(self, fragment: Fragment) -> Network | None:
        steps = fragment.steps
        if len(steps) > MOST_GATES or any(isinstance(step, Site) for step in steps):
            return None
        native = over_native_gates(fragment)
        if any(len(step.wires) > MOST_WIRES for step in native.steps):
            return None
        # The wires of measured values are not observed.
        more = ((0, 0), (0, native.num_wires - fragment.num_wires))
        x, z = (np.pad(a, more) for a in (fragment.observables.x, fragment.observables.z))
        if _are_many(native, x | z):
            return None
        try:
            plan = NetworkPlan(native, np.stack([x, z], axis=1))
        except NetworkTooLargeError:
            return None
        return Network(plan, native, self._arrays, self._torch)


def _are_many(native: NativeFragment, letters: np.ndarray) -> bool:
    """Return whether terms with letters on (terms, wires) see more gates than is worth it."""
    gates = [sum(1 << wire for wire in step.wires) for step in reversed(native.steps)]
    seen = 0
    for row in letters:
        cone = sum(1 << int(wire) for wire in np.flatnonzero(row))
        for gate in gates:
            if gate & cone:
                cone |= gate
                seen += 1
        if seen > MOST_SEEN:
            return True
    return False


class Network:
    """A fragment's network, as a function of the fragment's angles.

    Parameters
    ----------
    plan
        What is computed.
    native
        How the fragment's angles become native ones.
    arrays, of_torch
        The library for values and first derivatives, and torch for all others.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        native: NativeFragment,
        arrays: NumpyArrays | TorchArrays,
        of_torch: TorchArrays,
    ) -> None:
        self.plan = plan
        self._arrays = arrays
        self._schedule = NetworkSchedule(plan, arrays)
        self._of_torch = NetworkSchedule(plan, of_torch)
        # Angles in double precision: in single a large one would lose as many digits as it has.
        self._put = arrays.wide(native.linear), arrays.wide(native.offset[:, None])
        self._put_torch = of_torch.wide(native.linear), of_torch.wide(native.offset[:, None])

    @cached_property
    def row_bytes(self) -> int:
        """What all values of one row take, and their derivatives."""
        return 2 * self._arrays.dtype.itemsize * sum(group.size for group in self.plan.groups)

    def seconds(self, rows: int) -> float:
        """Return about how long values and derivatives take, with numpy."""
        products = sum(group.multiplications for group in self.plan.groups)
        each_s = _MULTIPLICATION_S * self._arrays.dtype.itemsize / 8
        return len(self.plan.groups) * _CALL_S + 3 * rows * products * each_s

    def tensor(self, angles: torch.Tensor) -> torch.Tensor:
        """Return (rows, terms) for angles (rows, angles); torch differentiates through it."""
        linear, offset = self._put_torch
        native = linear.T @ angles.to(linear).T + offset
        terms: torch.Tensor = self._of_torch.terms(self._of_torch.run(native))
        return terms.to(native.dtype)

    def at(self, angles: np.ndarray) -> NetworkPoint:
        """Return its terms at angles (rows, angles), with what their derivatives need."""
        linear, offset = self._put
        native = linear.T @ self._arrays.wide(angles).T + offset
        found = self._schedule.run(native)
        terms = self._arrays.numpy(self._arrays.wide(self._schedule.terms(found)))
        return NetworkPoint(self, terms, found)

    def slopes(self, found: Pass, cotangents: np.ndarray) -> np.ndarray:
        """Return d sum_t c_t term_t / d angles, (rows, angles), for c (rows, terms)."""
        pulled = self._schedule.pull_back(found, self._arrays.put(cotangents))
        return self._arrays.numpy(self._put[0] @ self._arrays.wide(pulled)).T


@dataclass(frozen=True)
class NetworkPoint:
    """A network's terms at some angles, as `pilotcut.backends.statevector.Linearised`.

    Parameters
    ----------
    network
        Of which.
    values
        The terms (rows, terms).
    found
        What the way back needs.
    """

    network: Network
    values: np.ndarray
    found: Pass

    def pull_back(self, cotangents: np.ndarray) -> np.ndarray:
        """Return d outputs / d angles, (rows, outputs, angles).

        `cotangents` are (rows, outputs, terms, 1), of which the real parts count.
        """
        weights = np.ascontiguousarray(cotangents.real)[..., 0]
        slopes = [self.network.slopes(self.found, weights[:, k]) for k in range(weights.shape[1])]
        return np.stack(slopes, axis=1)
