"""One motif on pilots, and what it leaves in its run directory."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotcut.io.atomic import write_atomically
from pilotcut.options import check, choice_fault
from pilotcut.report.read import read_run
from pilotcut.study.motifs.answer import SIZES, Answer, Motif
from pilotcut.study.motifs.time_spent import TimeSpent, time_spent
from pilotcut.tasks import TaskManager

FILE_NAME = "motif.json"


@dataclass(frozen=True)
class MotifRun:
    """What a motif came to.

    Parameters
    ----------
    motif, size
        What ran.
    answer
        What it has found.
    seconds
        From its start to its answer, pilots' start apart.
    spent
        Where the time of its tasks went.
    """

    motif: Motif
    size: str
    answer: Answer
    seconds: float
    spent: TimeSpent

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "motif": self.motif.name,
            "title": self.motif.title,
            "size": self.size,
            "found": self.answer.sentence,
            "right": self.answer.right,
            "expected": self.motif.right,
            "seconds": self.seconds,
            "tasks": self.spent.tasks,
            "slots": self.spent.slots,
            "work_s": self.spent.work_s,
            "efficiency": self.spent.efficiency,
            "measures": dict(self.answer.measures),
        }


def run_motif(motif: Motif, tasks: TaskManager, size: str, directory: Path) -> MotifRun:
    """Run a motif on pilots whose files are in `directory`; its answer goes there too.

    Raises
    ------
    UserError
        If there is no such size.
    """
    check(choice_fault("size", size, SIZES))
    began = time.monotonic()
    answer = motif.run(tasks, **motif.sizes[size])
    seconds = time.monotonic() - began
    outcome = MotifRun(motif, size, answer, seconds, time_spent(read_run(directory), tasks.slots))
    write_atomically(directory / FILE_NAME, json.dumps(outcome.to_dict(), indent=1) + "\n")
    return outcome
