"""Session of a command: pilots for as long as it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pilotcut.cli.console import err, note

if TYPE_CHECKING:
    from pilotcut.pilots import PilotManager
    from pilotcut.tasks import TaskManager


@contextmanager
def tasks_on(manager: PilotManager) -> Iterator[TaskManager]:
    """Start the pilots, yield their task manager, and end them."""
    from pilotcut.tasks import TaskManager

    for text in manager.notes:
        note(text)
    with err.status("starting pilots"):
        manager.start()
    if manager.dashboard:
        err.print(f"dask's dashboard: {manager.dashboard}", style="dim", soft_wrap=True)
    with manager, TaskManager(manager) as tasks:
        yield tasks
