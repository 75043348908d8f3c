"""Least-recently-used cache of what a process compiles, shared by its threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Cache(Generic[_Key, _Value]):
    """Values by key, made on first sight; the longest unused is dropped.

    An in-process pilot runs several workers on threads of one process, and two of them that meet
    a fragment at once should compile it once: making holds the lock, which `functools.lru_cache`
    does not do.

    Parameters
    ----------
    size
        Values that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.RLock()  # what is made may ask for another value

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Return the value of a key, from `make` if there is none."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
                if len(self._values) > self._size:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            return self._values[key]
