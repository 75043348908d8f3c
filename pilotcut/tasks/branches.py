"""Branches of a graph of tasks: who waits for whom, and what a failure cuts off.

The binder's thread owns them. Refuses to know why a task fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from pilotcut.options import counted
from pilotcut.tasks.task import TaskFuture, TaskState
from pilotcut.tasks.task_record import TaskRecord

#: Groups that a line names.
_MOST_NAMED = 6


class Branches:
    """Tasks that wait, by those that they wait for."""

    def __init__(self) -> None:
        self._followers: dict[Future[Any], list[TaskRecord]] = {}

    def add(self, record: TaskRecord) -> None:
        """Take in a task that depends on others."""
        for future in record.dependencies:
            if not future.done():
                self._followers.setdefault(future, []).append(record)

    def leave(self, future: Future[Any]) -> None:
        """Forget who waits for a task that has ended."""
        self._followers.pop(future, None)

    def followers(self, future: TaskFuture | None) -> list[TaskRecord]:
        """Return the tasks that wait for one, in order of submission."""
        found = self._followers.get(future, ()) if future is not None else ()
        return [record for record in found if record.state is TaskState.WAITING]

    def cut(self, record: TaskRecord) -> dict[str, int]:
        """Mark all that wait for a task which fails, also by way of others, as cut off by it.

        Returns
        -------
        dict
            How many there are of each group, '' for those of none; without those that another one
            has cut off before.
        """
        found: Counter[str] = Counter()
        front = [record]
        while front:
            for follower in self.followers(front.pop().future):
                if not follower.cut_by:
                    follower.cut_by = record.cut_by or record.name
                    found[follower.view.group or ""] += 1
                    front.append(follower)
        return dict(found)


def in_words(name: str, cut: Mapping[str, int]) -> str:
    """Return in one line what a failure has cut off.

    Examples
    --------
    >>> in_words("encode.3", {"sweep": 60, "refine": 1})
    "task 'encode.3' failed and cut off 61 tasks that depend on it: 60 of sweep, 1 of refine"
    >>> in_words("encode.3", {"": 1})
    "task 'encode.3' failed and cut off 1 task that depends on it"
    """
    total = sum(cut.values())
    line = (
        f"task '{name}' failed and cut off {counted(total, 'task')} that "
        f"depend{'s' if total == 1 else ''} on it"
    )
    if list(cut) == [""]:
        return line
    groups = sorted(cut.items(), key=lambda item: -item[1])
    said = [f"{number:,} of {group or 'no group'}" for group, number in groups[:_MOST_NAMED]]
    if len(groups) > _MOST_NAMED:
        said.append(f"and {counted(len(groups) - _MOST_NAMED, 'group')} more")
    return f"{line}: {', '.join(said)}"
