"""List scheduling on pilots of different rates: each task where it ends earliest.

The tasks are taken longest first, each where it ends earliest, counting what the slots
still have to do. Doing that for 10,000 ready tasks whenever a slot comes free would be
far too slow, and nearly all of it is not needed. So a slot that is free takes

- the longest task that it can end by the *horizon*: the time at which all work would be
  done if it could be spread over all slots without remainder;
- or one that is too long for that, if the list of those, longest first, comes to a task
  for which this slot is the best: near the end of a run, or if few slots are fast;
- or nothing, if every task ends earlier elsewhere.

The list of those that are too long is mostly empty or refused by one comparison (`_landing`).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilotcut.tasks.policy_base import PATIENCE_S, Bindings
from pilotcut.tasks.ready_queue import Line, ReadyQueue
from pilotcut.tasks.snapshots import WALLTIME_MARGIN, PilotView, TaskView, by_length, by_submission

#: That many tasks are put on slots in thought, however few the slots.
_FEW = 64


# Over all rows of benchmarks/late_binding.py (10,000 tasks, rates equal to 1:2:4:8) the makespan is
# at most 1.001 times the lower bound max(total work / total rate, longest task); eager comes to
# 2.0, and longest_first, which gives slow slots the longest tasks, to 3.0. A binding takes 45 to 82
# microseconds, with the other policies 16 to 35. Of few tasks the makespan is at most 8 % longer,
# and at most 7 % shorter, than if each were put where it ends earliest, longest first (6,000
# draws).
def place(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Return the tasks to bind now and their pilots, see `pilotcut.tasks.policies.CostAware`."""
    if not ready or not any(pilot.free > 0 or pilot.prefetch > 0 for pilot in pilots):
        return []
    lanes = [_Lane(number, pilot, now) for number, pilot in enumerate(pilots)]
    queue = ReadyQueue.of(ready)
    fronts = _fronts(queue, lanes)
    _keep_clear(fronts, lanes, queue, now)
    bound = []
    turns = [lane.turn for lane in lanes if lane.is_open]
    heapq.heapify(turns)  # idle slots before places in line, fast ones before slow ones
    while turns and fronts:
        lane = lanes[heapq.heappop(turns)[-1]]
        choice = _choice(lane, fronts)
        if choice is None:
            continue
        front, at = choice
        task = front.take(at)
        bound.append((task.id, lane.pilot.name))
        if not turns and lane.pilot.free + lane.pilot.prefetch == 1:
            break  # as after most events: one slot came free
        seconds = lane.hold(task)
        for other in fronts:
            if lane.number not in other.ending:
                other.load += seconds * other.speeds[lane.number]
        fronts = [front for front in fronts if front.count]
        if lane.is_open:
            heapq.heappush(turns, lane.turn)
    return bound


# -- the slots of a pilot, and the tasks of equal needs ------------------------------------


