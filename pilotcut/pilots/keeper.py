"""Keeper: the manager of pilots that stay, also when it dies.

Its scheduler is a process that outlives it, and its registry says which jobs are whose: the next
keeper of the run directory takes both over. Pilots of this machine end with their keeper, and the
next one starts them anew.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pilotcut.errors import PilotError
from pilotcut.io.env_variables import whole_number
from pilotcut.pilots import registry
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.external import AttachedPilot
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.pilot import Pilot
from pilotcut.pilots.resources import make_pilot
from pilotcut.pilots.scheduler import LOOPBACK, DaskScheduler
from pilotcut.pilots.slurm.commands import OwnJob, cancel
from pilotcut.pilots.slurm.pilot import SlurmPilot
from pilotcut.pilots.worker.connection import FILE_NAME, Connection

#: Says how long those who use the pilots wait for a keeper that is away, in whole seconds.
RETURNS_VARIABLE = "PILOTCUT_RETURNS_S"
_RETURNS_S = 600
#: How long a scheduler that is there may take to answer.
_ATTACH_S = 10.0


class KeptManager(PilotManager):
    """Manager of the pilots in a run directory, of its own or of a keeper that has died."""

    def __init__(
        self,
        descriptions: Sequence[PilotDescription],
        *,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        assert run_dir is not None
        self.lost = threading.Event()
        self._is_up = False
        self._before = left_connection(Path(run_dir))
        super().__init__(descriptions, run_dir=run_dir)
        if self._before is not None:
            entries = registry.read(Path(run_dir) / registry.FILE_NAME)
            self._pilots = tuple(self._taken_over(entries)) if entries else self._pilots

    def _taken_over(self, entries: Sequence[registry.RegistryEntry]) -> Sequence[Pilot]:
        """Return the pilots that the keeper before has left, and new ones for those that died."""
        taken = []
        for entry in entries:
            is_local = entry.description.resource == "local"
            is_elastic = entry.description.elastic is not None  # others stand by in their place
            # Of this machine's, the end came with the keeper's, or with the scheduler's.
            if is_local or is_elastic or not entry.state.final:
                taken.append(pilot := _successor(entry))
                pilot.watch(self._on_change)
        return taken

    @property
    def takes_over(self) -> bool:
        """Whether it takes over what a keeper has left, and has not done yet."""
        return self._before is not None and not self._is_up

    def start(self, timeout_s: float = 60.0) -> None:
        """Start, or take over; where that fails, all that was left is left for the next keeper."""
        super().start(timeout_s)
        self._is_up = True

    def _on_change(self, pilot: Pilot) -> None:
        if not (self.takes_over and pilot.state.final):
            super()._on_change(pilot)

    def close(self) -> None:
        """End all pilots, with their jobs."""
        if not self.takes_over:
            super().close()

    def _make_scheduler(self, home: Path, scratch: Path, host: str | None) -> DaskScheduler:
        return KeptScheduler(home, scratch, host, self._before)

    def _scheduler_lost(self, reason: str) -> None:
        """Leave the pilots as they are: the next keeper takes them over, with a new scheduler."""
        self._has_lost = True
        self.lost.set()

    def _watch(self) -> None:
        super()._watch()
        if not self._closing.is_set():
            self._scheduler_lost("")


class KeptScheduler(DaskScheduler):
    """The scheduler of kept pilots: one that is there already, or a new one in its place.

    Parameters
    ----------
    home, scratch, host
        See `DaskScheduler`.
    before
        How the one before was joined; a new one has its certificate, so that all who wait can
        join it.
    """

    def __init__(
        self, home: Path, scratch: Path, host: str | None, before: Connection | None
    ) -> None:
        was_local = before is not None and f"//{LOOPBACK}:" in before.address
        super().__init__(home, scratch, LOOPBACK if was_local else host)
        self._before = before

    def launch_process(self, **more: object) -> None:
        """Join the one that is there, or start a process."""
        if self._before is not None and self._before.is_listened_at():
            with contextlib.suppress(PilotError):
                self.attach(self._before, _ATTACH_S)
                return
        super().launch_process(kept=str(self.home), returns_s=_returns_s(), **more)

    def connect(
        self, deadline: float, on_loss: Callable[[str], None], connection: Connection | None = None
    ) -> Connection:
        """Become the client of a new one, and return how others join it."""
        if self._agent is None:
            assert self._before is not None
            return self._before
        made = connection or self._before or Connection.fresh()
        return super().connect(deadline, on_loss, replace(made, returns_s=_returns_s()))

    @property
    def is_alive(self) -> bool:
        """Whether it can be reached."""
        return self._client is not None and self._client.status == "running"

    def close(self) -> None:
        """Have it end: it would outlive us."""
        from pilotcut.pilots.agent.scheduler import end

        if self.is_alive:
            with contextlib.suppress(Exception):  # it may be going already
                self.client.run_on_scheduler(end)
        super().close()


def _successor(entry: registry.RegistryEntry) -> Pilot:
    """Return the pilot that goes on with what an entry says."""
    description, generation = entry.description, entry.generation
    if entry.job is not None:
        pilot = make_pilot(description, generation)
        assert isinstance(pilot, SlurmPilot)
        pilot.take_over(OwnJob(**entry.job))
        for rival in entry.rivals:  # the one that stands first is followed alone
            cancel(OwnJob(**rival))
        return pilot
    if description.resource == "allocation":  # they have joined, or join again, by themselves
        return AttachedPilot(description, generation)
    # A job that was being submitted may still come: it is not to bear this one's key.
    return make_pilot(description, generation + 1)


def _returns_s() -> float:
    return float(whole_number(RETURNS_VARIABLE, _RETURNS_S))


def left_connection(run_dir: Path) -> Connection | None:
    """Return the connection of pilots whose keeper has died; one that ends removes the file."""
    try:
        return Connection.read(run_dir / FILE_NAME)
    except PilotError:
        return None


def cancel_left(run_dir: Path) -> int:
    """Cancel the jobs that a dead keeper has left, end what waits for it; return how many jobs."""
    jobs = [
        OwnJob(**job)
        for entry in registry.read(run_dir / registry.FILE_NAME)
        if entry.job is not None and not entry.state.final
        for job in (entry.job, *entry.rivals)
    ]
    for job in jobs:
        cancel(job)
    (run_dir / FILE_NAME).unlink(missing_ok=True)
    return len(jobs)
