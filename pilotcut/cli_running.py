"""Pilots for as long as a command runs, with what its user should know of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from pilotcut.pilots import PilotManager
    from pilotcut.tasks import TaskManager


@contextmanager
def tasks_on(manager: PilotManager, console: Console) -> Iterator[TaskManager]:
    """Start the pilots, yield their task manager, and end them."""
    from pilotcut.tasks import TaskManager

    for note in manager.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
    with console.status("starting pilots"):
        manager.start()
    if manager.dashboard:
        console.print(f"dask's dashboard: {manager.dashboard}", style="dim", soft_wrap=True)
    with manager, TaskManager(manager) as tasks:
        yield tasks
