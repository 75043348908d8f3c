"""Greedy binding: tasks in some order, each to the suitable pilot with most room.

Of thousands of ready tasks nearly all find no room. They are not looked at one by one: once a
task finds none, all others of the same needs are passed over.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from pilotcut.tasks.policy_base import PATIENCE_S, Bindings
from pilotcut.tasks.ready_queue import Line, ReadyQueue
from pilotcut.tasks.snapshots import Needs, Order, PilotView, TaskView, by_submission


def bind_in_order(
    ready: Sequence[TaskView],
    order: Order,
    pilots: Sequence[PilotView],
    now: float,
    admits: Callable[[TaskView], bool] | None = None,
) -> Bindings:
    """Bind tasks in some order, each to the suitable pilot with most free slots.

    Parameters
    ----------
    ready, pilots, now
        What a policy is given.
    order
        Tasks that come first by it are bound first.
    admits
        Whether a task may be bound now; None for any.
    """
    queue = ReadyQueue.of(ready)
    return fill(queue, queue.lines(order).values(), room_of(pilots), now, admits)


def room_of(pilots: Sequence[PilotView]) -> dict[str, PilotView]:
    """Return the pilots that can take a task now, by name."""
    return {pilot.name: pilot for pilot in pilots if pilot.free > 0 or pilot.prefetch > 0}


def fill(
    queue: ReadyQueue,
    lines: Iterable[Line],
    room: dict[str, PilotView],
    now: float,
    admits: Callable[[TaskView], bool] | None = None,
) -> Bindings:
    """Bind tasks of some lines of a queue while there is room, and take that room."""
    bound: Bindings = []
    hopeless: set[Needs] = set()
    for task in _merged(lines, hopeless) if room else ():
        if admits is not None and not admits(task):
            continue
        roomy = [pilot for pilot in room.values() if pilot.has_room(task)]
        options = [pilot for pilot in roomy if pilot.outlasts(task, now)]
        if options:
            # A free slot comes before a place in line.
            best = max(options, key=lambda pilot: (pilot.free, pilot.prefetch))
            bound.append((task.id, best.name))
            _keep(room, best.holding(task))
        elif not roomy:
            # Where there is room, and only too little walltime, shorter tasks of the same needs may
            # fit.
            hopeless.add(task.needs)
            # In another order than that of submission the one that has waited longest is anywhere.
            oldest = queue.lines(by_submission)[task.needs].tasks[0]
            if now - oldest.ready_s > PATIENCE_S:
                _clear_one(room, task, now)
        if not room:
            break
    return bound


def _merged(lines: Iterable[Line], hopeless: set[Needs]) -> Iterator[TaskView]:
    """Yield from sorted lines; a hopeless one is left at its head, however long it is."""
    ways = [(line.keys[0], 0, line) for line in lines]
    heapq.heapify(ways)  # keys are unique, lines never compared
    while ways:
        _, at, line = ways[0]
        if hopeless and line.tasks[at].needs in hopeless:
            heapq.heappop(ways)
            continue
        yield line.tasks[at]
        if at + 1 < len(line.keys):
            heapq.heapreplace(ways, (line.keys[at + 1], at + 1, line))
        else:
            heapq.heappop(ways)


def _clear_one(room: dict[str, PilotView], task: TaskView, now: float) -> None:
    """Leave a pilot's room unused: narrow tasks would slip past a wide one for ever."""
    options = [pilot for pilot in room.values() if pilot.is_worth_clearing(task, now)]
    if options:
        del room[max(options, key=lambda pilot: pilot.free).name]


def _keep(room: dict[str, PilotView], pilot: PilotView) -> None:
    if pilot.free > 0 or pilot.prefetch > 0:
        room[pilot.name] = pilot
    else:
        del room[pilot.name]
