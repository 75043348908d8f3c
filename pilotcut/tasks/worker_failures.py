"""Deaths of workers of late: whether a task is to blame, or workers die everywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

#: Deaths of workers are remembered this long, in seconds.
REMEMBERED_S = 60.0
#: Losses on one pilot within this time are one death: of a task, and of those in line behind.
TOGETHER_S = 1.0
#: So many deaths that had nothing to do with a task clear it of its own.
#: Without it, tests that end workers at random (tests/chaos) had innocent tasks quarantined.
TURMOIL = 3


class WorkerFailures:
    """Deaths of workers, each with the tasks that were lost by it.

    Examples
    --------
    >>> failures = WorkerFailures()
    >>> failures.note("p", [1, 2], now=0.0)
    >>> failures.note("p", [3], now=0.1)
    >>> failures.note("q", [4], now=0.2)
    >>> [failures.without_task(4, now=5.0), failures.without_task(1, now=5.0)]
    [1, 1]
    >>> failures.without_task(4, now=99.0)
    0
    """

    def __init__(self) -> None:
        self._latest: deque[tuple[float, str, set[int]]] = deque()

    def note(self, pilot: str, tasks: Iterable[int], now: float) -> None:
        """Take note of tasks that a pilot has lost."""
        self._forget(now)
        for when, name, lost in self._latest:
            if name == pilot and now - when < TOGETHER_S:
                lost.update(tasks)
                return
        self._latest.append((now, pilot, set(tasks)))

    def without_task(self, task: int, now: float) -> int:
        """Return how many workers died of late that did not have this task."""
        self._forget(now)
        return sum(task not in lost for _, _, lost in self._latest)

    def _forget(self, now: float) -> None:
        while self._latest and now - self._latest[0][0] > REMEMBERED_S:
            self._latest.popleft()
