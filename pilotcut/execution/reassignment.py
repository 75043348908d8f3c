"""Where the parts of a batch run, and where they go once their device has ended.

Knows devices, bindings and which pilots are there; refuses to know what a part computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilotcut.errors import PilotError, UserError
from pilotcut.execution.batching import Request
from pilotcut.execution.device_assignment import Place
from pilotcut.execution.devices import Assignment, DevicePilot, fleet_of, parts_of
from pilotcut.options import ERROR_TOLERANCE
from pilotcut.tasks import TaskFuture, TaskManager


@dataclass
class Whereabouts:
    """Where the parts of a batch run.

    Parameters
    ----------
    requests
        The batch.
    tasks
        The task manager, or None.
    mode
        "counts", "sampled" or "exact".
    tolerance
        See `pilotcut.execution.device_assignment.bind`.
    assignment
        The devices of its parts, None without devices.
    ideal
        Pilots that parts without a device may run on, None for any.
    moved
        What went elsewhere since its device had ended, for the record.
    """

    requests: Sequence[Request]
    tasks: TaskManager | None
    mode: str
    tolerance: float = ERROR_TOLERANCE
    assignment: Assignment | None = None
    ideal: tuple[str, ...] | None = None
    moved: list[dict[str, Any]] = field(default_factory=list)
    _gone: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        requests: Sequence[Request],
        tasks: TaskManager | None,
        mode: str,
        tolerance: float = ERROR_TOLERANCE,
        assignment: Assignment | None = None,
    ) -> Whereabouts:
        """Return where a batch runs, with an `assignment` if somebody has made one already.

        Raises
        ------
        UserError
            If no device can run a fragment, or the pilots' kinds do not go together.
        """
        fleet = fleet_of(tasks, mode)
        assignment = assignment or Assignment.of(requests, fleet, tolerance)
        return cls(requests, tasks, mode, tolerance, assignment, fleet.ideal)

    def device(self, request: int, number: int) -> DevicePilot | None:
        """Return the device that a part was bound to, None without devices."""
        return None if self.assignment is None else self.assignment.device(request, number)

    def pilot(self, device: DevicePilot | None) -> str | tuple[str, ...] | None:
        """Return which pilot, or pilots, a part with that device may run on."""
        return self.ideal if device is None else device.name

    def elsewhere(self, lost: Mapping[Place, DevicePilot]) -> dict[Place, DevicePilot]:
        """Return other devices for parts whose devices have ended.

        Raises
        ------
        PilotError
            If none of those that are left can run them.
        """
        self._gone |= {device.name for device in lost.values()}
        left = fleet_of(self.tasks, self.mode).without(self._gone)
        because = f"these pilots have ended: {', '.join(map(repr, sorted(self._gone)))}"
        if not left.devices:
            raise PilotError(f"no device is left, for {because}")
        parts = [part for part in parts_of(self.requests) if part.place in lost]
        try:
            found = Assignment.bound(self.requests, parts, left, self.tolerance)
        except UserError as error:
            raise PilotError(f"{error}; {because}") from error
        now = {part.place: found.device(*part.place) for part in parts}
        self.moved += [self._move(place, lost[place], now[place]) for place in now]
        return now

    def _move(self, place: Place, old: DevicePilot, new: DevicePilot) -> dict[str, Any]:
        """Return what is recorded of a part that went to another device."""
        request, number = place
        fragment = self.requests[request].fragment
        return {
            "fragment": fragment.label,
            "part": f"{request}-{number}",
            "error": new.fit(fragment).error,
            "from": old.name,
            "to": new.name,
        }


def device_ended(future: TaskFuture) -> bool:
    """Return whether a task that is bound to a device has failed because the pilot has ended."""
    return isinstance(future.exception(), PilotError)
