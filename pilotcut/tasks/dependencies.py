"""Dependencies among tasks: who waits for whom, and what arguments become once results are there.

It refuses to know what happens to a task that waits for nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from pilotcut.errors import TaskError
from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.tasks.task import Task, TaskFuture, TaskState, with_results
from pilotcut.tasks.task_record import TaskRecord
from pilotcut.tasks.task_table import TaskTable


class Dependencies:
    """Holds tasks until those that they depend on have ended.

    Parameters
    ----------
    table
        The tasks.
    post
        Runs a function on the binder's thread, where all else here runs.
    release
        Is given each task that waits for nothing more.
    """

    def __init__(
        self,
        table: TaskTable,
        post: Callable[[Callable[[], None]], None],
        release: Callable[[TaskRecord], None],
    ) -> None:
        self._table = table
        self._post = post
        self._release = release

    def add(self, record: TaskRecord) -> None:
        """Take in a task."""
        record.missing = len(record.dependencies)
        self._table.branches.add(record)
        for dependency in record.dependencies:
            # Not `add_done_callback`: a user's callback before ours may wait for this very task.
            dependency.when_done(lambda done: self._post(lambda: self._on_end(record, done)))
        if not record.dependencies:
            self._release(record)

    def _on_end(self, record: TaskRecord, done: Future[Any]) -> None:
        self._table.branches.leave(done)
        if record.state is not TaskState.WAITING:
            # Canceled meanwhile, or failed over another dependency.
            return
        cause = CancelledError("it was canceled") if done.cancelled() else done.exception()
        if cause is not None:
            assert isinstance(done, TaskFuture)
            self._cut_off(record, done.task, cause)
            return
        record.missing -= 1
        if record.missing == 0:
            try:
                record.args = with_results(record.args)
                record.kwargs = with_results(record.kwargs)
            except Exception as error:  # of a named tuple's own __new__
                self._table.fail(record, TaskError(
                    f"task '{record.name}' did not run, for its arguments cannot be filled in with "
                    f"results: {words_of(error)}"
                ))  # fmt: skip
                return
            self._release(record)

    def _cut_off(self, record: TaskRecord, before: Task, cause: BaseException) -> None:
        """Fail a task over one that has failed, or was cut off itself."""
        way = ""
        if before.cut_by:
            way = f", by way of task '{before.name}',"
            cause = cause.__cause__ or cause  # what failed first, and not what came of it
        record.cut_by = before.cut_by or before.name
        self._table.fail(record, TaskError(
            f"task '{record.name}' did not run, for it depends{way} on task '{record.cut_by}', "
            f"which failed: {words_of(cause)}"
        ), cause)  # fmt: skip
