"""Queues of devices that others use too: which make wait for too long, and who may leave them.

Knows what queues tell; refuses to know how units are bound to devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotcut.execution.devices import DevicePilot


@dataclass(frozen=True)
class DeviceQueues:
    """Queues as they were when a batch was bound.

    Parameters
    ----------
    waits
        Predicted seconds of each, by name of the pilot.
    jobs
        Jobs in each.
    long
        Pilots whose jobs would wait longer than their description allows.
    """

    waits: Mapping[str, float] = field(default_factory=dict)
    jobs: Mapping[str, int] = field(default_factory=dict)
    long: frozenset[str] = frozenset()

    @classmethod
    def of(cls, devices: Iterable[DevicePilot]) -> DeviceQueues:
        """Return the queues of devices, where anything depends on them."""
        some = tuple(devices)
        if len(some) < 2 and not any(one.simulator for one in some):
            return cls()
        found = {one.name: view for one in some if (view := one.queue()) is not None}
        allowed = {one.name: one.qpu.wait_s for one in some}
        long = {
            name
            for name, view in found.items()
            if (most := allowed[name]) is not None and view.wait_s > most
        }
        return cls(
            {name: view.wait_s for name, view in found.items()},
            {name: view.jobs for name, view in found.items()},
            frozenset(long),
        )

    def in_record(self) -> list[dict[str, Any]]:
        """Return what a batch's record says of them."""
        return [
            {"pilot": name, "jobs": jobs, "wait_s": self.waits[name], "too_long": name in self.long}
            for name, jobs in self.jobs.items()
        ]


NO_QUEUES = DeviceQueues()