class _Lane:
    """A pilot while tasks are being placed: its room, and when its slots are free."""

    __slots__ = (
        "_now", "_times", "busy_s", "kept_for", "known", "last_s", "left_s", "number", "pilot",
    )  # fmt: skip

    def __init__(self, number: int, pilot: PilotView, now: float) -> None:
        self.number = number
        self.pilot = pilot
        self.left_s = math.inf if pilot.ends_s is None else pilot.ends_s - now
        self.kept_for: _Front | None = None
        self._now = now
        self._times: list[float] | None = None
        busy = pilot.free_at_s
        # `times` mends ends that are late or unknown. Where there are none, sums are enough and no
        # list of all slots is made.
        if busy and (busy[0] < now or busy[-1] == math.inf):
            self.known, self.busy_s = len(self.times), sum(self.times)
            self.last_s = self.times[-1] if self.times else 0.0
        else:
            self.known, self.busy_s = pilot.free + len(busy), sum(busy) - now * len(busy)
            self.last_s = busy[-1] - now if busy else 0.0

    @property
    def times(self) -> list[float]:
        """In how many seconds each slot is free, ascending; without those nobody knows of."""
        if self._times is None:
            self._times = self.pilot.times(self._now)
        return self._times

    @property
    def is_open(self) -> bool:
        return self.pilot.free > 0 or self.pilot.prefetch > 0

    @property
    def turn(self) -> tuple[float, float, int]:
        start_s = 0.0 if self.pilot.free > 0 else self.times[0] if self.times else math.inf
        return (start_s, -self.pilot.rate, self.number)

    def usable(self, task: TaskView) -> list[float]:
        """Return `times` as they are for a task of such needs."""
        blocked = task.gpus > self.pilot.gpus_free
        return self.times[self.pilot.free :] if blocked else self.times

    def start_s(self, task: TaskView, width: int) -> float:
        """Return in how many seconds `task` can start, 0 if nobody knows."""
        times = self.usable(task)
        return times[width - 1] if width <= len(times) else 0.0

    def within(self, seconds: float) -> tuple[int, float]:
        """Return how many slots are free by then, and the sum of their times."""
        if self.last_s <= seconds:
            return self.known, self.busy_s
        count = bisect_left(self.times, seconds)
        return count, sum(self.times[:count])

    def hold(self, task: TaskView) -> float:
        """Bind `task` here and return for how many slot-seconds, 0 if its cost is unknown."""
        width, times = self.pilot.width(task), self.times
        cost_s = self.pilot.cost_s(task)
        start_s = self.start_s(task, width)
        self.pilot = self.pilot.holding(task)
        del times[:width]
        if cost_s is None:
            self.known = len(times)
            return 0.0
        for _ in range(width):
            insort(times, start_s + cost_s)
        self.known, self.last_s = len(times), times[-1]
        self.busy_s += width * cost_s
        return width * cost_s


class _Front:
    """Tasks of equal needs, longest first, and the lanes that suit them."""

    def __init__(self, line: Line, lanes: Sequence[_Lane]) -> None:
        self._line, self._is_mine = line, False
        self._taken: int | None = None
        self.count = len(line.keys)
        self.head = task = line.tasks[0]
        plain = task.cores == 1 and task.gpus == 0 and task.pilots is None
        #: By number of the lane: seconds of `length_s` done in a second, 0 if it does not suit.
        if plain and not task.costs:
            self.speeds = [lane.pilot.rate for lane in lanes]
        else:
            self.speeds = [
                _speed(task, lane.pilot) if lane.pilot.suits(task) else 0.0 for lane in lanes
            ]
        self.lanes = [lane for lane in lanes if self.speeds[lane.number]]
        self.horizon_s = math.inf
        #: Numbers of the lanes that may end before what is ready has.
        self.ending: frozenset[int] = frozenset()
        # Of the slots on lasting lanes that are free within the horizon: how many, their
        # speeds, and slot-seconds at speed 1 until they are.
        self.slots, self.capacity, self.load = 0, 0.0, 0.0

    def look(self, work: float) -> None:
        """Set the horizon: when the lanes could have done `work` beside what they hold."""
        self._look(work)
        margin_s = WALLTIME_MARGIN * self.horizon_s
        longest_s = WALLTIME_MARGIN * self._line.lengths[0]
        short = [
            lane
            for lane in self.lanes
            if lane.left_s < margin_s + longest_s / self.speeds[lane.number]
        ]
        if short and margin_s < math.inf:
            # They do some of the work, but what they cannot finish has to wait for others.
            for lane in short:
                usable_s = lane.known * min(lane.left_s, self.horizon_s) - lane.busy_s
                work -= max(0.0, usable_s) * self.speeds[lane.number]
            self.ending = frozenset(lane.number for lane in short)
            self._look(max(0.0, work))

    def _look(self, work: float) -> None:
        self.horizon_s = math.inf
        self._count_within(math.inf)
        last_s = max((lane.last_s for lane in self.lanes), default=0.0)
        while self.capacity:
            horizon_s = (work + self.load) / self.capacity
            # No nearer any more, but for rounding.
            if horizon_s >= self.horizon_s * (1 - 1e-9):
                break
            self.horizon_s = horizon_s
            if last_s <= horizon_s:
                break
            # Slots busy beyond the horizon take no part, and without them it is nearer.
            self._count_within(horizon_s)

    def _count_within(self, seconds: float) -> None:
        found, capacity, load = 0, 0.0, 0.0
        for lane in self.lanes:
            if lane.number in self.ending:
                continue
            speed = self.speeds[lane.number]
            slots, busy_s = lane.known, lane.busy_s
            if lane.last_s > seconds:
                slots, busy_s = lane.within(seconds)
            found += slots
            capacity += speed * slots
            load += speed * busy_s
        self.slots, self.capacity, self.load = found, capacity, load

    @property
    def line(self) -> Line:
        """The tasks that are left."""
        if self._taken is not None:  # put off until asked: mostly nobody asks again
            if not self._is_mine:
                self._line, self._is_mine = self._line.copy(), True
            self._line.take(self._taken)
            self._taken = None
        return self._line

    @property
    def work(self) -> float:
        """Slot-seconds at speed 1."""
        widths = (lane.pilot.width(self.head) for lane in self.lanes)
        return self._line.length_s * (1 if self.head.cores == 1 else min(widths))

    def take(self, at: int) -> TaskView:
        task = self.line.tasks[at]
        self._taken = at
        self.count -= 1
        return task


