"""Shared objects of a task manager: big read-only values that travel once to each worker."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import cloudpickle

from pilotcut.errors import UserError
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.worker.shared_objects import drop_shared, keep_object, shared_object

T = TypeVar("T")


@dataclass(frozen=True)
class Shared(Generic[T]):
    """A handle of a big read-only object that travels once to each worker."""

    key: str

    def get(self) -> T:
        """Return the object, from the memory of the process that asks."""
        return cast(T, shared_object(self.key))


class SharedObjects:
    """Shared objects of one task manager, by key; safe to call from several threads."""

    def __init__(self, pilots: PilotManager) -> None:
        self._pilots = pilots
        # Other task managers, also of other processes on the same pilots, may use an equal key or
        # have an object of equal id.
        self._prefix = uuid.uuid4().hex[:12]
        self._lock = threading.Lock()
        self._handles: dict[str, tuple[Shared[Any], Any]] = {}

    def share(self, obj: T, key: str | None) -> Shared[T]:
        """Return a handle of `obj`; see `TaskManager.share`."""
        own = f"object-{id(obj)}" if key is None else f"key-{key}"
        with self._lock:
            if own not in self._handles:
                handle: Shared[T] = Shared(f"{self._prefix}:{own}")
                self._publish(handle.key, obj)
                # Keeping `obj` keeps its id from being given to another object.
                self._handles[own] = (handle, obj)
            return self._handles[own][0]

    def _publish(self, key: str, obj: Any) -> None:
        self._pilots.share(key, lambda: _packed(obj))
        keep_object(key, obj)

    def drop(self) -> None:
        """Forget all of it, here and on the workers."""
        with self._lock:
            handles = [handle for handle, _ in self._handles.values()]
            self._handles.clear()
        for handle in handles:
            drop_shared(handle.key)
            self._pilots.unshare(handle.key)


def _packed(obj: Any) -> bytes:
    try:
        blob: bytes = cloudpickle.dumps(obj, protocol=5)
    except Exception as error:
        kind = type(obj).__qualname__
        raise UserError(f"a {kind} cannot be shared with workers: {error}") from error
    return blob
