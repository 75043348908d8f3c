"""One motif on pilots, and what it leaves in its run directory.

    motif.json    which motif it is, from the beginning; what it found, once it has
    results/      results of tasks with a key: a run that is begun again does not run these again

Pilots write beside that, see `pilotcut.pilots.journal`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotcut.errors import RunDirectoryError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.directory_lock import locked
from pilotcut.io.jsonl import read_jsonl
from pilotcut.io.new_directory import private_directory
from pilotcut.options import check, choice_fault
from pilotcut.study.motifs.answer import SIZES, Answer, Motif
from pilotcut.study.motifs.time_spent import TimeSpent, time_spent
from pilotcut.tasks import TaskManager

FILE_NAME, RESULTS, EVENTS = "motif.json", "results", "events.jsonl"


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
            **asked(self.motif, self.size),
            "found": self.answer.sentence,
            "right": self.answer.right,
            "expected": self.motif.right,
            "seconds": self.seconds,
            "tasks": self.spent.tasks,
            "stored": self.spent.stored,
            "slots": self.spent.slots,
            "work_s": self.spent.work_s,
            "efficiency": self.spent.efficiency,
            "measures": dict(self.answer.measures),
        }


def asked(motif: Motif, size: str) -> dict[str, Any]:
    """Return what a run directory says of a motif before that has found anything."""
    return {"motif": motif.name, "title": motif.title, "size": size}


@contextmanager
def opened(motif: Motif, size: str, directory: Path) -> Iterator[None]:
    """Begin a motif in a new or empty directory, or go on with the same one there.

    Raises
    ------
    RunDirectoryError
        If something else is there or another process, or it cannot be written.
    """
    _check(motif, size, directory)  # before its permissions are others
    private_directory(directory)
    with locked(directory):
        _check(motif, size, directory)
        text = json.dumps(asked(motif, size), indent=1) + "\n"
        write_atomically(directory / FILE_NAME, text)
        yield


def _check(motif: Motif, size: str, directory: Path) -> None:
    """Raise RunDirectoryError if something else is in a directory."""
    if not directory.is_dir():
        return
    if (held := _held(directory / FILE_NAME)) and held != (motif.name, size):
        raise RunDirectoryError(
            f"run directory '{directory}' holds motif '{held[0]}' at size '{held[1]}', expected "
            f"'{motif.name}' at size '{size}', or a new or empty directory; give another --out"
        )
    others = (one.name for one in directory.iterdir() if not one.name.startswith(FILE_NAME))
    if held is None and (other := min(others, default=None)):
        raise RunDirectoryError(
            f"run directory '{directory}' holds '{other}' and no motif, expected a new or empty "
            f"one; give another --out"
        )


def _held(place: Path) -> tuple[str, str] | None:
    """Return the name and the size of the motif that a file tells of, None if it does not."""
    with suppress(OSError, ValueError):
        found = json.loads(place.read_text(encoding="utf-8"))
        if isinstance(found, dict) and "motif" in found:
            return str(found["motif"]), str(found.get("size"))
    return None


def run_motif(motif: Motif, tasks: TaskManager, size: str, directory: Path) -> MotifRun:
    """Run a motif on pilots whose files are in `directory`; its answer goes there too.

    Raises
    ------
    UserError
        If there is no such size.
    """
    check(choice_fault("size", size, SIZES))
    earlier, began = len(read_jsonl(directory / EVENTS)), time.monotonic()
    answer = motif.run(tasks, **motif.sizes[size])
    seconds = time.monotonic() - began
    events = read_jsonl(directory / EVENTS)[earlier:]
    spent = time_spent(events, [pilot.description for pilot in tasks.pilots.pilots], tasks.slots)
    outcome = MotifRun(motif, size, answer, seconds, spent)
    write_atomically(directory / FILE_NAME, json.dumps(outcome.to_dict(), indent=1) + "\n")
    return outcome
