"""Device assignment of a batch, and reassignment when a pilot ends or a queue is long.

Knows devices, work units and which pilots are there; refuses to know what a unit computes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pilotcut.backends.base import DeviceFit
from pilotcut.backends.job_journal import units_in
from pilotcut.errors import PilotError, QueueWaitError, UserError
from pilotcut.execution.device_assignment import DeviceAssignment, Share, assign
from pilotcut.execution.device_queues import NO_QUEUES, DeviceQueues
from pilotcut.execution.devices import DevicePilot, Fleet, fits_of, fleet_of
from pilotcut.execution.job_counts import say_many_jobs
from pilotcut.execution.running import JOBS
from pilotcut.execution.work_units import CircuitUnit, Request, UnitIndex, WorkUnit
from pilotcut.options import ERROR_TOLERANCE
from pilotcut.pilots.worker.sessions import end_query
from pilotcut.reconstruction.block_store import BlockStore
from pilotcut.tasks import TaskFuture, TaskManager


@dataclass
class DeviceAssigner:
    """Pilots for the work units of one batch, and others once theirs end or make them wait.

    Parameters
    ----------
    requests
        The batch.
    tasks
        The task manager.
    mode
        "counts", "sampled" or "exact".
    tolerance
        See `pilotcut.execution.device_assignment.assign`.

    Attributes
    ----------
    shares
        What each device was given at first; () without devices.
    moved
        Units that went to another device, each with the reason, for the record.
    finish
        Takes units that are bound and returns what is submitted.
    queues
        Of the devices that others use too, when units were bound.
    units
        Each unit as it was bound last, by its index.
    query
        Names the batches of devices that have one for each query.

    Raises
    ------
    UserError
        If the pilots' kinds do not go together in that mode.
    """

    requests: Sequence[Request]
    tasks: TaskManager
    mode: str
    tolerance: float = ERROR_TOLERANCE
    shares: tuple[Share, ...] = ()
    moved: list[dict[str, Any]] = field(default_factory=list)
    finish: Callable[[list[CircuitUnit]], list[CircuitUnit]] = list
    queues: DeviceQueues = NO_QUEUES
    units: dict[UnitIndex, CircuitUnit] = field(default_factory=dict)
    query: str = field(default_factory=lambda: uuid.uuid4().hex)
    _ended: set[str] = field(default_factory=set)
    _tried: dict[UnitIndex, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fleet = fleet_of(self.tasks, self.mode)

    @property
    def most_circuits(self) -> int | None:
        """Circuits of a unit where devices run it, None without devices."""
        if not self._fleet.devices:
            return None
        return self._fleet.most_circuits(sum(one.subexperiments for one in self.requests))

    # -- at first -----------------------------------------------------------------------

    def bind(self, units: Sequence[CircuitUnit]) -> list[CircuitUnit]:
        """Return units bound to devices, or as they are without devices.

        Raises
        ------
        UserError
            If no device can run a fragment.
        """
        if not self._fleet.devices:
            return list(units)
        self.queues = DeviceQueues.of(self._fleet.devices)
        found = self._assigned(units, self._fleet)
        self.shares = found.shares
        bound = [self._settled(one) for one in _bound(units, found, self._fleet)]
        say_many_jobs(bound)
        return self._noted(bound)

    def as_before(self, units: Sequence[CircuitUnit], store: BlockStore) -> list[CircuitUnit]:
        """Return units bound to the devices that have run them, or have their jobs, already.

        A queue may be longer now than when a run that was killed has bound them: what it has
        measured or submitted is not paid again for that.
        """
        jobs = store.directory.parent / JOBS
        if not self._fleet.devices or not (store.directory.exists() or jobs.exists()):
            return list(units)
        known = units_in(jobs)
        simulators = [played for one in self._fleet.devices if (played := one.simulator)]
        choices = [*self._fleet.devices, *simulators]

        def before(unit: CircuitUnit) -> CircuitUnit:
            fragment = self.requests[unit.request].fragment
            for device in sorted(choices, key=lambda one: one != unit.device):
                tried = unit if device == unit.device else replace(unit, device=device)
                key = tried.key(fragment)
                if key in known or store.has(unit.block, key=key):
                    return tried
            return unit

        found = [before(unit) for unit in units]
        changed = [new for old, new in zip(units, found, strict=True) if old is not new]
        self._noted(changed)
        return [self.units[unit.index] for unit in found]

    def _settled(self, unit: CircuitUnit) -> CircuitUnit:
        """Return a unit that a simulator takes off a long queue, or one that stays in any."""
        device = unit.device
        assert device is not None
        if device.simulator is not None and device.name in self.queues.long:
            played = replace(unit, device=device.simulator)
            wait_s = self.queues.waits[device.name]
            reason = f"queue predicted to take {wait_s:.3g} s, wait_s is {device.qpu.wait_s:g}"
            self.moved.append(self._move(unit, played, reason))
            return played
        fits = fits_of(self.requests[unit.request].fragment, self._fleet.devices)
        others = any(not fit.lack for name, fit in fits.items() if name != device.name)
        return replace(unit, stays=not others and device.simulator is None)

    # -- later --------------------------------------------------------------------------

    def rebind(self, lost: Sequence[CircuitUnit]) -> list[CircuitUnit]:
        """Return units whose devices have ended, bound to others.

        Raises
        ------
        PilotError
            If none of those that are left can run them.
        """
        if not lost:
            return []
        self._ended |= {unit.device.name for unit in lost if unit.device is not None}
        left = fleet_of(self.tasks, self.mode).without(self._ended)
        because = f"these pilots have ended: {', '.join(map(repr, sorted(self._ended)))}"
        if not left.devices:
            raise PilotError(f"no device is left, for {because}")
        units = sorted(lost, key=lambda unit: unit.index)
        try:
            found = self._assigned(units, left)
        except UserError as error:
            raise PilotError(f"{error}; {because}") from error
        bound = _bound(units, found, left)
        self.moved += [self._move(*pair, "pilot ended") for pair in zip(units, bound, strict=True)]
        return self._noted(bound)

    def elsewhere(self, waited: Mapping[CircuitUnit, str]) -> list[CircuitUnit]:
        """Return units that have left a queue, and why, bound to other devices.

        Where no other can run them a simulator does, if the description allows it, else they
        go back to the end of their queue and stay.
        """
        for unit in waited:
            assert unit.device is not None
            before = self._tried.get(unit.index, frozenset())
            self._tried[unit.index] = before | {unit.device.name}
        bound: list[CircuitUnit] = []
        for tried in sorted({self._tried[unit.index] for unit in waited}, key=sorted):
            some = sorted(
                (unit for unit in waited if self._tried[unit.index] == tried),
                key=lambda unit: unit.index,
            )
            found = self._not_on(tried, some)
            self.moved += [
                self._move(old, new, waited[old]) for old, new in zip(some, found, strict=True)
            ]
            bound += found
        return self._noted(bound)

    def _not_on(self, tried: frozenset[str], units: Sequence[CircuitUnit]) -> list[CircuitUnit]:
        left = fleet_of(self.tasks, self.mode).without(self._ended | tried)
        with suppress(UserError):
            if left.devices:
                return _bound(units, self._assigned(units, left), left)
        return [
            replace(unit, device=unit.device.simulator)
            if unit.device is not None and unit.device.simulator
            else replace(unit, stays=True)
            for unit in units
        ]

    def _noted(self, units: list[CircuitUnit]) -> list[CircuitUnit]:
        finished = self.finish(units)
        self.units |= {unit.index: unit for unit in finished}
        return finished

    def pilot(self, unit: WorkUnit) -> str | tuple[str, ...] | None:
        """Return which pilot, or pilots, a unit may run on; None for any."""
        return self._fleet.ideal if unit.device is None else unit.device.name

    def query_of(self, unit: WorkUnit) -> str:
        """Return the query whose batch a unit's jobs belong to, "" for none."""
        return self.query if unit.device is not None and unit.device.has_batches else ""

    def end(self) -> None:
        """Have the query's batches closed; a pilot that has ended has closed its own."""
        for device in self._fleet.devices:
            if device.has_batches:
                with suppress(Exception):
                    self.tasks.submit_task(
                        end_query, device.name, self.query, name="batch.end", pilot=device.name
                    )

    def _assigned(self, units: Sequence[CircuitUnit], fleet: Fleet) -> DeviceAssignment:
        fits = [self._near(fits_of(request.fragment, fleet.devices)) for request in self.requests]
        # Sums of seconds are taken in this order: their last bits do not depend on who was first.
        units = sorted(units, key=lambda unit: unit.index)
        labels = [request.fragment.label for request in self.requests]
        return assign(units, labels, fits, self.tolerance, self.queues.waits)

    def _near(self, fits: Mapping[str, DeviceFit]) -> Mapping[str, DeviceFit]:
        """Return the devices whose queues are not too long, all of them if no such one is able."""
        near = {name: fit for name, fit in fits.items() if name not in self.queues.long}
        return near if any(not fit.lack for fit in near.values()) else fits

    def _move(self, old: CircuitUnit, new: CircuitUnit, reason: str) -> dict[str, Any]:
        """Return what is recorded of a unit that went to another device."""
        assert old.device is not None
        assert new.device is not None
        fragment = self.requests[old.request].fragment
        return {
            "fragment": fragment.label,
            "part": old.block,
            "error": new.device.fit(fragment).error,
            "from": old.device.called,
            "to": new.device.called,
            "reason": reason,
        }


@contextmanager
def ending(assigner: DeviceAssigner | None) -> Iterator[None]:
    """End the query of an assigner with the block, however that ends."""
    try:
        yield
    finally:
        if assigner is not None:
            assigner.end()


def _bound(
    units: Sequence[CircuitUnit], assignment: DeviceAssignment, fleet: Fleet
) -> list[CircuitUnit]:
    by_name: dict[str, DevicePilot] = {device.name: device for device in fleet.devices}
    return [replace(unit, device=by_name[assignment.pilots[unit.index]]) for unit in units]


def queue_left(future: TaskFuture) -> str:
    """Return why a unit has left its device's queue, "" if it has not."""
    error = future.exception()
    return str(error) if isinstance(error, QueueWaitError) else ""


def device_ended(unit: WorkUnit, future: TaskFuture) -> bool:
    """Return whether a unit that is bound to a device has failed because the pilot has ended."""
    return unit.device is not None and isinstance(future.exception(), PilotError)
