"""Policies in virtual time: how long these tasks would take on those pilots.

A policy is a pure function of views, so a run of thousands of tasks on hundreds of slots
can be played through in a second, without workers or a clock: to compare policies, and
to try one's own. `simulate` does to the views what `TaskManager` does.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pilotcut.tasks.policies import as_policy
from pilotcut.tasks.policy_base import Policy, wake_s
from pilotcut.tasks.ready_queue import ReadyQueue
from pilotcut.tasks.snapshots import PilotView, TaskView, when_free


@dataclass(frozen=True)
class Run:
    """One stay of a task on a pilot; `lost` if the pilot's walltime ended it."""

    task: TaskView
    pilot: str
    bound_s: float
    started_s: float
    ended_s: float
    lost: bool = False


@dataclass(frozen=True)
class Played:
    """What `simulate` returns.

    Attributes
    ----------
    makespan_s
        When the last task ended, in virtual time.
    runs
        Of each task, in the order of their ends; more than one where a task was lost.
    waiting
        Tasks that never ran, since no pilot was left that the policy would bind them to.
    policy_s, calls
        Seconds of this machine spent in the policy, and how often it was asked.
    """

    makespan_s: float
    runs: Sequence[Run]
    waiting: Sequence[TaskView]
    policy_s: float
    calls: int


def simulate(
    tasks: Iterable[TaskView],
    pilots: Iterable[PilotView],
    policy: str | Policy = "eager",
    *,
    run_s: Callable[[TaskView, PilotView], float] | None = None,
) -> Played:
    """Return how the tasks would run under a policy.

    Parameters
    ----------
    tasks
        Each becomes ready at its `ready_s`.
    pilots
        As they are at time 0, idle; `prefetch` is the number of tasks that each takes
        beyond its slots. A pilot with `ends_s` loses then what it holds, and that becomes
        ready again.
    policy
        The policy.
    run_s
        The run time in truth; what the policy is told if None.

    Raises
    ------
    ValueError
        If the policy binds a task twice or where there is no room.

    Examples
    --------
    >>> tasks = [TaskView(i, cost_s=4.0) for i in range(3)]
    >>> pilots = [PilotView("slow", 1, 1), PilotView("fast", 1, 1, rate=4.0)]
    >>> simulate(tasks, pilots, "eager").makespan_s
    4.0
    >>> simulate(tasks, pilots, "cost_aware").makespan_s
    3.0
    """
    return _Play(tasks, pilots, as_policy(policy), run_s or _as_told).played()


def lower_bound_s(tasks: Iterable[TaskView], pilots: Iterable[PilotView]) -> float:
    """Return max(total work / total rate, longest task on the fastest pilot).

    No schedule of tasks of one core, ready at time 0, is shorter.

    Examples
    --------
    >>> lower_bound_s([TaskView(1, cost_s=6.0)], [PilotView("a", 4, 4), PilotView("b", 1, 1, rate=2)])
    3.0
    """  # noqa: E501
    costs = [task.length_s for task in tasks]
    rates = {pilot.name: (pilot.rate, pilot.slots) for pilot in pilots}.values()
    total_rate = sum(rate * slots for rate, slots in rates)
    fastest = max(rate for rate, _ in rates)
    return max(sum(costs) / total_rate, max(costs, default=0.0) / fastest)


def preemptive_bound_s(tasks: Iterable[TaskView], pilots: Iterable[PilotView]) -> float:
    """Return the makespan of a perfect schedule that may move tasks while they run.

    The k longest tasks can use no more than the k fastest slots; `lower_bound_s` is the
    first and the last of these bounds.
    """
    costs = sorted((task.length_s for task in tasks), reverse=True)
    rates = sorted((p.rate for p in pilots for _ in range(p.slots)), reverse=True)
    bound = work = rate = 0.0
    for cost, speed in zip(costs, rates, strict=False):
        work, rate = work + cost, rate + speed
        bound = max(bound, work / rate)
    return max(bound, sum(costs) / sum(rates))


def _as_told(task: TaskView, pilot: PilotView) -> float:
    return pilot.cost_s(task) or 0.0


# -- how it is played ----------------------------------------------------------------------


@dataclass(eq=False)
class _Stay:
    """A task that a pilot holds."""

    task: TaskView
    width: int
    told_s: float
    bound_s: float
    started_s: float = math.nan
    told_end_s: float = math.inf


