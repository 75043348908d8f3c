"""Session of a command: pilots for as long as it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pilotcut.cli.console import err, note

if TYPE_CHECKING:
    from pilotcut.pilots import PilotManager
    from pilotcut.pilots.pilot import Pilot
    from pilotcut.tasks import TaskManager


def manager_of(pilots: Path, run_dir: Path) -> PilotManager:
    """Return the manager of described pilots, or of those that run behind a connection file."""
    from pilotcut.pilots import PilotManager, registry
    from pilotcut.pilots.manager import RemoteManager

    if registry.lent(pilots) is not None:
        return RemoteManager(pilots)
    return PilotManager.from_yaml(pilots, run_dir=run_dir)


def say_what_pilots_wait_for(manager: PilotManager) -> None:
    """Print a line whenever a pilot begins to wait in a queue, or for something else than before.

    Also where output is a file: who looks into it sees why nothing happens.
    """
    from pilotcut.pilots import PilotState

    def tell(pilot: Pilot) -> None:
        if pilot.state is PilotState.PENDING:
            note(f"pilot '{pilot.name}': {pilot.reason}")

    for pilot in manager.pilots:
        pilot.watch(tell)
    manager.on_newcomer(lambda pilot: pilot.watch(tell))


def say_what_pilots_held(manager: PilotManager) -> None:
    """Print what pilots that somebody counts have held, and what of that tasks used."""
    described = [pilot.description for pilot in manager.pilots]
    is_counted = any(d.elastic is not None or d.resource == "slurm" for d in described)
    if is_counted and (words := manager.usage.in_words()):
        note(words)


@contextmanager
def tasks_on(manager: PilotManager, store: Path | None = None) -> Iterator[TaskManager]:
    """Start the pilots, yield their task manager, with a store of results, and end them."""
    from pilotcut.tasks import TaskManager

    for text in manager.notes:
        note(text)
    say_what_pilots_wait_for(manager)
    with err.status("starting pilots"):
        manager.start()
    if manager.dashboard:
        err.print(f"dask's dashboard: {manager.dashboard}", style="dim", soft_wrap=True)
    with manager, TaskManager(manager, store=store) as tasks:
        yield tasks
    say_what_pilots_held(manager)
