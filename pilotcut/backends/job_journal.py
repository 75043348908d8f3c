"""Jobs that are in flight, written down before their results are awaited.

A job costs money once it is submitted. With a store its id is on the disk before anything else
happens, under the key of its work unit and the content of the job, so that whoever runs the same
unit again fetches the result. Knows files and ids; refuses to know who runs jobs, and what of.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from pilotcut.errors import UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten


@dataclass
class JobJournal:
    """Ids of one work unit's jobs.

    Parameters
    ----------
    directory
        Where all units of a query write; made with the first job.
    key
        What decides the unit's results.
    """

    directory: Path
    key: str
    _seen: Counter[str] = field(default_factory=Counter)

    def entry(self, content: str) -> Path:
        """Return the file of the next job of that content: equal ones are told by their order."""
        number = self._seen[content]
        self._seen[content] += 1
        name = hashlib.sha256(f"{self.key} {content} {number}".encode()).hexdigest()[:32]
        return self.directory / f"{name}.json"

    def write(self, entry: Path, job: str, pilot: str) -> None:
        """Write a job's id down, durably.

        Raises
        ------
        UserError
            If it cannot be written: then nobody could fetch the job's result.
        """
        content = json.dumps({"job": job, "pilot": pilot, "unit": self.key})
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(entry, content, durable=True)
        except OSError as error:
            raise UserError(
                f"job {job} of pilot '{pilot}' cannot be written down in {self.directory}: "
                f"{why_unwritten(error, self.directory)}; expected a directory that workers can "
                f"write to, with space left; make room, then resume"
            ) from error


def job_in(entry: Path) -> str | None:
    """Return the id that an entry holds, None if it holds none."""
    try:
        found = json.loads(entry.read_text())["job"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def units_in(directory: Path) -> set[str]:
    """Return the keys of the units that have jobs in a directory."""
    found = set()
    for path in directory.glob("*.json"):
        try:
            found.add(json.loads(path.read_text())["unit"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


_CURRENT: ContextVar[JobJournal | None] = ContextVar("job_journal", default=None)


@contextmanager
def written_down(journal: JobJournal | None) -> Iterator[None]:
    """Write jobs of this thread down in a journal meanwhile; None writes none."""
    token = _CURRENT.set(journal)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_journal() -> JobJournal | None:
    """Return the journal of what this thread runs, None without one."""
    return _CURRENT.get()
