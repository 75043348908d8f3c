"""Table of the tasks that have not ended, and how each of them ends.

The binder's thread owns it: nobody else may touch it. It refuses to know pilots and policies.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

from pilotcut.errors import TaskError
from pilotcut.io.jsonl import JsonLines
from pilotcut.pilots.worker.exception_text import MOST_LINE, add_note, words_of
from pilotcut.tasks.branches import Branches, in_words
from pilotcut.tasks.groups import group_of
from pilotcut.tasks.ready_queue import ReadyQueue
from pilotcut.tasks.runtime_estimates import Kind
from pilotcut.tasks.slot_accounting import Reservation
from pilotcut.tasks.task import TaskFuture, TaskState
from pilotcut.tasks.task_record import TaskRecord

_log = logging.getLogger(__name__)

#: Failures of which it is logged what they have cut off.
_MOST_SAID = 20


class TaskTable:
    """Tasks that have not ended, by where they stand.

    Parameters
    ----------
    events
        Where changes of a task's state are written.

    Attributes
    ----------
    unfinished
        All of them, by id.
    ready
        Those that wait for a pilot.
    running
        Reservations of those that a pilot holds, by id: of the first launch that still runs.
    groups
        How many of each group have not ended.
    branches
        Who waits for whom.
    """

    def __init__(self, events: JsonLines) -> None:
        self._events = events
        self.unfinished: dict[int, TaskRecord] = {}
        self.ready = ReadyQueue()
        self.running: dict[int, Reservation] = {}
        self.groups: Counter[str] = Counter()
        self.branches = Branches()
        self._said = 0
        self._ready_kinds: Counter[Kind] = Counter()
        self._last_end: TaskFuture | None = None  # left `unfinished` last; may have no result yet

    def add(self, record: TaskRecord) -> None:
        """Take in a task."""
        self.unfinished[record.view.id] = record
        if record.before:
            self._write_edges(record)
        if record.view.group is not None:
            self.groups[record.view.group] += 1

    def _write_edges(self, record: TaskRecord) -> None:
        """Write what a task depends on, and down which tasks these are."""
        for number in record.before:
            other = self.unfinished.get(number)
            if other is not None and not other.is_known:
                self.write_event(other)
        self.write_event(record)

    def make_ready(self, record: TaskRecord, *, isolated: bool = False) -> None:
        """Put a task into the queue; an isolated one has waited its turn and comes first."""
        record.state = TaskState.READY
        self.running.pop(record.view.id, None)
        view = record.view
        if isolated or record.dependencies:
            view = replace(view, ready_s=time.time(), isolated=isolated)
        record.dependencies = []
        self.ready.add(view, first=isolated)
        self._ready_kinds[record.kind] += 1

    @property
    def ready_kinds(self) -> Collection[Kind]:
        """The kinds of those that wait for a pilot."""
        return self._ready_kinds.keys()

    def take_ready(self, record: TaskRecord) -> None:
        """Take a task out of the queue."""
        self.ready.remove(record.view.id)
        self._ready_kinds[record.kind] -= 1
        if not self._ready_kinds[record.kind]:
            del self._ready_kinds[record.kind]

    def fail(
        self, record: TaskRecord, error: BaseException, cause: BaseException | None = None
    ) -> None:
        """Give the task's future an exception, and that a cause."""
        if cause is not None:
            error.__cause__ = cause
        # Now: once it has ended nobody knows any more who waits for it.
        record.cut = cut = self.branches.cut(record)
        if cut and not record.cut_by:
            self._say_cut(record.name, cut, error)
        future = self.settle(record, TaskState.FAILED, words_of(error, MOST_LINE))
        # A future that was canceled meanwhile takes no exception.
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)

    def _say_cut(self, name: str, cut: dict[str, int], error: BaseException) -> None:
        line = in_words(name, cut)
        add_note(error, line)
        self._said += 1
        if self._said <= _MOST_SAID:
            more = "; more such lines are in the events alone" if self._said == _MOST_SAID else ""
            _log.warning("%s%s", line, more)

    def settle(self, record: TaskRecord, state: TaskState, reason: str = "") -> TaskFuture:
        """End the record's part in all this and return its future, to be given an end."""
        number = record.view.id
        if self.unfinished.pop(number, None) is not None and record.view.group is not None:
            self.groups[record.view.group] -= 1
            if not self.groups[record.view.group]:
                del self.groups[record.view.group]
        self.running.pop(number, None)
        if self.ready.find(number) is not None:
            self.take_ready(record)
        if state is TaskState.CANCELED:
            record.cut = self.branches.cut(record)
        self._last_end = future = record.end(state)
        self.write_event(record, reason)
        return future

    def fail_all(self, error_of: Callable[[str], TaskError]) -> None:
        """Fail all tasks in the midst of whatever; `error_of` makes an error for a task's name."""
        lost = [(record, record.future) for record in self.unfinished.values()]
        self.unfinished.clear()
        self.groups.clear()
        for record, future in lost:
            if future is not None:
                record.end(TaskState.FAILED)
                _end_with(future, error_of(record.name))
        if self._last_end is not None and not self._last_end.done():
            _end_with(self._last_end, error_of(self._last_end.task.name))

    def write_event(self, record: TaskRecord, reason: str = "") -> None:
        """Write a change of a task's state to the events."""
        event = {
            "time": time.time(),
            "event": "task",
            "id": record.view.id,
            "task": record.name,
            "state": record.state.value,
            "pilot": record.pilot,
        }
        if record.worker is not None:
            event["worker"] = record.worker
        if record.started is not None:  # on that worker
            event |= {"started": record.started, "finished": record.finished}
            event["cores"] = record.view.cores
        if record.view.group != group_of(record.name, None):
            event["group"] = record.view.group
        if record.before and not record.is_known:
            event["after"] = record.before
        record.is_known = True
        if record.was_stored:
            event["stored"] = True
        if record.cut:
            event["cut_off"] = record.cut
        if record.cut_by:
            event["cut_by"] = record.cut_by
        if reason:
            event["reason"] = reason
        self._events.write(event)


def _end_with(future: TaskFuture, error: TaskError) -> None:
    with contextlib.suppress(Exception):  # it may have an end already
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)