def _speed(task: TaskView, pilot: PilotView) -> float:
    if not task.costs or pilot.name not in task.costs or task.length_s <= 0:
        return pilot.rate
    return task.length_s / max(task.costs[pilot.name], 1e-9)


def _fronts(queue: ReadyQueue, lanes: Sequence[_Lane]) -> list[_Front]:
    fronts = [_Front(line, lanes) for line in queue.lines(by_length).values()]
    fronts = [front for front in fronts if front.lanes]
    reach = [frozenset(lane.number for lane in front.lanes) for front in fronts]
    for front, mine in zip(fronts, reach, strict=True):
        # What can run nowhere else is in the way too.
        front.look(
            sum(
                other.work * _exchange(front, other)
                for other, theirs in zip(fronts, reach, strict=True)
                if theirs <= mine
            )
        )
    return fronts


def _exchange(front: _Front, other: _Front) -> float:
    """Return how much work of `front` takes the place of one second of `other`'s."""
    if front is other or not (front.head.costs or other.head.costs):
        return 1.0
    mine = sum(front.speeds[lane.number] * lane.known for lane in other.lanes)
    theirs = sum(other.speeds[lane.number] * lane.known for lane in other.lanes)
    return mine / theirs if theirs else 0.0


def _keep_clear(
    fronts: Iterable[_Front], lanes: Sequence[_Lane], queue: ReadyQueue, now: float
) -> None:
    """Keep a pilot for tasks that narrow ones would slip past for ever."""
    for front in fronts:
        task = front.head
        if task.cores == 1 and task.gpus == 0:
            continue
        if any(lane.pilot.has_room(task) for lane in front.lanes):
            continue
        oldest = queue.lines(by_submission)[task.needs].tasks[0]
        options = [lane for lane in front.lanes if lane.is_open and lane.kept_for is None]
        options = [lane for lane in options if lane.pilot.is_worth_clearing(oldest, now)]
        if options and now - oldest.ready_s > PATIENCE_S:
            max(options, key=lambda lane: lane.pilot.free).kept_for = front


# -- one slot's choice ---------------------------------------------------------------------


def _choice(lane: _Lane, fronts: Sequence[_Front]) -> tuple[_Front, int] | None:
    """Return what `lane` takes next, as a front and the position in its line."""
    best: tuple[tuple[int, int, int, float], _Front, int] | None = None
    for front in fronts:
        if not front.speeds[lane.number] or lane.kept_for not in (None, front):
            continue
        if not lane.pilot.has_room(front.head):
            continue
        at = _position(lane, front)
        if at is None:
            continue
        if len(fronts) == 1:
            return front, at
        # First what this slot is good at, compared with the others it may go to; then what
        # is urgent, what can go nowhere else, what is long.
        speed = front.speeds[lane.number]
        cost_s = front.line.lengths[at] / speed
        # Bounded, since its logarithm is taken.
        urgent_s = min(max(front.horizon_s, cost_s, 1e-9), 1e9)
        fit = round(5 * math.log(speed / max(front.speeds)))
        rank = (fit, round(20 * math.log(urgent_s)), -len(front.lanes), cost_s)
        if best is None or rank > best[0]:
            best = rank, front, at
    return None if best is None else best[1:]


