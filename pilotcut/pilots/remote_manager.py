"""The pilots of a manager in another process, used from here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pilotcut.errors import PilotError
from pilotcut.pilots import registry
from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.pilots.scheduler import SchedulerLink
from pilotcut.pilots.worker.connection import Connection


class BorrowedPilot(DaskPilot):
    """A pilot that another process manages; its state is what that one says."""

    def __init__(self, entry: registry.Entry) -> None:
        super().__init__(entry.description)
        self._key = entry.key

    @property
    def key(self) -> str:
        """What tells this pilot's workers from all others."""
        return self._key

    def join(self, scheduler: SchedulerLink) -> None:
        """Take the pilot into use."""
        self._scheduler = scheduler

    def mirror(self, entry: registry.Entry) -> None:
        """Take over the state that its manager gives."""
        if entry.description != self.description:
            self.description = entry.description
        self.note(entry.state, entry.reason)

    def close(self) -> None:
        """Let go of the pilot; it stays with its manager."""
        self.move(PilotState.DONE, "not used from here any more")


class BorrowingManager(PilotManager):
    """Uses the pilots of the manager that wrote a connection file; `close` leaves them be.

    Parameters
    ----------
    connection_file
        Its connection file, such as ``runs/pilots-20260102-030405/connection.json``.
    """

    def __init__(self, connection_file: Path) -> None:
        self._lender = Connection.read(connection_file)
        self._roster = connection_file.with_name(registry.FILE_NAME)
        super().__init__(())
        self.connection_file = connection_file

    def _check(self, descriptions: Sequence[PilotDescription]) -> None:
        """Nothing is described here: the lender's roster says what there is."""

    def start(self, timeout_s: float = 60.0) -> None:
        """Join the scheduler; does nothing a second time."""
        if self._scheduler is not None:
            return
        link = SchedulerLink(self._roster.parent)
        link.attach(self._lender, timeout_s)
        self._scheduler = link
        self._look_at_roster()
        if not self._pilots:
            self.close()
            raise PilotError(f"{self._roster} lists no pilot, expected those of a running manager")
        self._watch_in_background()

    def _watch(self) -> None:
        while not self._closing.wait(0.5):
            if self._scheduler is None or not self._scheduler.is_alive:
                self._scheduler_lost("the manager of the pilots has ended")
                return
            self._look_at_roster()

    def _look_at_roster(self) -> None:
        known = {pilot.key: pilot for pilot in self._pilots if isinstance(pilot, BorrowedPilot)}
        for entry in registry.read(self._roster):
            if entry.key in known:
                known[entry.key].mirror(entry)
            elif not entry.state.final and entry.description.resource != "inprocess":
                self._borrow(entry)

    def _borrow(self, entry: registry.Entry) -> None:
        assert self._scheduler is not None
        pilot = BorrowedPilot(entry)
        pilot.watch(self._on_change)
        pilot.join(self._scheduler)
        self._add(pilot)
        pilot.mirror(entry)

    def _on_change(self, pilot: Pilot) -> None:
        """Keep the change in memory: the lender writes the files."""
        record = {"time": time.time(), "event": "pilot", "pilot": pilot.name}
        self.events.write(record | {"state": pilot.state.value, "reason": pilot.reason})

    def _forget_connection(self) -> None:
        """Leave the file: it is the lender's."""
