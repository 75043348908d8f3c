"""Block store: results of work units, in files that outlive the processes that wrote them.

A block is one flat ``.npy`` file, which other tools can memory-map, and a ``.json`` file beside it
that says what lies where, what was measured, and the checksum of the first. The second is
written after the first, both under another name until they are whole: a block without its
``.json`` does not exist, and one whose content does not fit its checksum is torn.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.errors import UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten

#: How often a block is written whose directory is taken away meanwhile.
_TRIES = 5


class TornBlockError(Exception):
    """A block is not there, or not what it says; the message tells which and why."""


@dataclass(frozen=True)
class BlockStore:
    """Blocks of arrays in one directory, which may be on a file system of many machines.

    Parameters
    ----------
    directory
        Made, open to its owner alone, with the first block.

    Examples
    --------
    >>> import tempfile
    >>> store = BlockStore(Path(tempfile.mkdtemp()) / "blocks")
    >>> store.write("A.0", [np.eye(2), np.ones(3)], key="of the first try")
    >>> [array.shape for array in store.read("A.0", key="of the first try")]
    [(2, 2), (3,)]
    >>> store.has("A.0", key="of another try")
    False
    """

    directory: Path

    def write(self, name: str, arrays: Sequence[np.ndarray], *, key: str, **about: Any) -> None:
        """Write a block; whatever stood under its name is replaced.

        Parameters
        ----------
        name
            What the block is called.
        arrays
            Arrays of one dtype.
        key
            Identity of what was measured, which a reader must know as well.
        about
            What else is to be kept with it, as JSON.

        Raises
        ------
        OSError
            If it cannot be written; see `unwritten`.
        """
        flat = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.zeros(0)
        data = io.BytesIO()
        np.save(data, flat)
        content = data.getvalue()
        head = {
            "key": key,
            "shapes": [array.shape for array in arrays],
            "crc32": zlib.crc32(content),
            "about": about,
        }
        for again in reversed(range(_TRIES)):
            try:
                self._put(name, content, head)
                break
            # Its query has just made room for others: before a block could be written, or between
            # mkdir's finding that the directory exists and its looking at what it is.
            except (FileNotFoundError, FileExistsError):
                if not again:
                    raise

    def unwritten(self, name: str, error: OSError) -> UserError:
        """Return the line about a block for which there was no space, or no right."""
        return UserError(
            f"block {name} cannot be written to {self.directory}: "
            f"{why_unwritten(error, self.directory)}; expected a directory that workers can write "
            f"to, with space left; make room, then resume"
        )

    def _put(self, name: str, content: bytes, head: Mapping[str, Any]) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The head comes last: until it is there, the block does not exist.
        write_atomically(self.directory / f"{name}.npy", content)
        write_atomically(self.directory / f"{name}.json", json.dumps(head).encode())

    def has(self, name: str, *, key: str) -> bool:
        """Return whether a block of this identity is there and whole."""
        try:
            self.read(name, key=key)
        except TornBlockError:
            return False
        return True

    def read(self, name: str, *, key: str) -> list[np.ndarray]:
        """Return the arrays of a block, read at once: what is checked is what is returned.

        Raises
        ------
        TornBlockError
            If there is no block of this name and identity, or not all of it.
        """
        head = self._head(name)
        if head["key"] != key:
            raise TornBlockError(f"block {name} is of another query")
        path = self.directory / f"{name}.npy"
        # Not mapped: each map keeps a file open, and beyond the limit on open files whole blocks
        # counted as torn and were measured again.
        try:
            content = path.read_bytes()
            if (checksum := zlib.crc32(content)) != head["crc32"]:
                raise TornBlockError(
                    f"block {name} has checksum {checksum}, expected {head['crc32']}"
                )
            flat = np.load(io.BytesIO(content))
        except (OSError, ValueError) as error:
            raise TornBlockError(f"block {name} cannot be read: {error}") from error
        return _divided(flat, head["shapes"])

    def about(self, name: str) -> Mapping[str, Any]:
        """Return what was kept with a block; TornBlockError if it is not there."""
        found: Mapping[str, Any] = self._head(name)["about"]
        return found

    def _head(self, name: str) -> dict[str, Any]:
        try:
            head = json.loads((self.directory / f"{name}.json").read_text())
        except (OSError, ValueError) as error:
            raise TornBlockError(f"block {name} is not there: {error}") from error
        if not isinstance(head, dict) or not {"key", "shapes", "crc32", "about"} <= set(head):
            raise TornBlockError(f"block {name} has no proper head")
        return head


def _divided(flat: np.ndarray, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    edges = np.cumsum([0, *(prod(shape) for shape in shapes)])
    return [
        flat[first:last].reshape(shape)
        for first, last, shape in zip(edges, edges[1:], shapes, strict=False)
    ]
