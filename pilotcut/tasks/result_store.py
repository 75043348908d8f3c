"""Result store: results of tasks in files, by key, which outlive the process that wrote them.

A result is one file: a line with a checksum of all that follows, a line of JSON that says whose it
is and of what work, and the pickled value. It is written under another name and renamed: what is
there is whole, and what is not is seen by its checksum. Refuses to know when a result is of use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from pilotcut.errors import UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten
from pilotcut.options import check, directory_fault
from pilotcut.pilots.worker.exception_text import words_of

#: What begins the first line.
_MARK = b"pilotcut-result-1"
#: Files half written that are older than this were left by a process that was killed.
_LEFT_S = 3600.0


class UnreadableResultError(Exception):
    """A result is there, and cannot be read; the message tells why."""


class OtherWorkError(Exception):
    """A result is there, of another function or of other arguments."""


@dataclass(frozen=True)
class ResultStore:
    """Results of tasks in one directory.

    Parameters
    ----------
    directory
        Where they are; see `open`.

    Examples
    --------
    >>> import tempfile
    >>> store = ResultStore.open(tempfile.mkdtemp())
    >>> store.write("sum", "of 1 and 2", 3)
    >>> store.read("sum", "of 1 and 2"), store.read("product", "of 1 and 2")
    ((3,), None)
    """

    directory: Path

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> ResultStore:
        """Return the store in a directory, which is made if it is not there.

        Raises
        ------
        UserError
            If it cannot be, or cannot be written to.
        """
        check(directory_fault("store", directory))
        path = Path(directory)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(path))
        except OSError as error:
            raise UserError(
                f"store is '{path}', expected a directory that can be written to "
                f"({why_unwritten(error, path)}); choose another"
            ) from None
        store = cls(path)
        store._remove_left()
        return store

    def write(self, key: str, work: str, value: Any) -> None:
        """Write a result; one that stood there before is replaced.

        Raises
        ------
        OSError
            If there is no space, or no right to.
        Exception
            Whatever the value raises that cannot be pickled.
        """
        try:
            packed = pickle.dumps(value, protocol=5)
        except Exception:
            packed = cloudpickle.dumps(value, protocol=5)
        rest = json.dumps({"key": key, "work": work}).encode() + b"\n" + packed
        first = b"%s %s\n" % (_MARK, hashlib.blake2b(rest, digest_size=24).hexdigest().encode())
        write_atomically(self._path(key), first + rest, permissions=0o600)

    def read(self, key: str, work: str) -> tuple[Any] | None:
        """Return the result of a key, None if there is none.

        Raises
        ------
        OtherWorkError
            If it is of other work.
        UnreadableResultError
            If it is not whole, or cannot be read.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableResultError(f"{path}: {error.strerror}") from error
        first, _, rest = content.partition(b"\n")
        checksum = hashlib.blake2b(rest, digest_size=24).hexdigest().encode()
        if first != b"%s %s" % (_MARK, checksum):
            raise UnreadableResultError(f"{path} does not fit its checksum")
        head, _, packed = rest.partition(b"\n")
        about = json.loads(head)  # ours: it fits the checksum
        if about["key"] != key:
            raise UnreadableResultError(f"{path} is of key '{about['key']}'")
        if about["work"] != work:
            raise OtherWorkError
        try:
            # A pickle: only stores of one's own are to be read.
            return (pickle.loads(packed),)
        except Exception as error:  # whatever its class raises, which may be another one by now
            raise UnreadableResultError(f"{path}: {words_of(error)}") from error

    def _path(self, key: str) -> Path:
        """Return the file of a key: what of it can stand in a name, and a digest of all of it."""
        shown = re.sub(r"[^A-Za-z0-9_.-]+", "_", key).strip("._")[:60]
        mark = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:20]
        return self.directory / f"{shown}{'-' if shown else ''}{mark}.result"

    def _remove_left(self) -> None:
        for path in self.directory.glob("*.result.*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFT_S:
                    path.unlink()