def _position(lane: _Lane, front: _Front) -> int | None:
    """Return the position of the task that `lane` takes from `front`, None for none."""
    keys, speed = front.line.keys, front.speeds[lane.number]
    start_s = lane.start_s(front.head, lane.pilot.width(front.head))
    lasting_s = (lane.left_s - start_s) / WALLTIME_MARGIN
    if lasting_s < 0:
        return None
    lasting = bisect_left(keys, (-lasting_s * speed,)) if lasting_s < math.inf else 0
    fitting = bisect_left(keys, (-max(0.0, front.horizon_s - start_s) * speed,))
    if lasting < fitting:
        landing = _landing(lane, front, start_s, lasting, fitting)
        if landing is not None and _lasts(lane, front.line.tasks[landing], start_s):
            return landing
    at = max(lasting, fitting)
    while at < len(keys) and not _lasts(lane, front.line.tasks[at], start_s):
        at += 1
    return at if at < len(keys) else None


def _lasts(lane: _Lane, task: TaskView, start_s: float) -> bool:
    """Return whether `lane` outlives `task`, where its own costs differ from its line's."""
    if not task.costs or lane.left_s == math.inf:
        return True
    return start_s + WALLTIME_MARGIN * (lane.pilot.cost_s(task) or 0.0) <= lane.left_s


def _landing(lane: _Lane, front: _Front, start_s: float, first: int, count: int) -> int | None:
    """Return which of the tasks too long for the horizon ends earliest on `lane`, if any.

    They are the first `count` of their line, and `lane` lives long enough for those from
    `first` on.

    Whatever else the other slots hold, the earliest end of a task of length c on them is
    at most the mean of its ends there, weighted by speed: (load + slots·c) / capacity,
    where load counts the tasks before it. If `lane` is slower than their mean, and later
    than that bound for the last and shortest task, it is later for all of them.
    """
    speed = front.speeds[lane.number]
    own_slots, own_s = (0, 0.0) if lane.number in front.ending else lane.within(front.horizon_s)
    slots, capacity = front.slots - own_slots, front.capacity - speed * own_slots
    shortest_s = front.line.lengths[count - 1]
    end_s = start_s + shortest_s / speed
    if capacity > 0 and speed * slots <= capacity:
        load = front.load - speed * own_s + front.line.length_of(count)
        if end_s > (load + slots * shortest_s) / capacity:
            return None
        if count > max(slots, _FEW):
            # Too many to be listed; then the slots' ends differ little from their mean.
            fastest = max(front.speeds)
            return count - 1 if end_s <= load / capacity + shortest_s / fastest else None
    return _listed(lane, front, first, count)


@dataclass(slots=True)
class _Track:
    """Slots of equal speed while tasks are put on them in thought."""

    times: list[float]
    speed: float
    width: int
    left_s: float


def _listed(lane: _Lane, front: _Front, first: int, count: int) -> int | None:
    """Return the first of `count` tasks, longest first, that is put on `lane`."""
    tracks = _tracks(lane, front)
    mine = tracks[0]  # before the others, so that a tie is ours
    for at, length_s in enumerate(front.line.lengths[:count]):
        best_s, best = math.inf, None
        for track in tracks:
            start_s = track.times[track.width - 1]
            cost_s = length_s / track.speed
            if start_s + cost_s < best_s and start_s + WALLTIME_MARGIN * cost_s <= track.left_s:
                best_s, best = start_s + cost_s, track
        if best is mine and at >= first:
            return at
        if best is not None:
            del best.times[: best.width]
            for _ in range(best.width):
                insort(best.times, best_s)
    return None


def _tracks(lane: _Lane, front: _Front) -> list[_Track]:
    task = front.head
    tracks = []
    alike: dict[tuple[float, int], _Track] = {}
    for other in (lane, *(other for other in front.lanes if other is not lane)):
        speed, width = front.speeds[other.number], other.pilot.width(task)
        times = other.usable(task)
        if other is lane and len(times) < width:
            times = [0.0] * width
        if len(times) < width:
            continue  # nobody knows when
        lasting = other.number not in front.ending
        known = alike.get((speed, width))
        if known is not None and lasting:
            known.times += times
            continue
        track = _Track(list(times), speed, width, math.inf if lasting else other.left_s)
        tracks.append(track)
        if other is not lane and lasting and width == 1:
            alike[speed, width] = track
    for track in alike.values():
        track.times.sort()
    return tracks
