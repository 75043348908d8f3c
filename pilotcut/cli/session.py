"""What commands have in common: notes to their user, and pilots for as long as they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from pilotcut.pilots import PilotManager
    from pilotcut.tasks import TaskManager


_err = Console(stderr=True)


def note(text: str) -> None:
    """Tell what a user should know, and may pass over."""
    _err.print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True, highlight=False)


@contextmanager
def tasks_on(manager: PilotManager) -> Iterator[TaskManager]:
    """Start the pilots, yield their task manager, and end them."""
    from pilotcut.tasks import TaskManager

    for text in manager.notes:
        note(text)
    with _err.status("starting pilots"):
        manager.start()
    if manager.dashboard:
        _err.print(f"dask's dashboard: {manager.dashboard}", style="dim", soft_wrap=True)
    with manager, TaskManager(manager) as tasks:
        yield tasks
