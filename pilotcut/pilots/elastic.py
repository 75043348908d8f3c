"""Pilots that follow the load: which are asked for, canceled and released, as pure functions.

Refuses to know a clock, a process or a job: `pilotcut.pilots.elastic_pilots` starts and ends pilots
by what is decided here, and the task manager says what the load is.

More pilots are asked for at once, and given up late, by the most that was needed during a while:
a load that goes up and down within that while changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pilotcut.pilots.description.elastic import ElasticDescription

#: Work of less than so many slots beyond what is there is none: sums of floats.
_LITTLE = 1e-6

#: ``standby`` pilots could be asked for, ``pending`` ones stand in a queue, those that are
#: ``starting`` hold their nodes already.
Standing = Literal["standby", "pending", "starting", "active"]


@dataclass(frozen=True, slots=True)
class Member:
    """One of the pilots of an elastic entry, as it stands.

    Attributes
    ----------
    name, slots
        Of the pilot.
    standing
        Where it stands.
    left_s
        Seconds until its walltime is over; infinite where it has none, or is not known.
    rested_s
        Seconds since one of its name was released; infinite where none was.
    """

    name: str
    slots: int
    standing: Standing
    left_s: float = math.inf
    rested_s: float = math.inf


@dataclass(frozen=True, slots=True)
class PilotLoad:
    """What waits for, and runs on, the pilots of an elastic entry.

    Attributes
    ----------
    ready_slots
        Slots that would do all ready work within `wait_s`, by its predicted seconds: a task
        that takes longer counts for as many slots as it fills, a short one for its part.
    longest_s
        Predicted seconds of the longest of these tasks, with what is kept in reserve.
    busy
        Slots of each pilot that are taken, by its name.
    held
        How much of its slots' next `wait_s` is taken already, in slots, by its name.
    pinned
        Pilots that ready tasks name, and not their whole entry.
    left
        Tasks of the entry's groups that have not ended, also those that wait for other tasks; None
        where the pilots are for any task.
    """

    ready_slots: float = 0.0
    longest_s: float = 0.0
    busy: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Names of pilots: to be asked for, to be canceled while they pend, and to be released."""

    ask: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    release: tuple[str, ...] = ()


def together(loads: Iterable[PilotLoad]) -> PilotLoad:
    """Return the load of several programs that use the same pilots."""
    loads = tuple(loads)
    busy: dict[str, int] = {}
    held: dict[str, float] = {}
    for load in loads:
        for name, slots in load.busy.items():
            busy[name] = busy.get(name, 0) + slots
        for name, part in load.held.items():
            held[name] = held.get(name, 0.0) + part
    return PilotLoad(
        sum(load.ready_slots for load in loads),
        max((load.longest_s for load in loads), default=0.0),
        busy,
        held,
        frozenset().union(*(load.pinned for load in loads)),
        sum(known) if (known := [load.left for load in loads if load.left is not None]) else None,
    )


class Needed:
    """Slots that were needed of late, to ask for the most of a while.

    Examples
    --------
    >>> needed = Needed()
    >>> for now, slots in enumerate([1.0, 5.0, 2.0, 3.0]):
    ...     needed.add(float(now), slots, keep_s=10.0)
    >>> needed.most(since=0.0), needed.most(since=2.0)
    (5.0, 3.0)
    """

    def __init__(self) -> None:
        # Only what nothing later exceeds: the first within a while is the most of it.
        self._peaks: deque[tuple[float, float]] = deque()

    def add(self, now: float, slots: float, keep_s: float) -> None:
        """Take note of what is needed now, and forget what is older than `keep_s`."""
        while self._peaks and self._peaks[-1][1] <= slots:
            self._peaks.pop()
        self._peaks.append((now, slots))
        while self._peaks[0][0] < now - keep_s:
            self._peaks.popleft()

    def most(self, since: float) -> float:
        """Return the most that was needed since then."""
        return next((slots for when, slots in self._peaks if when >= since), 0.0)


def slots_needed(members: Sequence[Member], load: PilotLoad) -> float:
    """Return how many slots are of use now: those that are taken, and for what waits."""
    here = (min(m.slots, load.busy.get(m.name, 0)) for m in members if m.standing == "active")
    return sum(here) + load.ready_slots


