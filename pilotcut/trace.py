"""Line-by-line records of a run: one JSON object a line, flushed as it is written.

A killed run leaves a readable file; at most its last line is torn, and readers drop it.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

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

    Notes
    -----
    A copy keeps its records in memory: a file is for one to write.
    """

    def __init__(self, path: Path | None = None, *, append: bool = True) -> None:
        self.path = path
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT_RECORDS)
        self._lock = threading.Lock()
        self._file = path.open("a" if append else "w", encoding="utf-8") if path else None

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
        """Append one record."""
        with self._lock:
            if self._file is None:
                self._kept.append(record)
            else:
                self._file.write(json.dumps(record, default=_plain) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file; the records stay."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, without what is none: a line that a kill has torn."""
    records = []
    for line in path.read_bytes().splitlines():
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
