"""Device assignment of a batch, and reassignment when a pilot ends.

Knows devices, work units and which pilots are there; refuses to know what a unit computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pilotcut.errors import PilotError, UserError
from pilotcut.execution.device_assignment import DeviceAssignment, Share, assign
from pilotcut.execution.devices import DevicePilot, Fleet, fits_of, fleet_of
from pilotcut.execution.work_units import CircuitUnit, Request, WorkUnit
from pilotcut.options import ERROR_TOLERANCE
from pilotcut.tasks import TaskFuture, TaskManager


@dataclass
class DeviceAssigner:
    """Pilots for the work units of one batch, and other devices once theirs have ended.

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
        Units that went to another device since theirs had ended, for the record.
    finish
        Takes units that are bound and returns what is submitted.

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
    _ended: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._fleet = fleet_of(self.tasks, self.mode)

    @property
    def most_circuits(self) -> int | None:
        """Circuits of a unit where devices run it, None without devices."""
        if not self._fleet.devices:
            return None
        return self._fleet.most_circuits(sum(one.subexperiments for one in self.requests))

    def bind(self, units: Sequence[CircuitUnit]) -> list[CircuitUnit]:
        """Return units bound to devices, or as they are without devices.

        Raises
        ------
        UserError
            If no device can run a fragment.
        """
        if not self._fleet.devices:
            return list(units)
        found = self._assigned(units, self._fleet)
        self.shares = found.shares
        return self.finish(_bound(units, found, self._fleet))

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
        self.moved += [self._move(*pair) for pair in zip(units, bound, strict=True)]
        return self.finish(bound)

    def pilot(self, unit: WorkUnit) -> str | tuple[str, ...] | None:
        """Return which pilot, or pilots, a unit may run on; None for any."""
        return self._fleet.ideal if unit.device is None else unit.device.name

    def _assigned(self, units: Sequence[CircuitUnit], fleet: Fleet) -> DeviceAssignment:
        fits = [fits_of(request.fragment, fleet.devices) for request in self.requests]
        # Sums of seconds are taken in this order: their last bits do not depend on who was first.
        units = sorted(units, key=lambda unit: unit.index)
        return assign(units, [r.fragment.label for r in self.requests], fits, self.tolerance)

    def _move(self, old: CircuitUnit, new: CircuitUnit) -> dict[str, Any]:
        """Return what is recorded of a unit that went to another device."""
        assert old.device is not None
        assert new.device is not None
        fragment = self.requests[old.request].fragment
        return {
            "fragment": fragment.label,
            "part": old.block,
            "error": new.device.fit(fragment).error,
            "from": old.device.name,
            "to": new.device.name,
        }


def _bound(
    units: Sequence[CircuitUnit], assignment: DeviceAssignment, fleet: Fleet
) -> list[CircuitUnit]:
    by_name: dict[str, DevicePilot] = {device.name: device for device in fleet.devices}
    return [replace(unit, device=by_name[assignment.pilots[unit.index]]) for unit in units]


def device_ended(unit: WorkUnit, future: TaskFuture) -> bool:
    """Return whether a unit that is bound to a device has failed because the pilot has ended."""
    return unit.device is not None and isinstance(future.exception(), PilotError)
