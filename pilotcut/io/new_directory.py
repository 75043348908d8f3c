"""New directories, named by the time, that no other process has.

Commands that start in the same second, as elements of an array of jobs do, would share one
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from pilotcut.errors import RunDirectoryError
from pilotcut.io.disk import free_in_words, has_room, why_unwritten


def new_directory(stem: Path) -> Path:
    """Make a directory, and return it: ``STEM-TIME``, or ``STEM-TIME-2`` where that is taken.

    Raises
    ------
    RunDirectoryError
        If none can be made.
    """
    try:
        return _made(stem)
    except OSError as error:
        raise _not_made(f"no directory can be made in '{stem.parent}'", error) from None


def private_directory(path: Path) -> None:
    """Make a directory that a user has named, or take one that is there, for its owner alone.

    Raises
    ------
    RunDirectoryError
        If that cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise _not_made(f"'{path}' cannot be a run directory", error) from None
    if not has_room(path):
        raise RunDirectoryError(
            f"'{path}' has {free_in_words(path)}, expected room for the files of a run; make room, "
            f"or name another one"
        )


def _not_made(what: str, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(
        f"{what} ({why_unwritten(error)}), expected a place that can be written; make room, or "
        f"name another one"
    )


def _made(stem: Path) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    now = f"{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        path = stem.with_name(f"{stem.name}-{now}" + (f"-{number}" if number > 1 else ""))
        with suppress(FileExistsError):
            # Not exist_ok: of two processes one makes it.
            path.mkdir(mode=0o700)
            return path
    raise AssertionError("numbers end")


@contextmanager
def given_or_new(given: Path | None, stem: Path) -> Iterator[Path]:
    """Yield a directory that was given, or a new one, which goes again if nothing came into it."""
    if given is not None:
        yield given
        return
    path = new_directory(stem)
    try:
        yield path
    finally:
        with suppress(OSError):  # it is not empty
            path.rmdir()
