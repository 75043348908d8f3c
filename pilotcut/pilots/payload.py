"""What travels to a worker and back: calls, outcomes and shared objects.

This module runs on both sides. It knows no scheduler, and it must stay cheap to
import, because every worker process imports it.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from pilotcut.errors import TaskError
from pilotcut.pilots.failures import (
    pack_error,
    traceback_of,
    unpack_error,
    words_of,
)

#: Environment variables that hold the number of threads of a numerical library.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: An outcome is the length of its head, the head, and the value.
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Call:
    """A function and its arguments, ready to run; by all ranks of an MPI pilot if `ranks` > 1.

    `launch` says how often the same task was launched before, as `launch_number` tells it.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    gpus: int = 0
    ranks: int = 1
    launch: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its value, or its exception with the traceback as text."""

    value: Any = None
    error: BaseException | None = None
    traceback: str = ""
    worker: str = ""
    started: float = 0.0
    finished: float = 0.0


@dataclass(frozen=True)
class Loss:
    """The worker or the pilot went away before the call ended.

    Parameters
    ----------
    reason
        In words.
    preempted
        Whether the whole pilot went, which is no fault of the call.
    advice
        What to do about it, where that is known.
    """

    reason: str
    preempted: bool = False
    advice: str = ""


#: What a pilot reports for the calls of one launch.
Report = Sequence[Outcome] | Loss


_running = threading.local()


def launch_number() -> int:
    """Return how often the task that this thread runs was launched before; 0 outside of tasks.

    A task is launched again where its worker died, where it raised and may try again, and
    beside itself where it straggles.
    """
    number: int = getattr(_running, "launch", 0)
    return number


def run_call(call: Call, worker: str) -> Outcome:
    """Run `call` here and return how it ended; never raises."""
    started = time.time()
    _running.launch = call.launch
    try:
        value = call.fn(*call.args, **call.kwargs)
    except BaseException as error:  # SystemExit of a task must not end its worker
        return _failure(error, worker, started)
    return Outcome(value=value, worker=worker, started=started, finished=time.time())


def _failure(error: BaseException, worker: str, started: float) -> Outcome:
    text = traceback_of(error)
    return Outcome(
        error=error, traceback=text, worker=worker, started=started, finished=time.time()
    )


# -- across processes ------------------------------------------------------------------


def pack_call(call: Call) -> bytes:
    """Return `call` as bytes, so that no process between here and the worker unpickles it."""
    try:
        packed = (call.fn, call.args, dict(call.kwargs), call.launch)
        return cloudpickle.dumps(packed, protocol=5)
    except BaseException as error:  # of a __reduce__, whatever that raises
        # Sent all the same: a task fails in one place, whatever the reason.
        reason = TaskError(
            f"the function or an argument cannot travel to a worker: {words_of(error)}"
        )
        return pickle.dumps((_raise, (reason,), {}, call.launch), protocol=5)


def _raise(error: Exception) -> None:
    raise error


def run_packed(blobs: Sequence[bytes], worker: str) -> list[bytes]:
    """Run packed calls one after the other; each fails or succeeds by itself."""
    return [pack_outcome(run_blob(blob, worker)) for blob in blobs]


def run_blob(blob: bytes, worker: str) -> Outcome:
    """Run a packed call and return how it ended; never raises."""
    started = time.time()
    try:
        fn, args, kwargs, launch = pickle.loads(blob)
    except BaseException as error:
        return _failure(error, worker, started)
    return run_call(Call(fn, args, kwargs, launch=launch), worker)


def pack_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as bytes; a value that cannot travel becomes an error that says so."""
    error, text, value = outcome.error, outcome.traceback, b""
    if error is None:
        try:
            value = _pack_value(outcome.value)
        except BaseException as reason:  # of a __reduce__, whatever that raises
            kind = type(outcome.value).__qualname__
            error = TaskError(f"the result, a {kind}, cannot travel back: {words_of(reason)}")
            text = traceback_of(reason)
    packed = None if error is None else pack_error(error)
    head = pickle.dumps((packed, text, outcome.worker, outcome.started, outcome.finished), 5)
    # The value behind it, and not in it, so that a big one is not copied once more.
    return b"".join((len(head).to_bytes(_LENGTH_BYTES, "big"), head, value))


def _pack_value(value: Any) -> bytes:
    try:
        # Plain pickle is several times faster than cloudpickle on small results.
        return pickle.dumps(value, protocol=5)
    except Exception:
        packed: bytes = cloudpickle.dumps(value, protocol=5)
        return packed


def unpack_outcome(blob: bytes) -> Outcome:
    """Return the outcome packed by a worker; one that cannot be read is a failure."""
    worker, started, finished = "", time.time(), time.time()
    try:
        end = _LENGTH_BYTES + int.from_bytes(blob[:_LENGTH_BYTES], "big")
        packed, text, worker, started, finished = pickle.loads(blob[_LENGTH_BYTES:end])
        if packed is None:
            value = pickle.loads(memoryview(blob)[end:])
            return Outcome(value=value, worker=worker, started=started, finished=finished)
        error = unpack_error(packed)
    except BaseException as reason:  # of what makes the value anew, whatever that raises
        error = TaskError(f"the result cannot be read here: {words_of(reason)}")
        text = traceback_of(reason)
    return Outcome(error=error, traceback=text, worker=worker, started=started, finished=finished)


# -- shared objects --------------------------------------------------------------------

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
