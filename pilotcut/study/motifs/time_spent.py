"""Where the time of a run's tasks went: their own work, and everything around it."""

from __future__ import annotations

from dataclasses import dataclass

from pilotcut.report.run_record import RunRecord


@dataclass(frozen=True)
class TimeSpent:
    """Time of a run's tasks, in seconds.

    Parameters
    ----------
    tasks
        How many ran.
    work_s
        Of their functions, summed over tasks.
    wall_s
        From the first one's start to the last one's end.
    slots
        How many could run at the same time.
    """

    tasks: int
    work_s: float
    wall_s: float
    slots: int

    @property
    def efficiency(self) -> float:
        """Share of the slots' time in which functions ran; 1 is the work-conserving bound."""
        return self.work_s / (self.slots * self.wall_s) if self.wall_s and self.slots else 0.0

    def __str__(self) -> str:
        rate = self.tasks / self.wall_s if self.wall_s else 0.0
        return (
            f"{self.tasks:,} tasks on {self.slots} slots in {self.wall_s:.1f} s ({rate:.0f} "
            f"tasks/s); {self.work_s:.1f} s of it their own work, {self.efficiency:.0%} of what "
            f"the slots had"
        )


def time_spent(record: RunRecord, slots: int) -> TimeSpent:
    """Return where the time of a run's tasks went, that ran on so many slots."""
    runs = None if record.tasks is None else record.tasks.runs
    if runs is None or not len(runs):
        return TimeSpent(0, 0.0, 0.0, slots)
    wall_s = float(runs.finished.max() - runs.started.min())
    return TimeSpent(len(runs), float(runs.run_s.sum()), wall_s, slots)