@dataclass(eq=False)
class _Room:
    """A pilot's slots, first come first served, as `TaskManager` keeps them."""

    idle: PilotView
    running: dict[int, _Stay] = field(default_factory=dict)
    in_line: deque[_Stay] = field(default_factory=deque)
    slots_taken: int = 0
    gpus_taken: int = 0
    last_bound_s: float | None = None
    last_group: str | None = None
    seen: PilotView | None = None

    def view(self) -> PilotView:
        """Return the view; it stays true until something is bound or ends here."""
        if self.seen is None:
            self.seen = self._view()
        return self.seen

    def _view(self) -> PilotView:
        ends = [stay.told_end_s for stay in self.running.values()]
        wide = [stay for stay in self.running.values() if stay.width > 1 or stay.task.isolated]
        for stay in wide:
            ends += [stay.told_end_s] * (stay.width - 1)
        return replace(
            self.idle,
            free=self.idle.slots - self.slots_taken,
            prefetch=0 if wide else self.idle.prefetch - len(self.in_line),
            gpus_free=self.idle.gpus_free - self.gpus_taken,
            free_at_s=when_free(ends, [stay.told_s for stay in self.in_line]),
            last_bound_s=self.last_bound_s,
            last_group=self.last_group,
        )

    def take(self, task: TaskView, now: float) -> None:
        cost_s = self.idle.cost_s(task)
        told_s = math.inf if cost_s is None else cost_s
        self.in_line.append(_Stay(task, self.idle.width(task), told_s, now))
        self.gpus_taken += task.gpus
        self.last_bound_s, self.last_group, self.seen = now, task.group, None

    def started(self, now: float) -> Iterable[_Stay]:
        """Yield what starts now on idle slots."""
        while self.in_line and self.in_line[0].width <= self.idle.slots - self.slots_taken:
            stay = self.in_line.popleft()
            self.slots_taken += stay.width
            stay.started_s, stay.told_end_s = now, now + stay.told_s
            self.running[stay.task.id] = stay
            self.seen = None
            yield stay

    def finish(self, stay: _Stay) -> None:
        del self.running[stay.task.id]
        self.slots_taken -= stay.width
        self.gpus_taken -= stay.task.gpus
        self.seen = None


class _Play:
    def __init__(
        self,
        tasks: Iterable[TaskView],
        pilots: Iterable[PilotView],
        policy: Policy,
        run_s: Callable[[TaskView, PilotView], float],
    ) -> None:
        self._policy, self._run_s = policy, run_s
        self._rooms = {pilot.name: _Room(pilot) for pilot in pilots}
        self._ready = ReadyQueue()
        self._runs: list[Run] = []
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._policy_s, self._calls = 0.0, 0
        self._wake_at = math.inf
        for task in tasks:
            self._at(task.ready_s, partial(self._submit, task))
        for room in self._rooms.values():
            if room.idle.ends_s is not None:
                self._at(room.idle.ends_s, partial(self._end, room))

    def played(self) -> Played:
        while self._events:
            now = self._events[0][0]
            while self._events and self._events[0][0] <= now:
                heapq.heappop(self._events)[2](now)
            self._bind(now)
        makespan_s = max((run.ended_s for run in self._runs if not run.lost), default=0.0)
        return Played(makespan_s, self._runs, list(self._ready), self._policy_s, self._calls)

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        self._count += 1  # events of one moment in the order of their making
        heapq.heappush(self._events, (when, self._count, event))

    def _submit(self, task: TaskView, now: float) -> None:
        self._ready.add(task)

    def _bind(self, now: float) -> None:
        views = [room.view() for room in self._rooms.values()]
        if not self._ready or not any(view.free > 0 or view.prefetch > 0 for view in views):
            return
        started = time.thread_time()  # others may have the core in between
        bindings = self._policy(self._ready, views, now)
        self._policy_s += time.thread_time() - started
        self._calls += 1
        left = {view.name: view for view in views}
        for number, name in bindings:
            task = self._ready.find(number)
            if task is None or not left[name].has_room(task):
                raise ValueError(f"task {number} was bound to pilot '{name}', which has no room")
            left[name] = left[name].holding(task)
            self._rooms[name].take(self._ready.remove(number), now)
        for name in {name for _, name in bindings}:
            self._start(self._rooms[name], now)
        self._wake(now)

    def _wake(self, now: float) -> None:
        """Come back when the policy wants to be asked."""
        views = [room.view() for room in self._rooms.values()]
        when = wake_s(self._policy, self._ready, views, now) if self._ready else None
        if when is not None and now < when and when != self._wake_at:
            self._wake_at = when
            self._at(when, lambda _: None)

    def _start(self, room: _Room, now: float) -> None:
        for stay in room.started(now):
            run_s = self._run_s(stay.task, room.idle)
            self._at(now + run_s, partial(self._finish, room, stay))

    def _finish(self, room: _Room, stay: _Stay, now: float) -> None:
        if room.running.get(stay.task.id) is not stay:
            return  # lost before
        room.finish(stay)
        self._runs.append(Run(stay.task, room.idle.name, stay.bound_s, stay.started_s, now))
        self._start(room, now)

    def _end(self, room: _Room, now: float) -> None:
        del self._rooms[room.idle.name]
        for stay in room.running.values():
            run = Run(stay.task, room.idle.name, stay.bound_s, stay.started_s, now, lost=True)
            self._runs.append(run)
        for stay in (*room.running.values(), *room.in_line):
            self._ready.add(replace(stay.task, ready_s=now), first=True)
        room.running.clear()
        room.in_line.clear()
