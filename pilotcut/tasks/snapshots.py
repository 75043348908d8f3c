"""Snapshots for policies: ready tasks and active pilots as frozen data, times as numbers.

This module refuses to know a clock, a queue or a worker. All times are on one clock, that
of the `now` which a policy is given, so that a view stays true until something happens to
its pilot.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

#: A task of known cost goes to a pilot only if that lives this many times as long.
WALLTIME_MARGIN = 1.2

Needs = tuple[object, ...]
#: Sorts ready tasks; those that come first by it are bound first, equals by submission.
Order = Callable[["TaskView"], float]


@dataclass(frozen=True, slots=True)
class TaskView:
    """Snapshot of a ready task, for policies.

    Attributes
    ----------
    id
        Identity of the task.
    cores, gpus
        What the task needs.
    pilots
        Names of the pilots it may run on, None for any.
    cost_s
        The submitter's guess of its run time in seconds on a pilot of rate 1, None if
        there is none.
    ready_s
        When it became ready, on the clock of `now`.
    isolated
        Whether it must not wait in line behind another task, because a worker died
        that held it.
    group
        What it belongs to, a fragment for example, for policies that keep groups together.
    costs
        Guesses of its run time by name of the pilot, where rates do not tell: a wide
        circuit may gain from a GPU what a narrow one loses.
    ranks
        Number of MPI processes that run it together; `cores` are those of all of them.
    """

    id: int
    cores: int = 1
    gpus: int = 0
    pilots: frozenset[str] | None = None
    cost_s: float | None = None
    ready_s: float = 0.0
    isolated: bool = False
    group: str | None = None
    costs: Mapping[str, float] | None = field(default=None, hash=False)
    ranks: int = 1

    @property
    def length_s(self) -> float:
        """Its cost whatever the pilot, for sorting; 0 if nothing is known."""
        if self.cost_s is not None:
            return self.cost_s
        return min(self.costs.values(), default=0.0) if self.costs else 0.0

    @property
    def needs(self) -> Needs:
        """What decides where it may and should run; tasks of equal needs differ in length."""
        if not self.costs:
            return (self.cores, self.gpus, self.pilots, self.isolated, self.ranks)
        least = min(self.costs.values()) or 1.0
        costs = self.costs if self.cost_s is None else {**self.costs, "": self.cost_s}
        # In steps of about a tenth: bundles of one fragment differ by rounding only.
        steps = ((name, 10 * math.log(max(c, 1e-9) / least)) for name, c in costs.items())
        profile = tuple(sorted((name, round(step)) for name, step in steps))
        return (self.cores, self.gpus, self.pilots, self.isolated, self.ranks, profile)


def by_submission(task: TaskView) -> float:
    """Order of submission."""
    return 0.0


def by_length(task: TaskView) -> float:
    """Longest first."""
    return -task.length_s


@dataclass(frozen=True, slots=True)
class PilotView:
    """Snapshot of an active pilot, for policies.

    Attributes
    ----------
    name
        The pilot's name.
    slots
        Number of workers.
    free
        Number of idle slots.
    prefetch
        Number of further tasks that the pilot takes to have them at hand; all but the first ones
        of them short (`SlotAccount`).
    cores_per_slot, gpus_per_slot
        What one worker has.
    gpus_free
        GPUs that no task holds.
    rate
        Seconds of a task's `cost_s` that a slot does in a second.
    ends_s
        When its walltime is over, None if it has none.
    free_at_s
        When each busy slot will have done all that waits for it, ascending; infinite
        where nobody knows. `when_free` computes it. Slots that are missing here are as
        good as unknown.
    last_bound_s, last_group
        When a task was last bound to this pilot, and that task's group.
    ranks
        Number of ranks of an MPI pilot, which takes tasks of so many, and ordinary ones
        only if they name it; 1 for any other pilot.
    starts_ranks
        Whether the ranks of a task can be started from a worker.
    mpi_pilots
        Active MPI pilots: a task that suits one of them is not for an ordinary pilot, which
        would have to start its ranks.
    groups
        Groups whose own it is: it takes tasks that name it, as those of the groups do.
    """

    name: str
    slots: int
    free: int
    prefetch: int = 0
    cores_per_slot: int = 1
    gpus_per_slot: int = 0
    gpus_free: int = 0
    rate: float = 1.0
    ends_s: float | None = None
    free_at_s: tuple[float, ...] = ()
    last_bound_s: float | None = None
    last_group: str | None = None
    ranks: int = 1
    starts_ranks: bool = True
    mpi_pilots: tuple[PilotView, ...] = ()
    groups: frozenset[str] = frozenset()

    def width(self, task: TaskView) -> int:
        """Return the number of slots that `task` fills here."""
        return -(-task.cores // self.cores_per_slot)

    def suits(self, task: TaskView) -> bool:
        """Return whether `task` could run here if the pilot were idle."""
        return (
            (not self.groups if task.pilots is None else self.name in task.pilots)
            and task.gpus <= self.gpus_per_slot
            and self.width(task) <= self.slots
            and self._suits_ranks(task)
        )

    def _suits_ranks(self, task: TaskView) -> bool:
        if self.ranks == 1:
            if task.ranks == 1:
                return True
            return self.starts_ranks and not any(pilot.suits(task) for pilot in self.mpi_pilots)
        return task.ranks == self.ranks or (task.ranks == 1 and task.pilots is not None)

    def has_room(self, task: TaskView) -> bool:
        """Return whether `task` can be bound here now."""
        if not self.suits(task) or task.gpus > self.gpus_free:
            return False
        width = self.width(task)
        return self.free >= width or (width == 1 and not task.isolated and self.prefetch > 0)

    def is_worth_clearing(self, task: TaskView, now: float) -> bool:
        """Return whether `task` could run here soon if no other took the slots."""
        # Not for one that waits for GPUs: slots that are kept idle do not help it.
        return self.suits(task) and task.gpus <= self.gpus_free and self.outlasts(task, now)

    def holding(self, task: TaskView) -> PilotView:
        """Return the room that is left once `task` is bound here."""
        width, gpus = self.width(task), self.gpus_free - task.gpus
        if self.free >= width:
            return replace(self, free=self.free - width, gpus_free=gpus)
        return replace(self, prefetch=self.prefetch - 1, gpus_free=gpus)

    def cost_s(self, task: TaskView) -> float | None:
        """Return the run time of `task` here, None if nobody guessed."""
        if task.costs and self.name in task.costs:
            return task.costs[self.name]
        return None if task.cost_s is None else task.cost_s / self.rate

    def times(self, now: float) -> list[float]:
        """Return in how many seconds each slot can take a task, ascending; unknown ones not.

        A task that runs longer than foretold is taken to need as long again as it is
        late: nobody waits for ever for a slot that should have come free.
        """
        known = [at - now for at in self.free_at_s if at < math.inf]
        if known and known[0] < 0:
            known = sorted(map(abs, known))
        return [0.0] * self.free + known

    def start_s(self, task: TaskView, now: float) -> float:
        """Return in how many seconds `task` would start if it were bound here; 0 if unknown."""
        width = self.width(task)
        times = self.times(now)
        if task.gpus > self.gpus_free:  # no idle slot is of use
            times = times[self.free :]
        return times[width - 1] if width <= len(times) else 0.0

    def outlasts(self, task: TaskView, now: float) -> bool:
        """Return whether the walltime left is enough for `task`, with `WALLTIME_MARGIN`.

        A task of unknown cost is given a try.
        """
        if self.ends_s is None:
            return True
        cost_s = WALLTIME_MARGIN * (self.cost_s(task) or 0.0)
        return now + self.start_s(task, now) + cost_s <= self.ends_s


def when_free(running: Iterable[float], waiting: Iterable[float]) -> tuple[float, ...]:
    """Return when the slots that run something are free again (`PilotView.free_at_s`).

    Parameters
    ----------
    running
        When each running task ends, by its cost; a task on several slots once for each.
    waiting
        Costs in seconds of the tasks in line behind them, in their order.

    Examples
    --------
    >>> when_free([3.0, 5.0], [1.0, 4.0])
    (5.0, 8.0)
    """
    ends = list(running)
    heapq.heapify(ends)
    for cost_s in waiting:
        if ends:
            heapq.heapreplace(ends, ends[0] + cost_s)
    return tuple(sorted(ends))
