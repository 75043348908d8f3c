"""Payload: a packed call on its way to a worker, and its outcome on the way back.

This module runs on both sides. It refuses to know a scheduler, and it must stay cheap to
import, because every worker process imports it: no Qiskit, no torch, no numpy.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import cloudpickle

from pilotcut.errors import TaskError
from pilotcut.pilots.worker.exception_pickling import pack_error, unpack_error
from pilotcut.pilots.worker.exception_text import traceback_of, words_of

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
    """End of a call: its value, or its exception with the traceback as text."""

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


class Loadable(Protocol):
    """A packed call that is not all bytes, see `stored_calls`."""

    def load(self) -> Any:
        """Return what was packed."""


Packed = bytes | Loadable


# In-process pilots run several calls at once, on threads of one process.
_running = threading.local()


def launch_number() -> int:
    """Return how often the task that this thread runs was launched before; 0 outside of tasks.

    A task is launched again where its worker died, where it raised and may try again, and
    beside itself where it straggles.
    """
    number: int = getattr(_running, "launch", 0)
    return number


def worker_threads() -> int | None:
    """Return how many threads the worker on this thread has to itself, None where all are its own.

    A worker that is a process has its number in the environment, as numerical libraries read it.
    """
    threads: int | None = getattr(_running, "threads", None)
    return threads


def run_call(call: Call, worker: str, threads: int | None = None) -> Outcome:
    """Run `call` here and return how it ended; never raises. `threads` are `worker_threads`."""
    started = time.time()
    _running.launch, _running.threads = call.launch, threads
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


def pack_call(call: Call, take: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Return `call` as bytes, without buffers that `take` takes (pickle's `buffer_callback`)."""
    try:
        packed = (call.fn, call.args, dict(call.kwargs), call.launch)
        packed_call: bytes = cloudpickle.dumps(packed, protocol=5, buffer_callback=take)
        return packed_call
    except BaseException as error:  # of a __reduce__, whatever that raises
        # Sent all the same: a task fails in one place, whatever the reason.
        reason = TaskError(
            f"the function or an argument cannot travel to a worker: {words_of(error)}"
        )
        return pickle.dumps((_raise, (reason,), {}, call.launch), protocol=5)


def _raise(error: Exception) -> None:
    raise error


def run_packed(blobs: Sequence[Packed], worker: str, threads: int | None = None) -> list[bytes]:
    """Run packed calls one after the other; each fails or succeeds by itself."""
    return [pack_outcome(run_blob(blob, worker, threads)) for blob in blobs]


def run_blob(blob: Packed, worker: str, threads: int | None = None) -> Outcome:
    """Run a packed call and return how it ended; never raises."""
    started = time.time()
    try:
        fn, args, kwargs, launch = pickle.loads(blob) if isinstance(blob, bytes) else blob.load()
    except BaseException as error:
        return _failure(error, worker, started)
    with _own_surroundings():
        return run_call(Call(fn, args, kwargs, launch=launch), worker, threads)


@contextmanager
def _own_surroundings() -> Iterator[None]:
    """Put back what a task changes of its process, which the next one would find so."""
    # The variables as the mapping keeps them: a copy by its own means decodes each of them, and
    # took 0.1 ms of every call.
    kept: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]
    directory, variables = _here(), kept.copy()
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)
        if directory and _here() != directory:
            with suppress(OSError):  # it may be gone by now
                os.chdir(directory)
        if kept != variables:
            _restore(variables)


def _restore(variables: Mapping[Any, Any]) -> None:
    for name in os.environ._data.keys() - variables.keys():  # type: ignore[attr-defined]
        del os.environ[os.fsdecode(name)]
    os.environ.update({os.fsdecode(name): os.fsdecode(v) for name, v in variables.items()})


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # removed meanwhile
        return ""


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
            # A view: a slice would copy a big value once more.
            value = pickle.loads(memoryview(blob)[end:])
            return Outcome(value=value, worker=worker, started=started, finished=finished)
        error = unpack_error(packed)
    except BaseException as reason:  # of what makes the value anew, whatever that raises
        error = TaskError(f"the result cannot be read here: {words_of(reason)}")
        text = traceback_of(reason)
    return Outcome(error=error, traceback=text, worker=worker, started=started, finished=finished)
