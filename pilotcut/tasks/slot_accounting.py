"""Slot accounting: what of a pilot's slots and GPUs is taken, and by which tasks.

This module refuses to know how tasks get to the pilot; the binder's thread owns the accounts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.tasks.runtime_estimates import PilotRates
from pilotcut.tasks.snapshots import PilotView, TaskView, when_free
from pilotcut.tasks.task_record import TaskRecord

#: Most tasks in a parcel.
PARCEL = 64


@dataclass(eq=False)
class Reservation:
    """Slots of a pilot for one launch of a task.

    Attributes
    ----------
    record
        The task.
    launch
        Number of the launch, from 0.
    width
        Number of slots.
    running_since
        When it must have begun to run, as far as can be told from here: when it was sent,
        or when a slot before it in line was released. None while it waits in line.
    """

    record: TaskRecord
    launch: int
    width: int
    running_since: float | None = None


class SlotAccount:
    """The slots of one pilot.

    Parameters
    ----------
    pilot
        The pilot; its description may change when workers attach or leave.
    rates
        What is known of how fast pilots are.
    """

    def __init__(self, pilot: Pilot, rates: PilotRates) -> None:
        self.pilot = pilot
        self._rates = rates
        self._held: dict[int, Reservation] = {}
        self._line: deque[Reservation] = deque()  # held, and not running yet
        self._running = 0
        self._slots_taken = 0
        self._gpus_taken = 0
        self._unshared = 0
        self._described = pilot.description
        self._view_of_idle = _idle(pilot)
        self._costed = 0
        self._last_bound: float | None = None
        self._last_group: str | None = None

    @property
    def _idle(self) -> PilotView:
        if self.pilot.description is not self._described:  # workers attached or left
            self._described = self.pilot.description
            self._view_of_idle = _idle(self.pilot)
        return self._view_of_idle

    @property
    def idle(self) -> PilotView:
        """What a policy would see if nothing ran here; for any thread."""
        # Not `view`, which walks over `_held` while the binder's thread changes it: submit_task,
        # after some hundred tasks of known cost, failed with "dictionary keys changed during
        # iteration".
        view, rate = self._idle, self._rates.of(self.pilot.name)
        if view.rate != rate:
            self._view_of_idle = view = replace(view, rate=rate)
        return view

    def suits(self, task: TaskView) -> bool:
        """Return whether `task` could run here if nothing else did; for any thread."""
        return self._idle.suits(task)

    @property
    def free(self) -> int:
        """Number of idle slots: all of a view that most who ask want to know."""
        return max(0, self._idle.slots - self._slots_taken)

    @property
    def held(self) -> tuple[Reservation, ...]:
        """What the pilot was handed and has not reported; for the binder's thread."""
        return tuple(self._held.values())

    @property
    def alive(self) -> bool:
        """Whether tasks may run here, now or later."""
        return not self.pilot.state.final and self.pilot.state is not PilotState.DRAINING

    @property
    def active(self) -> bool:
        """Whether tasks can be bound here now."""
        return self.pilot.state is PilotState.ACTIVE

    @property
    def walltime_s(self) -> float:
        """How long the pilot lives as a whole; infinite if nobody limits it."""
        limited = self.pilot.description.resource == "slurm"
        return self.pilot.description.walltime_s if limited else math.inf

    # Beyond a slot's own task a pilot of workers takes `prefetch` more, to hide the way from here
    # to there, and of short tasks a whole parcel: sent one by one, no-op tasks run at a quarter
    # of the rate (see `runtime_estimates.SHORT_S`).
    @property
    def extra(self) -> int:
        """The part of the room that only short tasks may take."""
        return self.pilot.slots * PARCEL if self.pilot.prefetch else 0

    def view(self, mpi_pilots: tuple[PilotView, ...] = (), *, has_short: bool = True) -> PilotView:
        """Return what a policy sees of it, without the room of short tasks if none is ready."""
        idle = self._idle
        return PilotView(
            name=idle.name,
            slots=idle.slots,
            free=self.free,
            prefetch=self._prefetch(self.extra if has_short else 0),
            cores_per_slot=idle.cores_per_slot,
            gpus_per_slot=idle.gpus_per_slot,
            # What stands in line is counted as taken too, so there is as much more to be taken.
            gpus_free=idle.gpus_free * (1 + self.pilot.prefetch) - self._gpus_taken,
            rate=self._rates.of(idle.name),
            ends_s=self.pilot.ends,
            # A walk over all that is held, of no use where no task has a cost: every end is unknown
            # then.
            free_at_s=self._free_at() if self._costed else (),
            last_bound_s=self._last_bound,
            last_group=self._last_group,
            ranks=idle.ranks,
            starts_ranks=idle.starts_ranks,
            mpi_pilots=mpi_pilots,
            groups=idle.groups,
        )

    def _free_at(self) -> tuple[float, ...]:
        """Return when busy slots will have done all that waits for them, by what tasks cost."""
        running, waiting = [], []
        view = self.idle
        for reservation in self._held.values():
            cost_s = view.cost_s(reservation.record.view)
            known = math.inf if cost_s is None else cost_s
            if reservation.running_since is None:
                waiting.append(known)
            else:
                running += [reservation.running_since + known] * reservation.width
        return when_free(running, waiting)

    def _prefetch(self, extra: int) -> int:
        if self._unshared:  # nothing may stand in line behind these
            return 0
        in_line = max(0, self._slots_taken - self._idle.slots)
        ahead = self._idle.slots * self.pilot.prefetch - in_line
        if extra and ahead + extra < PARCEL // 2:
            return 0  # refilled in small change, parcels would shrink from round to round
        return max(0, ahead + extra)

    def has_idle_slot(self, task: TaskView) -> bool:
        """Return whether `task` would run here at once."""
        view = self.view()
        return view.free >= view.width(task) and view.has_room(task)

    def reserve(self, record: TaskRecord, now: float) -> Reservation:
        """Take slots for the next launch of a task."""
        reservation = Reservation(record, record.launches, self._idle.width(record.view))
        self._held[id(reservation)] = reservation
        self._line.append(reservation)
        self._count(reservation, 1)
        self._advance(now)
        self._last_bound, self._last_group = now, record.view.group
        return reservation

    def release(self, reservation: Reservation, now: float) -> None:
        """Give the slots back; the next in line begins to run."""
        del self._held[id(reservation)]
        self._count(reservation, -1)
        if reservation.running_since is not None:
            self._running -= reservation.width
        self._advance(now)

    def _advance(self, now: float) -> None:
        while self._line and self._running + self._line[0].width <= self._idle.slots:
            reservation = self._line.popleft()
            if id(reservation) in self._held:  # not lost meanwhile
                reservation.running_since = now
                self._running += reservation.width

    def _count(self, reservation: Reservation, sign: int) -> None:
        self._slots_taken += sign * reservation.width
        self._gpus_taken += sign * reservation.record.view.gpus
        self._unshared += sign * (reservation.record.view.isolated or reservation.width > 1)
        self._costed += sign * (self._idle.cost_s(reservation.record.view) is not None)


def _idle(pilot: Pilot) -> PilotView:
    d = pilot.description
    return PilotView(
        name=d.name,
        slots=d.slots,
        free=d.slots,
        cores_per_slot=d.cores_per_slot,
        gpus_per_slot=d.gpus_per_worker,
        gpus_free=d.gpus_per_worker if d.ranks > 1 else d.gpus,
        ranks=d.ranks,
        groups=frozenset(d.groups),
        starts_ranks=pilot.starts_ranks,
    )


def active_mpi_pilots(accounts: Iterable[SlotAccount]) -> tuple[PilotView, ...]:
    """Return the views of the MPI pilots among active ones, see `PilotView.mpi_pilots`."""
    return tuple(account.view() for account in accounts if account.pilot.description.ranks > 1)
