"""Task of a user: what is known of it, and the future of its result.

This module refuses to know when or where a task runs; `pilotcut.tasks.binder` decides, and
writes the records that futures show.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pilotcut.io.unpicklable import Unpicklable


class TaskState(enum.Enum):
    """States of a task's life."""

    WAITING = "waiting"  # for tasks that it depends on
    READY = "ready"
    BOUND = "bound"  # to a pilot: running there, or next in line
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Task:
    """Snapshot of what is known of a task; times are seconds since the epoch.

    Attributes
    ----------
    pilot, worker
        Where it was bound, and where it ran; None before that is known.
    submitted, bound, started, finished
        When that happened, None before. `started` and `finished` are read from the
        worker's clock, and known once the task is finished.
    retries
        How often the task was lost with its worker and bound again.
    launches, launch
        How often it was launched, duplicates of a straggler included, and the number of the
        launch, from 0, whose outcome it has; None before there is one.
    group
        What it belongs to, None if to nothing.
    was_stored
        Whether it did not run, since its result was stored by an earlier run of the program.
    cut_by
        The task whose failure kept it from running, '' if none did.
    """

    id: int
    name: str
    state: TaskState
    pilot: str | None
    worker: str | None
    submitted: float
    bound: float | None
    started: float | None
    finished: float | None
    retries: int
    launches: int = 0
    launch: int | None = None
    group: str | None = None
    was_stored: bool = False
    cut_by: str = ""


class _Record(Protocol):
    """What a task is known by to whoever runs it."""

    work: str

    def snapshot(self) -> Task:
        """Return what others may know of it."""


class Owner(Protocol):
    """Whoever runs tasks, as their futures see it."""

    def call_back(self, callback: Callable[[], Any]) -> None:
        """Run a callback on a thread for that."""

    def on_cancel(self, record: Any) -> None:
        """Hear that a task is canceled."""

    def explain(self, record: Any) -> str:
        """Say what a task waits for, or where it is."""


#: Orders the making of conditions: two of one future would each keep others waiting for ever.
_making = threading.Lock()


class TaskFuture(Unpicklable, Future[Any]):
    """The result of a task to come: a `concurrent.futures.Future` that can be awaited.

    `cancel` succeeds until the task is bound to a pilot. Callbacks run on a thread of
    the task manager's own, so they may submit tasks and wait for results.
    """

    _instead = (
        "a task gets results in place of futures that are arguments, or stand in lists, tuples and "
        "dicts among them; name others in after, and hand their results on"
    )

    def __init__(self, record: _Record, owner: Owner) -> None:
        self._made: threading.Condition | None = None
        super().__init__()
        self._record = record
        self._owner = owner

    # A condition takes 1.2 KB, half of what a queued task takes in all, and most are never waited
    # for: it is made when somebody asks.
    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        if self._made is None:
            with _making:
                self._made = self._made or threading.Condition()
        return self._made

    @_condition.setter
    def _condition(self, _: threading.Condition) -> None:
        """Let go of what a future makes at once."""

    @property
    def task(self) -> Task:
        """What is known of the task now."""
        return self._record.snapshot()

    def is_of(self, owner: Owner) -> bool:
        """Return whether this is a task of some task manager's."""
        return self._owner is owner

    @property
    def work(self) -> str:
        """Digest of what the task computes; '' until that is known, and where it has no key."""
        return self._record.work

    def explain(self) -> str:
        """Return in one line what the task waits for, or where it is."""
        return self._owner.explain(self._record)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn(future)`` once the task is done, or now if it is."""
        # Not on the thread that sets results: a callback that waits for another task
        # would wait for itself.
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda done: self._owner.call_back(lambda: fn(done)))

    def when_done(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn(future)`` on whatever thread ends the task; `fn` must not wait."""
        super().add_done_callback(fn)

    def cancel(self) -> bool:
        """Cancel the task if it is not bound yet; return whether it is canceled."""
        if not super().cancel():
            return False
        # The binder may launch it before it hears of this: `set_running_or_notify_cancel` then says
        # no.
        self._owner.on_cancel(self._record)
        return True

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()

    def __repr__(self) -> str:
        task = self.task
        return f"<TaskFuture {task.name!r}: {task.state.value}>"


def as_completed(
    futures: Iterable[TaskFuture], timeout: float | None = None
) -> Iterator[TaskFuture]:
    """Yield the futures as they end, like `concurrent.futures.as_completed`."""
    return cast(Iterator[TaskFuture], concurrent.futures.as_completed(futures, timeout))


# -- futures among arguments -----------------------------------------------------------


def futures_in(value: Any) -> Iterator[TaskFuture]:
    """Yield the task futures in `value`, looking into lists, tuples and dicts."""
    if isinstance(value, TaskFuture):
        yield value
    elif type(value) in (list, tuple) or _is_named_tuple(value):
        for item in value:
            yield from futures_in(item)
    elif type(value) is dict:
        for item in value.values():
            yield from futures_in(item)


def with_results(value: Any) -> Any:
    """Return `value` with every task future in it replaced by its result."""
    if isinstance(value, TaskFuture):
        # All of them have succeeded; a wait would be the binder's.
        return value.result(timeout=0)
    # Exact types: nobody knows how to make a subclass anew, but for named tuples.
    if type(value) in (list, tuple):
        return type(value)(with_results(item) for item in value)
    if _is_named_tuple(value):
        return type(value)(*(with_results(item) for item in value))
    if type(value) is dict:
        return {key: with_results(item) for key, item in value.items()}
    return value


def _is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")
