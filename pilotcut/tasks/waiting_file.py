"""Waiting file: the tasks that wait, and why, beside the connection file for other processes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pilotcut.io.atomic import write_atomically

FILE_NAME = "waiting.json"

#: How often the file is written, in seconds, and for how many tasks.
PERIOD_S, MOST = 1.0, 50


class WaitingFile:
    """Writes the file now and then, as long as tasks wait or it says that some do.

    Parameters
    ----------
    tasks
        Returns (task, reason) pairs of the first that wait.
    """

    def __init__(self, tasks: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._tasks = tasks
        self._written = 0.0
        self._has_tasks = False

    def write(self, connection_file: Path | None, has_tasks: bool) -> None:
        """Write the file if that is due; `connection_file` is None where nobody could read it."""
        now = time.monotonic()
        if connection_file is None or now - self._written < PERIOD_S:
            return
        if not has_tasks and not self._has_tasks:
            return
        self._written, self._has_tasks = now, has_tasks
        entries = [{"task": task, "reason": reason} for task, reason in self._tasks()]
        with contextlib.suppress(OSError):  # the directory may be gone by now
            write_atomically(connection_file.with_name(FILE_NAME), json.dumps(entries))
