"""Calls that an executor's worker runs, and what was shared with it.

An executor hands a call to any of its processes, and no message can be sent to all of them. So a
call says how far its manager's shared objects have come; a process that is behind runs nothing and
says what it has, and the call comes once more with what it lacks. This module runs on both sides,
and refuses to know executors.
"""

from __future__ import annotations

import os
import platform
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilotcut.pilots.worker.node_config import thread_environment
from pilotcut.pilots.worker.payload import Call, Outcome, run_call, run_packed
from pilotcut.pilots.worker.shared_objects import drop_shared, keep_packed
from pilotcut.pilots.worker.versions import installed

#: Managers whose shared objects a process keeps: nobody tells it when one has closed.
MOST_OWNERS = 4

#: Tells this process from all others, a forked child apart, whose process id is another.
_TOKEN = uuid.uuid4().hex


@dataclass(frozen=True)
class Greeting:
    """What a worker says of itself.

    Parameters
    ----------
    process
        Which process it is.
    versions
        Of the packages that both sides must agree on.
    """

    process: tuple[str, int]
    versions: Mapping[str, str]


def own_process() -> tuple[str, int]:
    """Return which process this is."""
    return _TOKEN, os.getpid()


def greet() -> Greeting:
    """Return what there is to know of this process."""
    return Greeting(own_process(), installed())


@dataclass(frozen=True)
class SharedState:
    """How far a manager's shared objects have come, and what a process lacks of them.

    Parameters
    ----------
    owner, version
        Whose they are, and how often they have changed.
    keys, blobs
        All that are to be kept (None where that is not said), and those that a process lacks.
    """

    owner: str
    version: int
    keys: frozenset[str] | None = None
    blobs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Behind:
    """The answer of a process that lacks shared objects, with the keys of what it has."""

    keys: frozenset[str]


@dataclass(frozen=True)
class Surroundings:
    """What a call finds in its process.

    Parameters
    ----------
    pilot, threads
        Whose worker it is, and the threads that it has to itself.
    variables
        Environment variables.
    """

    pilot: str
    threads: int
    variables: Mapping[str, str]


def run_here(calls: Sequence[Call], pilot: str, threads: int) -> list[Outcome]:
    """Run calls on a thread of the manager's own process."""
    worker = f"{pilot}-{threading.current_thread().name.replace('_', '-')}"
    return [run_call(call, worker, threads) for call in calls]


def run_there(
    blobs: Sequence[bytes], around: Surroundings, shared: SharedState
) -> list[bytes] | Behind:
    """Run packed calls in another process, if that has all that was shared."""
    if (behind := _kept.take(shared)) is not None:
        return behind
    for name, value in thread_environment(around.threads).items():
        os.environ.setdefault(name, value)  # before a call imports what reads it
    os.environ.update(around.variables)
    worker = f"{around.pilot}-{platform.node()}-{os.getpid()}"
    return run_packed(blobs, worker, around.threads)


class KeptObjects:
    """Shared objects of a process, by whose they are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: OrderedDict[str, tuple[int, frozenset[str]]] = OrderedDict()

    def take(self, shared: SharedState) -> Behind | None:
        """Take what is new, and forget what is gone; return what there is if some is missing."""
        with self._lock:
            version, keys = self._owners.pop(shared.owner, (0, frozenset()))
            if version < shared.version and shared.keys is not None:
                for key in keys - shared.keys:
                    drop_shared(key)
                for key, blob in shared.blobs.items():
                    keep_packed(key, blob)
                keys = shared.keys & (keys | shared.blobs.keys())
                # What was left out for another process may be missing in this one.
                version = shared.version if keys == shared.keys else max(version, 1)
            if version:
                self._owners[shared.owner] = version, keys
            self._forget_oldest()
            return Behind(keys) if version < shared.version else None

    def _forget_oldest(self) -> None:
        while len(self._owners) > MOST_OWNERS:
            _, (_, keys) = self._owners.popitem(last=False)
            for key in keys:
                drop_shared(key)


_kept = KeptObjects()


class SharedWithExecutor:
    """A manager's side of it: what is shared now, and what a process lacks of that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = uuid.uuid4().hex
        self._version = 0
        self._blobs: dict[str, bytes] = {}

    def share(self, key: str, pack: Callable[[], bytes]) -> None:
        """Have processes keep what `pack` returns."""
        blob = pack()
        with self._lock:
            self._blobs[key] = blob
            self._version += 1

    def unshare(self, key: str) -> None:
        """Have processes forget it."""
        with self._lock:
            if self._blobs.pop(key, None) is not None:
                self._version += 1

    def state(self) -> SharedState:
        """Return what a call says."""
        return SharedState(self._owner, self._version)

    def update(self, behind: Behind, *, whole: bool) -> SharedState:
        """Return what a call says for a process that is behind, or with all there is for any."""
        with self._lock:
            has = frozenset() if whole else behind.keys
            blobs = {key: blob for key, blob in self._blobs.items() if key not in has}
            return SharedState(self._owner, self._version, frozenset(self._blobs), blobs)
