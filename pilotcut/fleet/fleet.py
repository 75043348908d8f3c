"""Fleet of QPUs, as a description names them: what they are to a model, where their work runs.

The seam between devices and pilots: everything else in this package works on `Job`s and on a
function that starts work on a device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.errors import DescriptionError, PilotError, UserError
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.similarity import similarity
from pilotcut.fleet.strategies import FleetFacts
from pilotcut.fleet.submission import PendingResult
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.tasks import TaskFuture, TaskManager

#: Seconds between two looks at pilots that are waited for.
_LOOK_S = 0.2


def load_fleet(path: str | Path) -> tuple[PilotDescription, ...]:
    """Return the pilots of a description, each of which has a QPU.

    Raises
    ------
    DescriptionError
        With one line for every fault.
    """
    descriptions = load_descriptions(path)
    faults = [
        f"{path}: pilot '{d.name}': backend.qpu is missing, expected a QPU on every pilot of a "
        f"fleet; describe one as 'qpu_fleet' does (pilotcut pilots show qpu_fleet --yaml)"
        for d in descriptions
        if d.backend.qpu is None
    ]
    if faults:
        raise DescriptionError(faults)
    return descriptions


def jobs_of(
    descriptions: Sequence[PilotDescription],
    model: str,
    qubits: int,
    engine: str,
    *,
    layers: int = 1,
    runs: bool = True,
) -> list[Job]:
    """Return what each device has to do, compiled.

    Parameters
    ----------
    descriptions
        The pilots of the devices.
    model, qubits, engine, layers
        See `pilotcut.fleet.device_jobs.Job`.
    runs
        Whether it will run here: then its engine is made too.

    Raises
    ------
    UserError
        With one line for every device that cannot run the model.
    """
    jobs, faults = [], []
    for description in descriptions:
        assert description.backend.qpu is not None
        job = Job(description.name, description.backend.qpu, model, qubits, engine, layers)
        try:
            prepared = job.prepared
            if runs:
                prepared.engine  # noqa: B018 - makes it
            jobs.append(job)
        except UserError as error:
            faults += [f"device '{description.name}': {fault}" for fault in error.faults]
    if faults:
        raise UserError(list(dict.fromkeys(faults)))
    return jobs


def facts_of(jobs: Sequence[Job], kappa: float) -> FleetFacts:
    """Return what strategies may know of the devices."""
    vectors = np.stack([job.prepared.vector for job in jobs])
    success = np.array([job.prepared.success for job in jobs])
    return FleetFacts(similarity(vectors, kappa), success)


class OnPilots:
    """Starts work on the pilots of the devices, and knows which of them are there.

    Parameters
    ----------
    tasks
        The task manager of the fleet's pilots.
    """

    def __init__(self, tasks: TaskManager) -> None:
        self._tasks = tasks

    def submit(self, device: str, fn: Callable[..., Any], *arguments: Any) -> PendingResult:
        """Start a function on the pilot of that name."""
        name = f"{device}.{fn.__name__}"
        return _Task(self, device, self._tasks.submit_task(fn, *arguments, pilot=device, name=name))

    def present(self) -> set[str]:
        """Return the devices whose pilots are active; waits while none is and one may come."""
        while True:
            pilots = self.pilots
            active = {name for name, pilot in pilots.items() if pilot.state is PilotState.ACTIVE}
            if active or not any(map(self._may_come, pilots.values())):
                return active
            time.sleep(_LOOK_S)

    def gather(self, seconds: float) -> set[str]:
        """Wait for the pilots of all devices, at most so long; return the devices that may come."""
        limit = time.monotonic() + seconds
        while True:
            pilots = self.pilots.items()
            coming = {
                name
                for name, pilot in pilots
                if pilot.state is not PilotState.ACTIVE and self._may_come(pilot)
            }
            if not coming or time.monotonic() >= limit:
                return coming
            time.sleep(min(_LOOK_S, max(0.0, limit - time.monotonic())))

    @property
    def pilots(self) -> Mapping[str, Pilot]:
        """The pilots by device; one that was replaced is its successor."""
        return {pilot.name: pilot for pilot in self._tasks.pilots.pilots}

    def _may_come(self, pilot: Pilot) -> bool:
        return not pilot.state.final or self._tasks.pilots.is_replacing(pilot)


@dataclass(frozen=True)
class _Task:
    """Work on a device that is not waited for while its pilot is queued, or comes up, again."""

    on: OnPilots
    device: str
    future: TaskFuture

    def result(self) -> Any:
        """Return the result.

        Raises
        ------
        PilotError
            If the pilot is lost, even if it is being replaced.
        """
        while not wait([self.future], _LOOK_S).done:
            pilot = self.on.pilots[self.device]
            if pilot.state not in (PilotState.ACTIVE, PilotState.DRAINING):
                self.future.cancel()
                why = f": {pilot.reason}" if pilot.reason else ""
                raise PilotError(f"its pilot is {pilot.state.value}{why}")
        return self.future.result()
