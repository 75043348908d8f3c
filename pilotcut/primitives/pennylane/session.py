"""Pilots of a device: started when a circuit first runs, ended with the device."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from threading import Lock
from typing import TypeAlias

from pilotcut.options import check_kind
from pilotcut.perfmodel.known_pilots import described_by
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.tasks import TaskManager

#: What pilots may be given as.
Pilots: TypeAlias = (
    str | os.PathLike[str] | PilotManager | TaskManager | Iterable[PilotDescription] | None
)


class PilotSession:
    """Task manager over pilots, made when it is first asked for.

    Parameters
    ----------
    pilots
        The path of a file, descriptions, a `PilotManager` or a `TaskManager`; None runs in this
        process. What is given running is left running.

    Raises
    ------
    UserError
        If the pilots are of no such kind, or their file cannot be read.
    """

    def __init__(self, pilots: Pilots) -> None:
        running = (TaskManager, PilotManager)
        expected = (str, os.PathLike, Iterable, type(None), *running)
        check_kind("pilots", pilots, expected, "the path of a pilot description, or a TaskManager")
        self._running = pilots if isinstance(pilots, running) else None
        self._described: Sequence[PilotDescription] = ()
        if pilots is not None and not isinstance(pilots, running):
            self._described = described_by(pilots)  # read now: mistakes show early
        self._tasks: TaskManager | None = None
        self._lock = Lock()
        self._owned = ExitStack()
        self._finalizer = weakref.finalize(self, self._owned.close)

    @property
    def tasks(self) -> TaskManager | None:
        """The task manager, with running pilots; None for this process."""
        with self._lock:
            if self._tasks is None and (self._running or self._described):
                self._tasks = self._started()
            return self._tasks

    def _started(self) -> TaskManager:
        if isinstance(self._running, TaskManager):
            return self._running
        manager = self._running
        if manager is None:
            manager = self._owned.enter_context(PilotManager(self._described))
        return self._owned.enter_context(TaskManager(manager))

    def close(self) -> None:
        """End what was started here."""
        with self._lock:
            self._owned.close()
            self._tasks = None
