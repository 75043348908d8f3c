"""JSON Lines files: the records of a run, one object a line, with the system as it is written.

A killed run leaves a readable file; at most its last line is torn, and readers drop it. A line
that finds no space leaves nothing of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pilotcut.errors import RunDirectoryError
from pilotcut.io.disk import why_unwritten

_log = logging.getLogger(__name__)

#: The four stages of a query, in order.
STAGES = ("partition", "generate", "execute", "reconstruct")

#: Records kept in memory where there is no file; older ones are forgotten.
KEPT_RECORDS = 4096


class JsonLines:
    """Appends records to a file; safe to call from several threads.

    Parameters
    ----------
    path
        The file, or None to keep the records in memory only (`records`).
    append
        Keep what the file holds already.
    vital
        Whether a record that cannot be written is an error; else it is left out, and that is
        logged once.

    Notes
    -----
    A copy keeps its records in memory: a file is for one to write.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, append: bool = True, vital: bool = True
    ) -> None:
        self.path = None if path is None else Path(path)
        self._vital, self._warned = vital, False
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT_RECORDS)
        self._lock = threading.Lock()
        self._holders = 0
        self._lines: list[bytes] = []
        # Without a buffer, which would keep what did not fit and try it again at the end.
        mode = "ab" if append else "wb"
        self._file = FileIO(self.path, mode) if self.path else None

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"kept": list(self._kept)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        JsonLines.__init__(self)
        self._kept.extend(state["kept"])

    @property
    def records(self) -> list[dict[str, Any]]:
        """The latest records, where there is no file."""
        return list(self._kept)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record.

        Raises
        ------
        RunDirectoryError
            If it cannot be written; what stood there before still does.
        """
        with self._lock:
            if self._file is None:
                self._kept.append(record)
                return
            self._lines.append((_encode(record) + "\n").encode())
            if not self._holders:
                self._write_lines()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Keep back what is written, by any thread, and write it at once at the end."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                self._write_lines()

    def _write_lines(self) -> None:
        lines, self._lines = b"".join(self._lines), []
        if self._file is None or not lines:
            return
        try:
            _append(self._file, lines)
        except OSError as error:
            fault = unwritten(self.path, error)
            if self._vital:
                raise fault from error
            if not self._warned:
                _log.warning("%s; records are left out", fault)
            self._warned = True

    def close(self) -> None:
        """Close the file; the records stay, and later ones are kept in memory."""
        with self._lock:
            if self._file is not None:
                self._write_lines()
                self._file.close()
                self._file = None

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _append(file: FileIO, line: bytes) -> None:
    """Write all of a line, or leave the file as it was."""
    left = memoryview(line)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        with contextlib.suppress(OSError):  # a pipe or a device
            size = os.fstat(file.fileno()).st_size
            os.truncate(file.fileno(), size - (len(line) - len(left)))
        raise


def unwritten(path: object, error: OSError) -> RunDirectoryError:
    """Return the line about a file of a run for which there was no space, or no right."""
    return RunDirectoryError(
        f"{path}: cannot be written ({why_unwritten(error, str(path))}), expected a place with "
        f"space left; make room, then resume: what was whole before is still there"
    )


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


_encode = json.JSONEncoder(default=_plain).encode


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, without what is none: a line that a kill has torn."""
    return records_of(path.read_bytes())


def records_of(data: bytes) -> list[dict[str, Any]]:
    """Return the records in lines of a file, without what is none."""
    records = []
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # neither JSON, nor always text
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def mend(path: Path) -> None:
    """Drop a torn last line, so that what is appended next stands on a line of its own."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(path, whole)  # in place: nothing that is whole is ever written again
