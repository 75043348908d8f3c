"""Shared objects of a worker's process: big read-only values that travel once to each worker.

They arrive pickled and are unpickled when a task first asks: a worker that never does spends no
memory on them. This module refuses to know how they travel.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

from pilotcut.errors import TaskError

_objects: dict[str, Any] = {}
_packed: dict[str, bytes] = {}
_lock = threading.Lock()
_mirrors: list[Callable[[str, bytes | None], None]] = []


def mirror_shared(mirror: Callable[[str, bytes | None], None]) -> None:
    """Call ``mirror(key, blob)`` for what is shared with this process from now on.

    The ranks of an MPI pilot get their shared objects so; None for a blob means to drop it.
    """
    _mirrors.append(mirror)


def keep_object(key: str, obj: Any) -> None:
    """Make `obj` the shared object `key` of this process."""
    _objects[key] = obj


def keep_packed(key: str, blob: bytes) -> None:
    """Make `blob` the shared object `key` of this process, to be unpickled when asked for."""
    if key not in _objects:
        _packed[key] = blob
    for mirror in _mirrors:
        mirror(key, blob)


def drop_shared(key: str) -> None:
    """Forget the shared object `key` of this process."""
    _objects.pop(key, None)
    _packed.pop(key, None)
    for mirror in _mirrors:
        mirror(key, None)


def shared_object(key: str) -> Any:
    """Return the shared object `key`, unpickled at most once in this process."""
    if key in _objects:
        return _objects[key]
    with _lock:
        if key not in _objects:
            if key not in _packed:
                raise TaskError(
                    f"the shared object '{key}' is not in process {os.getpid()}: "
                    "its task manager was closed, or it was used outside a task"
                )
            _objects[key] = pickle.loads(_packed[key])
            del _packed[key]
    return _objects[key]
