"""Queue of ready tasks: in order of submission, and kept sorted as policies want them.

This module refuses to know why tasks are ready, and who binds them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from pilotcut.tasks.snapshots import Needs, Order, TaskView

Key = tuple[float, int]


@dataclass(slots=True)
class Line:
    """Ready tasks in some order, with their keys, their lengths and the sum of those."""

    keys: list[Key] = field(default_factory=list)
    tasks: list[TaskView] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    length_s: float = 0.0

    def add(self, key: Key, task: TaskView) -> None:
        """Put `task` where it belongs."""
        # Lists, not trees: moving 10,000 pointers takes a microsecond.
        at = bisect_left(self.keys, key)
        self.keys.insert(at, key)
        self.tasks.insert(at, task)
        self.lengths.insert(at, task.length_s)
        self.length_s += self.lengths[at]

    def take(self, at: int) -> TaskView:
        """Remove and return the task at a position."""
        del self.keys[at]
        length_s = self.lengths.pop(at)
        # An empty line weighs nothing, whatever rounding says.
        self.length_s = max(0.0, self.length_s - length_s) if self.keys else 0.0
        return self.tasks.pop(at)

    def length_of(self, count: int) -> float:
        """Return the sum of the first `count` lengths."""
        if 2 * count > len(self.lengths):
            return self.length_s - sum(self.lengths[count:])
        return sum(self.lengths[:count])

    def copy(self) -> Line:
        """Return a line that can be taken from without changing this one."""
        return Line(self.keys.copy(), self.tasks.copy(), self.lengths.copy(), self.length_s)


class ReadyQueue(Sequence[TaskView]):
    """The ready tasks in order of submission, kept sorted as policies want them.

    To a policy it is a sequence to be read. Those in `pilotcut.tasks.policies` take any
    sequence, and sort it anew at every call; of 10,000 tasks that takes 40 ms. Here tasks
    of equal needs stand in one line, sorted, and a policy looks at the heads of lines.

    Examples
    --------
    >>> queue = ReadyQueue([TaskView(1, cost_s=2.0), TaskView(2, cost_s=5.0)])
    >>> queue.add(TaskView(3, cost_s=3.0), first=True)
    >>> [task.id for task in queue]
    [3, 1, 2]
    >>> from pilotcut.tasks.snapshots import by_length
    >>> [[task.id for task in line.tasks] for line in queue.lines(by_length).values()]
    [[2, 3, 1]]
    >>> queue.remove(2).cost_s
    5.0
    """

    def __init__(self, tasks: Iterable[TaskView] = ()) -> None:
        self._all = _line([((0.0, number), task) for number, task in enumerate(tasks)])
        self._numbers = {task.id: number for number, task in enumerate(self._all.tasks)}
        self._next, self._before = len(self._numbers), -1
        self._lines: dict[tuple[Order, bool], dict[Needs, Line]] = {}

    @classmethod
    def of(cls, ready: Sequence[TaskView]) -> ReadyQueue:
        """Return `ready` if it is such a queue, or one with its tasks."""
        return ready if isinstance(ready, ReadyQueue) else cls(ready)

    def add(self, task: TaskView, *, first: bool = False) -> None:
        """Put `task` last in order of submission, or first."""
        number = self._before if first else self._next
        self._before, self._next = min(self._before, number - 1), max(self._next, number + 1)
        self._numbers[task.id] = number
        self._all.add((0.0, number), task)
        for (order, grouped), lines in self._lines.items():
            line = lines.setdefault(_kind(task, grouped), Line())
            line.add((order(task), number), task)

    def remove(self, task_id: int) -> TaskView:
        """Remove and return a task; KeyError if it is not here."""
        number = self._numbers.pop(task_id)
        task = self._all.take(bisect_left(self._all.keys, (0.0, number)))
        for (order, grouped), lines in self._lines.items():
            kind = _kind(task, grouped)
            line = lines[kind]
            line.take(bisect_left(line.keys, (order(task), number)))
            if not line.keys:
                del lines[kind]
        return task

    def find(self, task_id: int) -> TaskView | None:
        """Return a task by its id, None if it is not here."""
        number = self._numbers.get(task_id)
        if number is None:
            return None
        return self._all.tasks[bisect_left(self._all.keys, (0.0, number))]

    def lines(self, order: Order, *, grouped: bool = False) -> Mapping[Needs, Line]:
        """Return one sorted line for all tasks of equal needs, and of one group if `grouped`.

        They are the queue's own: read them, and `Line.copy` what you want to take from.
        """
        if (order, grouped) not in self._lines:
            lines: dict[Needs, list[tuple[Key, TaskView]]] = {}
            for (_, number), task in zip(self._all.keys, self._all.tasks, strict=True):
                entry = ((order(task), number), task)
                lines.setdefault(_kind(task, grouped), []).append(entry)
            self._lines[order, grouped] = {kind: _line(entries) for kind, entries in lines.items()}
        return self._lines[order, grouped]

    def __len__(self) -> int:
        return len(self._all.tasks)

    def __iter__(self) -> Iterator[TaskView]:
        return iter(self._all.tasks)

    def __reversed__(self) -> Iterator[TaskView]:
        return reversed(self._all.tasks)

    @overload
    def __getitem__(self, index: int) -> TaskView: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskView]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._all.tasks[index]


def _kind(task: TaskView, grouped: bool) -> Needs:
    return (*task.needs, task.group) if grouped else task.needs


def _line(entries: list[tuple[Key, TaskView]]) -> Line:
    entries.sort(key=lambda entry: entry[0])
    tasks = [task for _, task in entries]
    lengths = [task.length_s for task in tasks]
    return Line([key for key, _ in entries], tasks, lengths, sum(lengths))
