"""Stored results: tasks with a key that need not run again, and those whose results are kept.

Owns which work a key stands for in this life of a program, and the threads on which results are
read and written: a slow file system keeps nobody else waiting. Refuses to know what a task does
once it is ready.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pilotcut.errors import UserError
from pilotcut.io.disk import why_unwritten
from pilotcut.options import counted
from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.tasks.result_store import OtherWorkError, ResultStore, UnreadableResultError
from pilotcut.tasks.task import TaskFuture, TaskState
from pilotcut.tasks.task_record import TaskRecord
from pilotcut.tasks.task_table import TaskTable
from pilotcut.tasks.work_identity import IncomparableError, work_of

_log = logging.getLogger(__name__)

#: Results that are read or written at the same time.
_THREADS = 4
#: Lines that are logged of one kind of trouble, and the kinds.
_MOST_SAID = 3
_OTHER = "its stored result is of another function or other arguments; it runs again"
_UNREADABLE = "its stored result cannot be read; it runs again"
_CHANGED = "what it was given, or a value that it names, has changed meanwhile; it is not stored"
_UNWRITTEN = "its result cannot be stored; a program that is started again will run it again"

#: A task's function, arguments, keyword arguments, and tasks that it runs after.
_Given = tuple[Any, Sequence[Any], Mapping[str, Any], Sequence[TaskFuture]]


class StoredResults:
    """Looks for results of tasks, and keeps them.

    Parameters
    ----------
    store
        Where they are.
    table
        The tasks.
    post
        Runs a function on the binder's thread, where the table is.
    run
        Is given each task that has to run.
    """

    def __init__(
        self,
        store: ResultStore,
        table: TaskTable,
        post: Callable[[Callable[[], None]], None],
        run: Callable[[TaskRecord], None],
    ) -> None:
        self._store = store
        self._table = table
        self._post = post
        self._run = run
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="task-results")
        # Guards the claims, which the threads share.
        self._lock = threading.Lock()
        self._claims: dict[str, tuple[str, str, Callable[[], TaskFuture | None]]] = {}
        self._shared: dict[str, bytes] = {}
        self._said: Counter[str] = Counter()

    def look(self, record: TaskRecord) -> None:
        """Look whether a task, whose arguments are there, has a result already."""
        if record.state is TaskState.WAITING:  # not canceled meanwhile
            self._threads.submit(self._guarded, self._look, record)

    def keep(self, record: TaskRecord, value: Any) -> None:
        """Write a result down, and end its task then: who has a result has it for good."""
        record.is_ending = True
        self._table.running.pop(record.view.id, None)
        given = record.fn, record.args, record.kwargs, record.after
        self._threads.submit(self._guarded, self._keep, record, value, given)

    def close(self) -> None:
        """Read and write nothing more; say what was said of some only."""
        self._threads.shutdown(wait=False)
        for kind, number in self._said.items():
            if number > _MOST_SAID:
                _log.warning("%s more: %s", counted(number - _MOST_SAID, "task"), kind)

    def _guarded(self, act: Callable[..., None], record: TaskRecord, *rest: Any) -> None:
        try:
            act(record, *rest)
        except BaseException as error:  # else whoever waits for the task would wait for ever
            fault = error
            self._post(lambda: self._fail(record, fault))

    # -- on the binder's thread ------------------------------------------------------------

    def _fail(self, record: TaskRecord, error: BaseException) -> None:
        if record.future is not None:
            self._table.fail(record, error)

    def _run_it(self, record: TaskRecord) -> None:
        if record.state is TaskState.WAITING:
            self._run(record)

    def _end_with(self, record: TaskRecord, value: Any) -> None:
        """End a task with the result that was stored."""
        if record.state is not TaskState.WAITING or record.future is None:
            return
        if not record.future.set_running_or_notify_cancel():
            self._table.settle(record, TaskState.CANCELED)
            return
        record.was_stored = True
        self._table.settle(record, TaskState.DONE).set_result(value)

    def _end_kept(self, record: TaskRecord, value: Any) -> None:
        if record.future is not None:  # not abandoned meanwhile
            self._table.settle(record, TaskState.DONE).set_result(value)

    # -- on the threads ------------------------------------------------------------------

    def _look(self, record: TaskRecord) -> None:
        assert record.key is not None
        given = record.fn, record.args, record.kwargs, record.after
        try:
            work = self._work_of(record, given)
        except IncomparableError as error:
            raise UserError(
                f"task '{record.name}': key is '{record.key}' with an argument that cannot be "
                f"compared with that of another run ({error}); leave key out, or give what it is "
                f"made of"
            ) from None
        record.work = work
        first = self._claim(record, work)
        if first is not None:  # the same work, under way: its result is there once it ends
            first.when_done(lambda _: self._post(lambda: self.look(record)))
            return
        found = self._read(record, work)
        if found is None:
            self._post(lambda: self._run_it(record))
        else:
            self._post(lambda: self._end_with(record, found[0]))

    def _work_of(self, record: TaskRecord, given: _Given) -> str:
        fn, args, kwargs, before = given
        after = filter(None, [future.work for future in before])
        ranks = record.view.ranks
        return work_of(fn, args, kwargs, ranks=ranks, after=after, shared=self._shared)

    def _has_changed(self, record: TaskRecord, given: _Given) -> bool:
        """Return whether a task is other work than when its result was looked for.

        Arguments are the submitter's objects until the task is launched: one that writes into an
        array in a loop would have the result of the last one under each key.
        """
        try:
            return self._work_of(record, given) != record.work
        except IncomparableError:
            return True

    def _claim(self, record: TaskRecord, work: str) -> TaskFuture | None:
        """Take a key for a task; return the one that has it for the same work and still goes on."""
        future = record.future
        assert record.key is not None
        if future is None:  # canceled meanwhile
            return None
        with self._lock:
            claimed, name, ref = self._claims.get(record.key, (work, "", _nobody))
            if claimed != work:
                raise UserError(
                    f"task '{record.name}': key is '{record.key}', which task '{name}' has for "
                    f"another function or other arguments, expected a key for each work; put what "
                    f"tells them apart into the key"
                )
            first = ref()
            if first is None or first.done() or first is future:
                self._claims[record.key] = (work, record.name, weakref.ref(future))
                return None
            return first

    def _read(self, record: TaskRecord, work: str) -> tuple[Any] | None:
        assert record.key is not None
        try:
            return self._store.read(record.key, work)
        except OtherWorkError:
            self._say(_OTHER, record, f"key '{record.key}'")
        except UnreadableResultError as error:
            self._say(_UNREADABLE, record, str(error))
        return None

    def _keep(self, record: TaskRecord, value: Any, given: _Given) -> None:
        assert record.key is not None
        try:
            if self._has_changed(record, given):
                self._say(_CHANGED, record, f"key '{record.key}'")
            else:
                self._store.write(record.key, record.work, value)
        except OSError as error:
            why = why_unwritten(error, self._store.directory)
            self._say(_UNWRITTEN, record, f"{self._store.directory}: {why}")
        except Exception as error:
            why = f"a {type(value).__qualname__}: {words_of(error)}"
            self._say(_UNWRITTEN, record, why)
        self._post(lambda: self._end_kept(record, value))

    def _say(self, kind: str, record: TaskRecord, why: str) -> None:
        with self._lock:
            self._said[kind] += 1
            number = self._said[kind]
        if number <= _MOST_SAID:
            _log.warning("task '%s': %s (%s)", record.name, kind, why)


def _nobody() -> None:
    """Stand for a task of which nobody has the future any more."""
