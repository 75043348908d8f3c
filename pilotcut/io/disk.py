"""Disks without space: what the system says of a file that cannot be written, and what is free.

Refuses to know what the file is for, and what is to be done.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
#: With less free than this not even a line of a log finds a place.
_FULL_BYTES = 4096
_LEAST_BYTES = 65_536


def why_unwritten(error: OSError, path: str | os.PathLike[str] | None = None) -> str:
    """Return what the system says, and for a full disk how full it is.

    Parameters
    ----------
    error
        What it has raised.
    path
        The file, or a directory above it; that of the error if None.

    Examples
    --------
    >>> why_unwritten(PermissionError(13, "Permission denied"), "/somewhere")
    'Permission denied'
    """
    said = error.strerror or str(error)
    where = path if path is not None else error.filename
    if error.errno == errno.EDQUOT:
        return f"{said}, see 'quota -s'"
    if error.errno == errno.ENOSPC and where is not None:
        return f"{said}, {free_in_words(Path(where))}"
    return said


def free_in_words(path: Path) -> str:
    """Return how much is free where a file is, or would be."""
    usage = _usage(path)
    if usage is None:
        return "of which nothing is known"
    return f"{_in_words(usage.free)} free of {_in_words(usage.total)}"


def has_room(path: Path) -> bool:
    """Return whether there is room for the least that a run writes, as far as is known."""
    usage = _usage(path)
    return usage is None or usage.free >= _LEAST_BYTES


def full_in_words(path: Path) -> str:
    """Return that a disk is full, if it is, to stand behind what may be so because of that."""
    usage = _usage(path)
    if usage is None or usage.free >= _FULL_BYTES:
        return ""
    return f" (its disk is full, {free_in_words(path)}; make room)"


def _usage(path: Path) -> shutil._ntuple_diskusage | None:
    """Return what is free where a file is, or would be; None if nobody knows."""
    try:
        return shutil.disk_usage(_there(path))
    except OSError:
        return None


def _there(path: Path) -> Path:
    """Return the first directory upwards that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _in_words(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"
