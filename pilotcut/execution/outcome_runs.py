"""The runs of a cut circuit's fragments for what their shots end in, or their final states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from pilotcut import backends
from pilotcut.backends.outcomes import CountedOutcomes, StateOutcomes, Tally, outcome_wires
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.batching import Bundle, Request, split
from pilotcut.execution.device_assignment import Place
from pilotcut.execution.devices import DEVICE_CIRCUITS, DevicePilot, fleet_of, mode_of
from pilotcut.execution.reassignment import Whereabouts, device_ended
from pilotcut.execution.work_units import backend_for
from pilotcut.reconstruction.open_network import Node
from pilotcut.tasks import Shared, TaskFuture, TaskManager

# First number of the keys that streams of random numbers are spawned with; samples have another.
_RUN = 0

_T = TypeVar("_T")
# What a task will return, or has returned where there are no tasks.
_Part: TypeAlias = _T | TaskFuture


@dataclass(frozen=True)
class OutcomeRuns:
    """Runs a plan's fragments, here or as tasks.

    Parameters
    ----------
    shots
        Of each subexperiment, without meaning for exact ones.
    seed
        Seeds of all bundles derive from it.
    backend
        Name of the backend that runs circuits.
    tasks
        Where; None runs in this process.
    tolerance
        See `pilotcut.execution.device_assignment.bind`.
    """

    shots: int
    seed: int
    backend: str
    tasks: TaskManager | None
    tolerance: float

    def exact(self, plan: CutPlan, slots: np.ndarray) -> list[Node]:
        """Return a node for each group of entangled wires of each fragment."""
        parts = [(f, self._states(f, f.angle_values(slots))) for f in plan.fragments]
        return [Node.of(f, one) for f, part in parts for one in _result(part)]

    def _states(self, fragment: Fragment, angles: np.ndarray) -> _Part[list[StateOutcomes]]:
        if self.tasks is None:
            return _run_states(fragment, angles)
        return self.tasks.submit_task(
            run_states,
            self._share(fragment),
            angles,
            name=fragment.label,
            pilot=fleet_of(self.tasks, "exact").ideal,
        )

    def counted(self, plan: CutPlan, slots: np.ndarray) -> list[Node]:
        """Return a node for each fragment, of what its subexperiments ended in."""
        requests = [Request(f, f.angle_values(slots), self.shots) for f in plan.fragments]
        where = Whereabouts.of(requests, self.tasks, mode_of(self.backend), self.tolerance)
        most = None if where.assignment is None else DEVICE_CIRCUITS
        bundles = [b for number, r in enumerate(requests) for b in split(number, r, most)]
        tallies = self._tallies(bundles, where)
        return [
            Node.of(
                f, CountedOutcomes.of(f, [t for b, t in tallies if b.fragment == k], self.shots)
            )
            for k, f in enumerate(plan.fragments)
        ]

    def _tallies(self, bundles: Sequence[Bundle], where: Whereabouts) -> list[tuple[Bundle, Tally]]:
        """Return what bundles ended in, in their order; on other devices where theirs end."""
        devices = {b.place: where.device(*b.place) for b in bundles}
        found: dict[Place, Tally] = {}
        while left := [b for b in bundles if b.place not in found]:
            parts = [(b.place, self._tally(b, devices[b.place], where)) for b in left]
            lost: dict[Place, DevicePilot] = {}
            for place, part in parts:
                device = devices[place]
                if device is not None and isinstance(part, TaskFuture) and device_ended(part):
                    lost[place] = device
                else:
                    found[place] = _result(part)
            if lost:
                devices |= where.elsewhere(lost)
        return [(b, found[b.place]) for b in bundles]

    def _tally(
        self, bundle: Bundle, device: DevicePilot | None, where: Whereabouts
    ) -> _Part[Tally]:
        request = where.requests[bundle.fragment]
        seed = self._seed_of(bundle.fragment, bundle.number)
        call = (request.angles, bundle.part, self.shots, seed)
        if self.tasks is None:
            return backends.backend(self.backend).tally(request.fragment, *call)
        return self.tasks.submit_task(
            run_tally,
            self._share(request.fragment),
            self.backend,
            device,
            *call,
            name=f"{request.fragment.label}.{bundle.part.start}",
            pilot=where.pilot(device),
        )

    def _seed_of(self, fragment: int, bundle: int) -> int:
        child = np.random.SeedSequence(self.seed, spawn_key=(_RUN, fragment, bundle))
        return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))

    def _share(self, fragment: Fragment) -> Shared[Fragment]:
        assert self.tasks is not None
        return self.tasks.share(fragment, key=fragment.fingerprint)


def run_tally(
    fragment: Shared[Fragment],
    backend: str,
    device: DevicePilot | None,
    angles: np.ndarray,
    part: slice,
    shots: int,
    seed: int,
) -> Tally:
    """Run one bundle on a worker."""
    return backend_for(backend, device).tally(fragment.get(), angles, part, shots, seed)


def run_states(fragment: Shared[Fragment], angles: np.ndarray) -> list[StateOutcomes]:
    """Run one fragment's branches on a worker."""
    return _run_states(fragment.get(), angles)


def _run_states(fragment: Fragment, angles: np.ndarray) -> list[StateOutcomes]:
    return backends.statevector_engine().outcomes(fragment, angles, outcome_wires(fragment))


def _result(part: _Part[_T]) -> _T:
    return part.result() if isinstance(part, TaskFuture) else part
