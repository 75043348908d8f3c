"""Devices of pilots, and the pilots that a batch may run on.

Knows descriptions and what fragments become on a device; refuses to know batches and why they run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pilotcut import backends
from pilotcut.backends.base import DeviceFit
from pilotcut.backends.extrapolation import linear
from pilotcut.cutting.fragment import Fragment
from pilotcut.errors import UserError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.access import ACCESS_FIELDS, FREE
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.pilots.pilot import PilotState
from pilotcut.tasks import TaskManager

if TYPE_CHECKING:
    from pilotcut.backends.device_client import QueueView
    from pilotcut.backends.qpu import QpuBackend

#: Circuits of one task on a device: Aer takes some 5 ms for each, noise included.
DEVICE_CIRCUITS = 16
#: And on devices that run circuits themselves, where each job costs time of its own.
JOB_CIRCUITS = 100


def mode_of(backend: str) -> str:
    """Return the mode that circuits with shots are run in by a backend of that name."""
    return "sampled" if backend == "sampled" else "counts"


@dataclass(frozen=True)
class DevicePilot:
    """A pilot that has a QPU, or simulates one with its noise.

    Parameters
    ----------
    name, qpu
        Of the pilot, and its device.
    played
        Whether Aer plays a device that would run circuits itself.
    """

    name: str
    qpu: QpuDescription
    played: bool = False

    def fit(self, fragment: Fragment) -> DeviceFit:
        """Return how well a fragment does there."""
        found = backends.compiler(self.name, self.qpu).fit(fragment)
        price = self.qpu.price
        if self.played or price == FREE:
            return found
        return replace(found, shot_cost=price.shot + price.second * found.shot_s)

    def shot_s(self, fragment: Fragment, factors: tuple[int, ...] = (1,)) -> float:
        """Return the seconds of a shot there, on average over the noise factors that it is at."""
        if factors == (1,):
            return self.fit(fragment).shot_s
        compiler = backends.compiler(self.name, self.qpu)
        share = np.abs(linear(factors))
        each = [compiler.shot_s(fragment, factor) for factor in factors]
        return float(share @ each / share.sum())

    def overhead(self, fragment: Fragment) -> float:
        """Return how many times as large errors are there with the noise of gates cancelled."""
        compiler = backends.compiler(self.name, self.qpu)
        return (compiler.played if self.played else compiler).overhead(fragment)

    @property
    def runs_itself(self) -> bool:
        """Whether the device runs circuits, and Aer does not play it."""
        return self.qpu.runs_itself and not self.played

    @property
    def has_batches(self) -> bool:
        """Whether jobs of each query there are a batch."""
        return self.runs_itself and self.qpu.way == "batch"

    @property
    def most_circuits(self) -> int:
        """Most circuits of a work unit there."""
        usual = JOB_CIRCUITS if self.runs_itself else DEVICE_CIRCUITS
        return self.qpu.limits.circuits or usual

    def backend(self, factor: int = 1) -> QpuBackend:
        """Return what runs circuits there in this process, with so many times the noise."""
        return backends.device_backend(self.name, self.qpu, factor, self.played)

    @property
    def key(self) -> str:
        """What decides its results."""
        # When a device is away, and how it is had, changes nothing of what it measures.
        found = self.qpu.model_dump_json(exclude={"offline", "mitigation", *ACCESS_FIELDS})
        return f"{found} played" if self.played else found

    @property
    def simulator(self) -> DevicePilot | None:
        """What runs in its place if it makes wait, None if the description allows none."""
        return replace(self, played=True) if self.qpu.instead and not self.played else None

    @property
    def called(self) -> str:
        """What records call it."""
        return f"{self.name} (simulator)" if self.played else self.name

    def queue(self) -> QueueView | None:
        """Return the queue that it shares with others, None without one that is told."""
        if not self.runs_itself or self.qpu.way != "shared":
            return None
        return backends.queue_of(self.name, self.qpu)


@dataclass(frozen=True)
class Fleet:
    """Pilots that a batch may run on.

    Parameters
    ----------
    devices
        Pilots with a device each; () if circuits run without noise.
    ideal
        Names of the pilots that a batch without noise may run on, None for any.
    """

    devices: tuple[DevicePilot, ...] = ()
    ideal: tuple[str, ...] | None = None

    def most_circuits(self, circuits: int) -> int:
        """Return how many circuits of a batch's a work unit has at most.

        Devices that run circuits themselves get as few jobs as their limits allow, though each of
        them something to do.
        """
        most = min((one.most_circuits for one in self.devices), default=DEVICE_CIRCUITS)
        each = -(-circuits // max(1, len(self.devices)))
        return min(most, max(DEVICE_CIRCUITS, each))

    def without(self, gone: Collection[str]) -> Fleet:
        """Return the fleet without some of its devices."""
        return Fleet(tuple(one for one in self.devices if one.name not in gone), self.ideal)


def fleet_of(tasks: TaskManager | None, mode: str) -> Fleet:
    """Return the pilots that a batch may run on, of those that have not ended.

    Raises
    ------
    UserError
        As `fleet_among`.
    """
    if tasks is None:
        return Fleet()
    ended = (PilotState.DRAINING, PilotState.DONE, PilotState.FAILED, PilotState.CANCELED)
    pilots = tasks.takers or tasks.pilots.pilots
    alive = [pilot.description for pilot in pilots if pilot.state not in ended]
    # Where all have ended, whoever submits is told so, pilot by pilot.
    return fleet_among(alive or [pilot.description for pilot in pilots], mode)


def fleet_among(pilots: Iterable[PilotDescription], mode: str) -> Fleet:
    """Return the pilots that circuits of a mode ("counts", "sampled", "exact") may run on.

    Raises
    ------
    UserError
        In counts mode if some pilots have a qpu and some have not: their errors do not compare.
        In the others, which simulate no noise, if all have one.
    """
    # MPI pilots run tasks of one rank only if they are named.
    taking = [pilot for pilot in pilots if pilot.ranks == 1]
    devices = [DevicePilot(p.name, p.backend.qpu) for p in taking if p.backend.qpu is not None]
    ideal = tuple(pilot.name for pilot in taking if pilot.backend.qpu is None)
    if not devices:
        return Fleet()
    if mode != "counts":
        if ideal:
            return Fleet(ideal=ideal)
        raise UserError(
            f"mode is {mode}, which simulates no noise, and {_all(devices)} backend.qpu; expected "
            f"mode counts, or a pilot without backend.qpu"
        )
    if ideal:
        raise UserError(
            f"mode is counts, and pilot '{devices[0].name}' has a backend.qpu while pilot "
            f"'{ideal[0]}' has none; expected one for all pilots that take circuits, or for none: "
            f"leave one kind out"
        )
    return Fleet(tuple(devices))


def _all(devices: Sequence[DevicePilot]) -> str:
    if len(devices) == 1:
        return f"the only pilot, '{devices[0].name}', has a"
    return f"all {len(devices)} pilots ('{devices[0].name}', ...) have a"


def fits_of(fragment: Fragment, devices: Iterable[DevicePilot]) -> Mapping[str, DeviceFit]:
    """Return how well a fragment does on each device, by name of the pilot."""
    return {device.name: device.fit(fragment) for device in devices}