def decide(
    rule: ElasticDescription,
    members: Sequence[Member],
    load: PilotLoad,
    needed: Needed,
    now: float,
) -> Change:
    """Return what is to be done about the pilots of an entry.

    Parameters
    ----------
    rule
        The entry's bounds and times.
    members
        All its pilots that have not ended and do not drain; of those that stand by the first
        are asked for first.
    load
        What waits for them, and runs on them.
    needed
        What was needed until now, `slots_needed` of this moment included.
    now
        On the clock of `needed`.

    Examples
    --------
    >>> rule = ElasticDescription(most=3, wait_s=10, idle_s=60)
    >>> members = [Member(f"p-{k}", 2, "standby") for k in range(3)]
    >>> decide(rule, members, PilotLoad(ready_slots=3.5), Needed(), 0.0).ask
    ('p-0', 'p-1')
    """
    there = [member for member in members if member.standing != "standby"]
    spare = [member for member in members if member.standing == "standby"]
    missing = _missing(rule, there, spare, load)
    if missing > 0 or load.pinned & {member.name for member in spare}:
        return Change(ask=tuple(_asked(rule, there, spare, load, missing)))
    # A stage that is done needs no pilot any more, whatever it needed just before.
    idle_s = min(rule.idle_s, rule.done_s) if load.left == 0 else rule.idle_s
    cancel = _surplus(rule, there, needed.most(now - idle_s / 2))
    pending = [m for m in reversed(there) if m.standing == "pending"]
    canceled = tuple(m.name for m in pending if m.name not in load.pinned)[:cancel]
    kept = [member for member in there if member.standing != "pending"]
    release = _surplus(rule, kept, needed.most(now - idle_s))
    return Change(cancel=canceled, release=tuple(_released(kept, load, release)))


def _missing(
    rule: ElasticDescription, there: Sequence[Member], spare: Sequence[Member], load: PilotLoad
) -> int:
    """Return how many pilots more it takes for ready work to start within `wait_s`."""
    least = rule.least - len(there)
    free = sum(_free(rule, member, load) for member in there)
    slots = load.ready_slots - free
    each = max((member.slots for member in spare), default=1)
    return max(least, math.ceil(slots / each) if slots > _LITTLE else 0)


def _free(rule: ElasticDescription, member: Member, load: PilotLoad) -> float:
    """Return what of a pilot's next `wait_s` is not taken, in slots."""
    if member.left_s < load.longest_s:  # it would be gone before the end of what waits
        return 0.0
    part = min(1.0, member.left_s / rule.wait_s)
    return max(0.0, member.slots * part - load.held.get(member.name, 0.0))


def _asked(
    rule: ElasticDescription,
    there: Sequence[Member],
    spare: Sequence[Member],
    load: PilotLoad,
    missing: int,
) -> Iterator[str]:
    room = rule.most - len(there)
    missing = min(missing, room)
    if there and rule.least <= len(there) and missing <= max(1, len(there) // 2):
        # A few more or less is what a steady load varies by: nobody comes back at once for that.
        spare = [m for m in spare if m.rested_s >= rule.idle_s / 2 or m.name in load.pinned]
    first = [member.name for member in spare if member.name in load.pinned]
    rest = [member.name for member in spare if member.name not in load.pinned]
    yield from (first + rest)[: max(0, min(room, max(missing, len(first))))]


def _surplus(rule: ElasticDescription, there: Sequence[Member], most_needed: float) -> int:
    """Return how many of these pilots could go, by the most slots that were needed."""
    if not there:
        return 0
    each = min(member.slots for member in there)
    kept = max(rule.least, math.ceil((most_needed - _LITTLE) / each))
    return max(0, len(there) - kept)


def _released(there: Sequence[Member], load: PilotLoad, surplus: int) -> list[str]:
    """Return the pilots to go: those with nothing to do first, then those that end soonest."""
    free = [m for m in reversed(there) if m.standing == "active" and m.name not in load.pinned]
    free.sort(key=lambda member: (load.busy.get(member.name, 0), member.left_s))
    return [member.name for member in free[:surplus]]
