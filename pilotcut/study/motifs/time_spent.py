"""Where the time of a run's tasks went: their own work, and everything around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotcut.options import counted
from pilotcut.pilots.description import PilotDescription
from pilotcut.report.numbers import number
from pilotcut.report.task_events import TaskEventReader


@dataclass(frozen=True)
class TimeSpent:
    """Time of a run's tasks, in seconds.

    Parameters
    ----------
    tasks
        How many ran.
    work_s
        Of their functions, summed over the slots that they filled.
    wall_s
        From the first one's start to the last one's end.
    slots
        How many could run at the same time.
    stored
        Tasks that did not run, for an earlier run in the same directory has stored their results.
    """

    tasks: int
    work_s: float
    wall_s: float
    slots: int
    stored: int = 0

    @property
    def efficiency(self) -> float:
        """Share of the slots' time in which functions ran; 1 is the work-conserving bound."""
        return self.work_s / (self.slots * self.wall_s) if self.wall_s and self.slots else 0.0

    def __str__(self) -> str:
        rate = self.tasks / self.wall_s if self.wall_s else 0.0
        stored = f"; {counted(self.stored, 'more result')} stored by an earlier run"
        return (
            f"{counted(self.tasks, 'task')} on {counted(self.slots, 'slot')} in "
            f"{self.wall_s:.1f} s ({rate:.1f} tasks/s); {self.work_s:.1f} s of it their own work, "
            f"{self.efficiency:.0%} of what the slots had{stored if self.stored else ''}"
        )


def time_spent(
    events: Iterable[Mapping[str, Any]], pilots: Iterable[PilotDescription], slots: int
) -> TimeSpent:
    """Return where the time of tasks went that ran on so many slots.

    Parameters
    ----------
    events
        Of one life of a program: those of an earlier one in the same directory are not meant.
    pilots
        What the tasks ran on.
    slots
        Of all pilots together.
    """
    reader, stored = TaskEventReader(), 0
    for event in events:
        if event.get("event") == "task":
            reader.add(event, number(event.get("time")))
            stored += bool(event.get("stored"))
    history = reader.result()
    if history is None or not len(history.runs):
        return TimeSpent(0, 0.0, 0.0, slots, stored)
    runs = history.runs
    cores_per_slot = {pilot.name: pilot.cores_per_slot for pilot in pilots}
    held = np.ceil(runs.cores / [cores_per_slot.get(name, 1) for name in runs.pilot])
    wall_s = float(runs.finished.max() - runs.started.min())
    return TimeSpent(len(runs), float((runs.run_s * held).sum()), wall_s, slots, stored)
