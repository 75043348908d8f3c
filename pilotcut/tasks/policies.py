"""Which ready task goes to which pilot: pure functions on small frozen views.

A policy is any callable ``choose(ready, pilots, now) -> [(task id, pilot name), ...]``.
It sees the ready tasks in order of submission and what room each pilot has; it starts
nothing and reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

#: A task too wide for the room there is waits this long before its pilot is kept clear.
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a policy sees of a ready task.

    Attributes
    ----------
    id
        Identity of the task.
    cores, gpus
        What the task needs.
    pilots
        Names of the pilots it may run on, None for any.
    cost_s
        The submitter's guess of its run time in seconds, None if there is none.
    ready_s
        When it became ready, on the clock of `now`.
    alone
        Whether it must not wait in line behind another task, because a worker died
        that held it.
    """

    id: int
    cores: int = 1
    gpus: int = 0
    pilots: frozenset[str] | None = None
    cost_s: float | None = None
    ready_s: float = 0.0
    alone: bool = False


@dataclass(frozen=True, slots=True)
class PilotView:
    """What a policy sees of an active pilot.

    Attributes
    ----------
    name
        The pilot's name.
    slots
        Number of workers.
    free
        Number of idle slots.
    prefetch
        Number of further tasks that the pilot takes to have them at hand.
    cores_per_slot, gpus_per_slot
        What one worker has.
    gpus_free
        GPUs that no task holds.
    """

    name: str
    slots: int
    free: int
    prefetch: int = 0
    cores_per_slot: int = 1
    gpus_per_slot: int = 0
    gpus_free: int = 0

    def width(self, task: TaskView) -> int:
        """Return the number of slots that `task` fills here."""
        return -(-task.cores // self.cores_per_slot)

    def suits(self, task: TaskView) -> bool:
        """Return whether `task` could run here if the pilot were idle."""
        return (
            (task.pilots is None or self.name in task.pilots)
            and task.gpus <= self.gpus_per_slot
            and self.width(task) <= self.slots
        )

    def has_room(self, task: TaskView) -> bool:
        """Return whether `task` can be bound here now."""
        if not self.suits(task) or task.gpus > self.gpus_free:
            return False
        width = self.width(task)
        return self.free >= width or (width == 1 and not task.alone and self.prefetch > 0)

    def holding(self, task: TaskView) -> PilotView:
        """Return the room that is left once `task` is bound here."""
        width, gpus = self.width(task), self.gpus_free - task.gpus
        if self.free >= width:
            return replace(self, free=self.free - width, gpus_free=gpus)
        return replace(self, prefetch=self.prefetch - 1, gpus_free=gpus)


Bindings = list[tuple[int, str]]
Policy = Callable[[Sequence[TaskView], Sequence[PilotView], float], Bindings]


def eager(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Bind in order of submission, each task to the suitable pilot with most free slots.

    Examples
    --------
    >>> eager([TaskView(1), TaskView(2), TaskView(3)], [PilotView("a", 1, 1), PilotView("b", 2, 2)], 0)
    [(1, 'b'), (2, 'a'), (3, 'b')]
    """  # noqa: E501
    return _bind_in_order(ready, pilots, now)


def longest_first(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Bind the most expensive tasks first, so that no long one is left for the end.

    A task without ``cost_s`` counts as free of cost; ties keep their order.

    Examples
    --------
    >>> longest_first([TaskView(1, cost_s=1), TaskView(2, cost_s=9)], [PilotView("a", 1, 1)], 0)
    [(2, 'a')]
    """
    return _bind_in_order(sorted(ready, key=lambda task: -(task.cost_s or 0.0)), pilots, now)


POLICIES: dict[str, Policy] = {"eager": eager, "longest_first": longest_first}


def _bind_in_order(tasks: Iterable[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    bound: Bindings = []
    room = {pilot.name: pilot for pilot in pilots if pilot.free > 0 or pilot.prefetch > 0}
    for task in tasks:
        if not room:
            break
        options = [pilot for pilot in room.values() if pilot.has_room(task)]
        if options:
            best = max(options, key=lambda pilot: (pilot.free, pilot.prefetch))
            bound.append((task.id, best.name))
            _keep(room, best.holding(task))
        elif now - task.ready_s > PATIENCE_S:
            # Narrow tasks would slip past a wide one for ever: clear one pilot for it.
            waiting_for = [pilot for pilot in room.values() if pilot.suits(task)]
            if waiting_for:
                del room[max(waiting_for, key=lambda pilot: pilot.free).name]
    return bound


def _keep(room: dict[str, PilotView], pilot: PilotView) -> None:
    if pilot.free > 0 or pilot.prefetch > 0:
        room[pilot.name] = pilot
    else:
        del room[pilot.name]
