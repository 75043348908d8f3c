"""Managed pilots: what a manager shows of its pilots, and what all of them are told.

Refuses to know how pilots start and end (`manager`).
"""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from pilotcut.io.jsonl import JsonLines
from pilotcut.io.unpicklable import Unpicklable
from pilotcut.pilots.journal import Journal
from pilotcut.pilots.pilot import DirectPilot, Pilot
from pilotcut.pilots.replacements import Replacements
from pilotcut.pilots.scheduler import SchedulerLink
from pilotcut.pilots.usage import CoreUsage


class ManagedPilots(Unpicklable, ABC):
    """The pilots of a manager, as others see them."""

    _journal: Journal
    _pilots: tuple[Pilot, ...]
    _newcomers: list[Callable[[Pilot], None]]
    _scheduler: SchedulerLink | None
    _replacements: Replacements
    _starting: threading.RLock
    _closing: threading.Event
    _has_lost: bool

    def start(self, timeout_s: float = 60.0) -> None:
        """Start all pilots; does nothing a second time.

        Pilots of this machine are active when it returns, Slurm jobs are submitted: tasks
        wait for them.

        Parameters
        ----------
        timeout_s
            Time limit for the whole start in seconds.

        Raises
        ------
        PilotError
            If a pilot is refused or not active in time; nothing is left running then.
        """
        with self._starting:  # whoever makes a task manager starts them, from any thread
            self._start(timeout_s)

    @abstractmethod
    def _start(self, timeout_s: float) -> None:
        """Start what has not been started."""

    @abstractmethod
    def close(self) -> None:
        """End them."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def events(self) -> JsonLines:
        """What became of pilots and tasks, a record for each change."""
        return self._journal.events

    @property
    def usage(self) -> CoreUsage:
        """Core-seconds that the pilots held, and in which tasks ran."""
        return self._journal.usage

    @property
    def pilots(self) -> tuple[Pilot, ...]:
        """All pilots, in the order of the descriptions, then those that came later."""
        return self._pilots

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time on the pilots that have not ended.

        Those that stand by count: they are asked for when there is so much to do.
        """
        return sum(pilot.slots for pilot in self._pilots if not pilot.state.final)

    @property
    def scheduler(self) -> SchedulerLink | None:
        """The scheduler of the pilots outside this process, None if there are none."""
        return self._scheduler

    @property
    def dashboard(self) -> str:
        """Where dask's dashboard can be seen from this machine; empty if there is none."""
        return getattr(self._scheduler, "dashboard", "")

    def on_newcomer(self, callback: Callable[[Pilot], None]) -> None:
        """Call `callback(pilot)` for every pilot that comes later, from any thread."""
        self._newcomers.append(callback)

    def is_replacing(self, pilot: Pilot) -> bool:
        """Return whether another pilot may still come in place of one that has ended."""
        return self._is_open and self._replacements.is_due(pilot)

    @property
    def _is_open(self) -> bool:
        return not self._closing.is_set() and not self._has_lost

    # -- what is shared with workers -------------------------------------------------

    def share(self, key: str, pack: Callable[[], bytes]) -> None:
        """Have every worker that is another process keep what `pack` returns; it is asked once."""
        pack = functools.cache(pack)
        if self._scheduler is not None:
            self._scheduler.share(key, pack())
        for pilot in self._direct():
            pilot.share(key, pack)

    def unshare(self, key: str) -> None:
        """Have them forget it."""
        if self._scheduler is not None:
            self._scheduler.unshare(key)
        for pilot in self._direct():
            pilot.unshare(key)

    def _direct(self) -> Iterator[DirectPilot]:
        return (pilot for pilot in self._pilots if isinstance(pilot, DirectPilot))

    def _add(self, pilot: Pilot) -> None:
        # A new tuple each time: other threads walk over the old one without a lock.
        self._pilots = (*(p for p in self._pilots if p.name != pilot.name), pilot)
        for callback in tuple(self._newcomers):
            callback(pilot)
