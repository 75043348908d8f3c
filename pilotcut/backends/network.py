"""Network engine: exact tensors of a fragment, by contracting its tensor network.

Where gates are few for the number of qubits, or a term sees few of them, the network of Pauli
transfer matrices is far cheaper to contract than the state. What is multiplied is written down in
`pilotcut.backends.network_plan`, and done in `pilotcut.backends.network_schedule`; this module owns
the choice of the library, and what is kept from call to call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod

import numpy as np
import torch

from pilotcut.backends.cache import Cache
from pilotcut.backends.native_gates import NativeFragment, over_native_gates
from pilotcut.backends.network_calls import Array
from pilotcut.backends.network_plan import NetworkPlan, NetworkTooLargeError
from pilotcut.backends.network_schedule import (
    NetworkSchedule,
    NumpyArrays,
    Pass,
    TorchArrays,
)
from pilotcut.backends.pauli_network import pairs_of
from pilotcut.cutting.fragment import Fragment, Site

#: Networks kept by one engine.
CACHED_NETWORKS = 64

#: Gates, and gates that terms see, added up, above which a network is not looked for: each of the
#: latter takes about 60 us.
MOST_GATES, MOST_SEEN = 1000, 12_000

#: Wires of a gate, at most: its transfer matrix has 16 times as many entries for each.
MOST_WIRES = 3

#: Schedules of a network, beside one for angles that all differ.
MOST_SCHEDULES = 8

# Measured with numpy 2.4 on one core of two, forwards and backwards, fitted to 150 fragments and
# right within a factor of 1.6 for half of them and 2.5 for nearly all: a call of a group, a product
# of two matrices in it, a multiplication of numbers, and an entry of what results.
_CALL_S, _MATRICES_S, _MULTIPLICATION_S, _ENTRY_S = 2e-5, 6e-7, 2.5e-10, 5e-9


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

    def network(self, fragment: Fragment, limit_s: float = inf, rows: int = 1) -> Network | None:
        """Return a fragment's network, None where it has none that is worth looking for.

        Parameters
        ----------
        fragment
            The fragment.
        limit_s, rows
            What values and derivatives of so many rows take otherwise. A search that will hardly
            find a network that takes less is left out.
        """
        steps = fragment.steps
        if len(steps) > MOST_GATES or any(len(site.wires) > 1 for site in fragment.sites):
            return None
        native = over_native_gates(fragment)
        if any(len(step.wires) > MOST_WIRES for step in native.steps):
            return None
        # The wires of measured values are not observed.
        more = ((0, 0), (0, native.num_wires - fragment.num_wires))
        x, z = (np.pad(a, more) for a in (fragment.observables.x, fragment.observables.z))
        if _are_many(native, x | z):
            return None
        most = limit_s / (rows * _MULTIPLICATION_S * self._arrays.dtype.itemsize / 8)
        try:
            plan = NetworkPlan(native, np.stack([x, z], axis=1), most)
        except NetworkTooLargeError:
            return None
        return Network(plan, native, len(x), self._arrays, self._torch)


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
    terms
        How many there are.
    arrays, of_torch
        The library for values and first derivatives, and torch for all others.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        native: NativeFragment,
        terms: int,
        arrays: NumpyArrays | TorchArrays,
        of_torch: TorchArrays,
    ) -> None:
        self.plan = plan
        self._arrays = arrays
        self._of_torch = NetworkSchedule(plan, of_torch)
        self._angles = NativeAngles(native, arrays)
        self._put_torch = of_torch.wide(native.linear), of_torch.wide(native.offset[:, None])
        self._depends = native.linear != 0  # of native angles on the fragment's
        self._all = np.ones(len(native.linear), dtype=bool)
        self._wanted: Cache[bytes, np.ndarray] = Cache(4)
        self._schedules = SharedSchedules(self._schedule)
        sites = sorted((s for s in native.steps if isinstance(s, Site)), key=lambda s: s.axis)
        self._pairs = [pairs_of(site.rank) for site in sites]
        self._terms = terms

    @cached_property
    def row_bytes(self) -> int:
        """What all values of one row take, and their derivatives."""
        own = 2 * self._arrays.dtype.itemsize * _entries(self.plan, 1)
        # Pairs of branches, their cotangents, and either once more while a site is worked on.
        pairs = self._terms * prod(len(matrix) for matrix in self._pairs)
        return own + (4 * np.dtype(complex).itemsize * pairs if self._pairs else 0)

    def seconds(self, rows: int) -> float:
        """Return about how long values and derivatives take, with numpy."""
        return self._seconds(self.plan, rows)

    def _seconds(self, plan: NetworkPlan, rows: int) -> float:
        size = self._arrays.dtype.itemsize / 8
        found = len(plan.groups) * _CALL_S
        for group in plan.groups:
            numbers_s = group.multiplications * _MULTIPLICATION_S + group.size * _ENTRY_S
            found += numbers_s * size * (1 if group.shared else rows)
            found += group.products * _MATRICES_S * (1 if plan.is_folded(group) else rows)
        return found

    def _schedule(self, shared: np.ndarray, rows: int) -> NetworkSchedule:
        """Return a schedule for shared angles, boolean (angles,), where that pays for such rows."""
        plan = self.plan
        if shared.any():
            natives = ~self._depends[~shared].any(axis=0)
            other = plan.sharing(np.flatnonzero(natives).tolist())
            is_quicker = self._seconds(other, rows) < self._seconds(plan, rows)
            # What rows share has to fit in what they take each: that is what is known before.
            if is_quicker and _entries(other, rows) <= rows * _entries(plan, 1):
                plan = other
        return NetworkSchedule(plan, self._arrays)

    def tensor(self, angles: torch.Tensor) -> torch.Tensor:
        """Return (rows, terms, *R^2) for angles (rows, angles); torch differentiates through it.

        Complex where there are sites, otherwise real.
        """
        linear, offset = self._put_torch
        native = linear.T @ angles.to(linear).T + offset
        terms: torch.Tensor = self._of_torch.terms(self._of_torch.run(native))
        if not self._pairs:
            return terms.to(native.dtype)
        terms = terms.to(torch.complex128)
        for matrix in self._pairs:
            # The first site's axis goes and comes back as the last: all of them are in order again.
            terms = torch.tensordot(terms, torch.as_tensor(matrix).to(terms), ([2], [1]))
        return terms

    def at(self, angles: np.ndarray) -> NetworkPoint:
        """Return its terms at angles (rows, angles), with what their derivatives need."""
        schedule = self._schedules.of(angles)
        found = schedule.run(self._angles.of(angles))
        terms = self._arrays.numpy(self._arrays.wide(schedule.terms(found)))
        for matrix in self._pairs:  # see `tensor`
            terms = np.tensordot(terms, matrix, ([2], [1]))
        return NetworkPoint(self, terms, schedule, found)

    def slopes(
        self,
        point: NetworkPoint,
        cotangents: np.ndarray,
        wanted: np.ndarray | None = None,
        summed: bool = False,
    ) -> np.ndarray:
        """Return d Re sum c term / d angles, (rows or 1, angles), for c (rows, terms, variants).

        See `pilotcut.backends.statevector.Linearised` for `wanted` and `summed`.
        """
        cotangents = cotangents.reshape(point.values.shape)
        for matrix in self._pairs:
            cotangents = np.tensordot(cotangents, matrix, ([2], [0]))
        cotangents = np.ascontiguousarray(cotangents.real)
        some = self._all if wanted is None else wanted
        # A training wants the same ones at each step.
        natives = self._wanted.get(some.tobytes(), lambda: self._depends[some].any(axis=0))
        put = self._arrays.put(cotangents)
        pulled = point.schedule.pull_back(point.found, put, natives, summed)
        return self._arrays.numpy(self._angles.pulled_back(pulled)).T


def _entries(plan: NetworkPlan, rows: int) -> int:
    return sum(group.size * (1 if group.shared else rows) for group in plan.groups)


class NativeAngles:
    """Native angles as a function of a fragment's, linear, and derivatives on the way back.

    In double precision: in single a large angle would lose as many digits as it has.

    Parameters
    ----------
    native
        The fragment over native gates.
    arrays
        The library.
    """

    def __init__(self, native: NativeFragment, arrays: NumpyArrays | TorchArrays) -> None:
        self._arrays, linear = arrays, native.linear
        self._linear, self._offset = arrays.wide(linear), arrays.wide(native.offset[:, None])
        # Where each is one of the others they are picked, which is no product of large matrices.
        self._which, columns = np.nonzero(linear)
        order = np.argsort(columns, kind="stable")
        self._which = self._which[order]
        each = np.array_equal(columns[order], np.arange(linear.shape[1]))
        self._picks = each and len(set(self._which.tolist())) == len(columns)
        if self._picks:
            self._scale = arrays.wide(linear[self._which, columns[order]][:, None])

    def of(self, angles: np.ndarray) -> Array:
        """Return native angles (natives, rows) for angles (rows, angles)."""
        given = self._arrays.wide(angles).T
        if self._picks:
            return given[self._which] * self._scale + self._offset
        return self._linear.T @ given + self._offset

    def pulled_back(self, slopes: Array) -> Array:
        """Return derivatives by angles (angles, rows) for those by native ones (natives, rows)."""
        given = self._arrays.wide(slopes)
        if not self._picks:
            return self._linear @ given
        found = self._arrays.wide(np.zeros((len(self._linear), given.shape[1])))
        found[self._which] = given * self._scale
        return found


class SharedSchedules:
    """The schedules of a network, by which angles are equal in all rows.

    In a training it is the weights that are. Columns of a batch may be equal by chance, so a
    schedule serves wherever the angles that it takes to be equal are, unless they are few of those
    that are, and no more than a few are made.

    Parameters
    ----------
    make
        A schedule for a boolean (angles,), which are equal, and about so many rows.
    """

    def __init__(self, make: Callable[[np.ndarray, int], NetworkSchedule]) -> None:
        self._make = make
        self._made: list[tuple[np.ndarray, NetworkSchedule]] = []
        self._of: Cache[bytes, NetworkSchedule] = Cache(2 * MOST_SCHEDULES)

    def of(self, angles: np.ndarray) -> NetworkSchedule:
        """Return the schedule for angles (rows, angles)."""
        # Of one row none are: it has nothing in common with others.
        equal = (angles == angles[:1]).all(axis=0) & (len(angles) > 1)
        return self._of.get(equal.tobytes(), lambda: self._best(equal, len(angles)))

    def _best(self, equal: np.ndarray, rows: int) -> NetworkSchedule:
        usable = [made for made in self._made if not (made[0] & ~equal).any()]
        best = max(usable, key=lambda made: int(made[0].sum()), default=None)
        if best and (2 * best[0].sum() >= equal.sum() or len(self._made) > MOST_SCHEDULES):
            return best[1]
        # The more were made, the less of what is equal by chance is in the last one.
        shared = equal & self._made[-1][0] if self._made else equal
        if 2 * shared.sum() < equal.sum():
            shared = equal
        if len(self._made) >= MOST_SCHEDULES:
            shared = np.zeros_like(equal)  # which always serves
        self._made.append((shared, self._make(shared, rows)))
        return self._made[-1][1]


@dataclass(frozen=True)
class NetworkPoint:
    """A network's terms at some angles, as `pilotcut.backends.statevector.Linearised`.

    Parameters
    ----------
    network
        Of which.
    values
        The terms (rows, terms, *R^2 of each site).
    schedule, found
        What the way back needs.
    """

    network: Network
    values: np.ndarray
    schedule: NetworkSchedule
    found: Pass

    def pull_back(
        self, cotangents: np.ndarray, wanted: np.ndarray | None = None, summed: bool = False
    ) -> np.ndarray:
        """Return d outputs / d angles, (rows or 1, outputs, angles).

        `cotangents` are (rows, outputs, terms, variants).
        """
        slopes = [
            self.network.slopes(self, cotangents[:, k], wanted, summed)
            for k in range(cotangents.shape[1])
        ]
        return np.stack(slopes, axis=1)
