"""Lender: the manager of another process whose pilots this one uses, and how it is waited for.

A lender that comes back is waited for, as its connection file says; what was under way is asked
for again then. Refuses to know how a lender is started again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pilotcut.errors import PilotError
from pilotcut.pilots import registry
from pilotcut.pilots.dask_pilot import PilotSite
from pilotcut.pilots.external import RemotePilot
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.pilots.scheduler import SchedulerLink
from pilotcut.pilots.worker.connection import FILE_NAME, Connection

_log = logging.getLogger(__name__)

#: How often it is looked whether a lender is back, and how long one such look may take.
RETRY_S, _ATTACH_S = 1.0, 5.0


class Lender:
    """The manager that has written a connection file.

    Parameters
    ----------
    connection_file
        Its connection file; the registry of its pilots stands beside it.
    """

    def __init__(self, connection_file: Path) -> None:
        self._file = connection_file
        self._connection = Connection.read(connection_file)
        self._registry = connection_file.with_name(registry.FILE_NAME)
        self._link = SchedulerLink(connection_file.parent)
        self._was_away = False

    def attach(self, timeout_s: float) -> PilotSite:
        """Join its scheduler, and return where its pilots are.

        Raises
        ------
        PilotError
            If nobody answers in time.
        """
        self._link.attach(self._connection, timeout_s)
        return PilotSite(self._link, self._file.with_name(FILE_NAME))

    def lists_none(self) -> PilotError:
        """Return the error where there is no pilot of its to use."""
        return PilotError(
            f"{self._registry} lists no pilot that can be used, expected those of a running "
            f"manager{registry.ends_in_words(self._registry)}"
        )

    def look(self, pilots: Iterable[Pilot]) -> tuple[list[registry.RegistryEntry], list[Pilot]]:
        """Tell pilots of their states; return entries of new ones, and those not listed any more.

        A pilot whose lender has started another in its place is not listed, and has no workers.
        """
        known = {pilot.key: pilot for pilot in pilots if isinstance(pilot, RemotePilot)}
        new = []
        for entry in registry.read(self._registry):
            if (pilot := known.pop(entry.key, None)) is not None:
                pilot.mirror(entry)
            elif not entry.state.final and entry.description.resource != "inprocess":
                new.append(entry)
        return new, list(known.values())

    def is_there(self, pilots: Sequence[Pilot], closing: threading.Event) -> bool:
        """Return whether its scheduler answers; one that may come back is waited for first."""
        return self._link.is_alive or self._is_back(pilots, closing)

    def _is_back(self, pilots: Sequence[Pilot], closing: threading.Event) -> bool:
        patience = self._connection.returns_s
        if not patience:
            return False
        reason = (
            f"the connection to the pilots of {self._file.parent} is lost; waiting up to "
            f"{patience:.0f} s for it"
        )
        _log.warning("%s; 'pilotcut pilots up' starts their keeper again", reason)
        for pilot in pilots:
            pilot.note(PilotState.STARTING, reason)
        limit = time.monotonic() + patience
        while time.monotonic() < limit and not closing.wait(RETRY_S):
            if not self._file.exists():  # it was ended, and did not die
                return False
            try:
                self._connection = Connection.read(self._file)
                if not self._connection.is_listened_at():
                    continue
                self._link.attach(self._connection, _ATTACH_S)
            except PilotError:
                continue
            _log.warning("the connection to the pilots of %s is back", self._file.parent)
            self._was_away = True
            return True
        return False

    def resume(self, pilots: Iterable[Pilot]) -> None:
        """Have pilots ask for what was under way, if the lender was away; `look` comes before."""
        was_away, self._was_away = self._was_away, False
        for pilot in pilots:
            if was_away and isinstance(pilot, RemotePilot):
                pilot.resume()
