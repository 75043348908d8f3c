"""Which ready task goes to which pilot: pure functions on small frozen views.

A policy is any callable ``choose(ready, pilots, now) -> [(task id, pilot name), ...]``.
It sees the ready tasks in order of submission and what room each pilot has; it starts
nothing, reads no clock and remembers nothing: what it has to know of the past, such as
when tasks were last bound, stands in the views.

A policy that leaves tasks waiting on purpose may also have

- ``wake_s(ready, pilots, now)``, the time at which to ask it again if nothing happens
  before, None if there is no need;
- ``why(task, ready, pilots, now)``, in a few words what it holds `task` back for, None if
  nothing; `explain` quotes it.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pilotcut.errors import UserError
from pilotcut.options import did_you_mean
from pilotcut.tasks import list_scheduling
from pilotcut.tasks.snapshots import (
    WALLTIME_MARGIN,
    Line,
    Needs,
    Order,
    PilotView,
    ReadyQueue,
    TaskView,
    by_length,
    by_submission,
    in_words,
    when_free,
)

__all__ = [
    "PATIENCE_S",
    "POLICIES",
    "WALLTIME_MARGIN",
    "Batched",
    "Bindings",
    "CostAware",
    "PilotView",
    "Policy",
    "ReadyQueue",
    "Staggered",
    "TaskView",
    "as_policy",
    "cost_aware",
    "eager",
    "longest_first",
    "name_of",
    "wake_s",
    "when_free",
]

#: A task too wide for the room there is waits this long before its pilot is kept clear.
PATIENCE_S = list_scheduling.PATIENCE_S

Bindings = list[tuple[int, str]]
Policy = Callable[[Sequence[TaskView], Sequence[PilotView], float], Bindings]


def eager(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Bind in order of submission, each task to the suitable pilot with most free slots.

    Examples
    --------
    >>> eager([TaskView(1), TaskView(2), TaskView(3)], [PilotView("a", 1, 1), PilotView("b", 2, 2)], 0)
    [(1, 'b'), (2, 'a'), (3, 'b')]
    """  # noqa: E501
    return _bind_in_order(ready, by_submission, pilots, now)


def longest_first(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Bind the most expensive tasks first, so that no long one is left for the end.

    A task without ``cost_s`` counts as free of cost; ties keep their order.

    Examples
    --------
    >>> longest_first([TaskView(1, cost_s=1), TaskView(2, cost_s=9)], [PilotView("a", 1, 1)], 0)
    [(2, 'a')]
    """
    return _bind_in_order(ready, by_length, pilots, now)


@dataclass(frozen=True)
class Batched:
    """Bind eagerly, but not before `size` tasks are there or one has waited for `delay_s`.

    What was ready when tasks were last bound belongs to a batch already; so does what
    becomes ready while that batch is still being bound, slot by slot.

    Parameters
    ----------
    size
        Number of tasks in a batch.
    delay_s
        Most seconds that a task waits for company.

    Examples
    --------
    >>> Batched(size=2)([TaskView(1)], [PilotView("a", 4, 4)], 0.0)
    []
    >>> Batched(size=2)([TaskView(1), TaskView(2)], [PilotView("a", 4, 4)], 0.0)
    [(1, 'a'), (2, 'a')]
    """

    size: int = 64
    delay_s: float = 0.2

    def __post_init__(self) -> None:
        _check(self, size=1, delay_s=0)

    def __call__(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> Bindings:
        """Bind the tasks whose batch is complete, in order of submission."""
        held = {task.id for task in self._held(ready, pilots, now)}
        return _bind_in_order(ready, by_submission, pilots, now, lambda task: task.id not in held)

    def wake_s(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> float | None:
        """Return when the batch that gathers now has waited long enough."""
        held = self._held(ready, pilots, now)
        return min(task.ready_s for task in held) + self.delay_s if held else None

    def why(
        self, task: TaskView, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> str | None:
        """Say how full the task's batch is."""
        held = self._held(ready, pilots, now)
        if all(other.id != task.id for other in held):
            return None
        left_s = min(other.ready_s for other in held) + self.delay_s - now
        return (
            f"waits for a batch of {self.size}, {len(held)} there, "
            f"for {in_words(left_s)} more at most"
        )

    def _held(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> list[TaskView]:
        last_s = _last_bound(pilots)[0]
        # Newest first, and no further than this batch reaches.
        fresh = takewhile(lambda task: task.ready_s > last_s and not task.alone, reversed(ready))
        held: list[TaskView] = []
        for task in fresh:
            held.append(task)
            if len(held) >= self.size or now >= task.ready_s + self.delay_s:
                return []
        return held


@dataclass(frozen=True)
class Staggered:
    """Bind group by group, each group `spacing_s` after the last of the one before.

    Within a group tasks are bound eagerly. A group that finds no room now, because it may
    run on busy pilots only, holds up no other.

    Parameters
    ----------
    spacing_s
        Seconds from the last binding of one group to the first of the next.

    Examples
    --------
    >>> tasks = [TaskView(1, group="A"), TaskView(2, group="B"), TaskView(3, group="A")]
    >>> Staggered()(tasks, [PilotView("a", 4, 4)], 0.0)
    [(1, 'a'), (3, 'a')]
    """

    spacing_s: float = 0.1

    def __post_init__(self) -> None:
        _check(self, spacing_s=0)

    def __call__(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> Bindings:
        """Bind what has room of the group whose turn it is."""
        last_s, last_group = _last_bound(pilots)
        queue = ReadyQueue.of(ready)
        bound: Bindings = []
        room = _room(pilots)
        for group, lines in self._turns(queue, last_group):
            if group != last_group and now < last_s + self.spacing_s:
                break
            found = _fill(_Walk(queue, by_submission, lines), room, now)
            bound += found
            if found and self.spacing_s > 0:
                break
        return bound

    def wake_s(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> float | None:
        """Return when the next group may begin."""
        last_s, last_group = _last_bound(pilots)
        waits = any(task.group != last_group for task in ready)
        return last_s + self.spacing_s if waits and last_s + self.spacing_s > now else None

    def why(
        self, task: TaskView, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> str | None:
        """Say whose turn it is."""
        last_s, last_group = _last_bound(pilots)
        if task.group == last_group or last_s == -math.inf:
            return None
        left_s = last_s + self.spacing_s - now
        if left_s <= 0:
            return None
        name = "the tasks without a group" if last_group is None else f"group '{last_group}'"
        return (
            f"waits for its group's turn: the next begins {in_words(self.spacing_s)} after the "
            f"last of {name}, in {in_words(left_s)} at the earliest"
        )

    def _turns(
        self, queue: ReadyQueue, last_group: str | None
    ) -> list[tuple[str | None, list[Line]]]:
        """Return the groups in turn, that of the last binding first, each with its lines."""
        turns: dict[str | None, list[Line]] = {}
        lines = queue.lines(by_submission, grouped=True).values()
        for line in sorted(lines, key=lambda line: line.keys[0]):
            turns.setdefault(line.tasks[0].group, []).append(line)
        return sorted(turns.items(), key=lambda turn: turn[0] != last_group)


@dataclass(frozen=True)
class CostAware:
    """Bind the longest tasks first, each where it ends earliest.

    A slot takes the longest task that it can finish while all the others finish the
    rest. A task that would end earlier on a faster pilot, once that is free, waits for
    it, and a pilot whose walltime is nearly over takes only what it can still finish. A
    task of unknown cost comes last and waits for nothing. See `pilotcut.tasks.list_scheduling`.

    Examples
    --------
    >>> slow, fast = PilotView("slow", 1, 1), PilotView("fast", 1, 0, rate=8, free_at_s=(1,))
    >>> cost_aware([TaskView(1, cost_s=8.0)], [slow, fast], 0.0)
    []
    >>> cost_aware([TaskView(1, cost_s=1.0)], [slow, fast], 0.0)
    [(1, 'slow')]
    """

    def __call__(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> Bindings:
        """Bind what should not wait for a better slot."""
        return list_scheduling.place(ready, pilots, now)

    def why(
        self, task: TaskView, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> str | None:
        """Say on which busy pilot the task ends earlier than on the free ones."""
        ends: list[tuple[float, bool, PilotView]] = []
        for pilot in pilots:
            cost_s, room = pilot.cost_s(task), pilot.has_room(task)
            known = room or len(pilot.times(now)) >= pilot.width(task)
            if pilot.suits(task) and cost_s is not None and known and pilot.outlasts(task, now):
                ends.append((pilot.start_s(task, now) + cost_s, room, pilot))
        here = min((end for end in ends if end[1]), key=lambda end: end[0], default=None)
        there = min(ends, key=lambda end: end[0], default=None)
        if here is None or there is None or there[1]:
            return None
        return (
            f"ends earlier on pilot '{there[2].name}': in {in_words(there[0])} although that is "
            f"busy for {in_words(there[2].start_s(task, now))}, and in {in_words(here[0])} on "
            f"pilot '{here[2].name}', which is free"
        )


cost_aware = CostAware()

# -- binding in some order ---------------------------------------------------------------


def _bind_in_order(
    ready: Sequence[TaskView],
    order: Order,
    pilots: Sequence[PilotView],
    now: float,
    admits: Callable[[TaskView], bool] | None = None,
) -> Bindings:
    return _fill(_Walk(ready, order), _room(pilots), now, admits)


class _Walk:
    """Ready tasks in some order, without those whose needs turned out to be hopeless."""

    def __init__(
        self, ready: Sequence[TaskView], order: Order, lines: Sequence[Line] | None = None
    ) -> None:
        self._ready = ready
        self._order = order
        self._lines = lines
        self.hopeless: set[Needs] = set()

    def __iter__(self) -> Iterator[TaskView]:
        if self._lines is not None:
            return self._merged(self._lines)
        if isinstance(self._ready, ReadyQueue):
            return self._merged(self._ready.lines(self._order).values())
        sort = self._order is not by_submission
        return self._left(sorted(self._ready, key=self._order) if sort else self._ready)

    def oldest_s(self, needs: Needs) -> float:
        """Return when the first task of such needs became ready."""
        if isinstance(self._ready, ReadyQueue):
            return self._ready.lines(by_submission)[needs].tasks[0].ready_s
        return next(task.ready_s for task in self._ready if task.needs == needs)

    def _left(self, tasks: Iterable[TaskView]) -> Iterator[TaskView]:
        for task in tasks:
            if not self.hopeless or task.needs not in self.hopeless:
                yield task

    def _merged(self, lines: Iterable[Line]) -> Iterator[TaskView]:
        """Yield from sorted lines; a hopeless one is left at its head, however long it is."""
        ways = [(line.keys[0], 0, line) for line in lines]
        heapq.heapify(ways)  # keys are unique, lines never compared
        while ways:
            _, at, line = ways[0]
            if self.hopeless and line.tasks[at].needs in self.hopeless:
                heapq.heappop(ways)
                continue
            yield line.tasks[at]
            if at + 1 < len(line.keys):
                heapq.heapreplace(ways, (line.keys[at + 1], at + 1, line))
            else:
                heapq.heappop(ways)


def _room(pilots: Sequence[PilotView]) -> dict[str, PilotView]:
    return {pilot.name: pilot for pilot in pilots if pilot.free > 0 or pilot.prefetch > 0}


def _fill(
    tasks: _Walk,
    room: dict[str, PilotView],
    now: float,
    admits: Callable[[TaskView], bool] | None = None,
) -> Bindings:
    """Bind tasks in their order while there is room, and take that room."""
    bound: Bindings = []
    for task in tasks if room else ():
        if admits is not None and not admits(task):
            continue
        roomy = [pilot for pilot in room.values() if pilot.has_room(task)]
        options = [pilot for pilot in roomy if pilot.outlasts(task, now)]
        if options:
            best = max(options, key=lambda pilot: (pilot.free, pilot.prefetch))
            bound.append((task.id, best.name))
            _keep(room, best.holding(task))
        elif not roomy:
            needs = task.needs
            tasks.hopeless.add(needs)
            if now - tasks.oldest_s(needs) > PATIENCE_S:
                _clear_one(room, task, now)
        if not room:
            break
    return bound


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


def _last_bound(pilots: Sequence[PilotView]) -> tuple[float, str | None]:
    """Return when a task was last bound to any pilot, and that task's group."""
    bound = [(p.last_bound_s, p.last_group) for p in pilots if p.last_bound_s is not None]
    return max(bound, key=lambda entry: entry[0], default=(-math.inf, None))


# -- names and options --------------------------------------------------------------------


_KINDS = {int: "a whole number", float: "a number"}


def _check(policy: Any, **least: int) -> None:
    name = type(policy).__name__.lower()
    faults = []
    for option in dataclasses.fields(policy):
        value, kind = getattr(policy, option.name), type(option.default)
        good = isinstance(value, int) or (kind is float and isinstance(value, float))
        if not good or not least[option.name] <= value < math.inf:
            expected = f"{_KINDS[kind]} from {least[option.name]} up"
            faults.append(f"policy '{name}': {option.name} is {value!r}, expected {expected}")
    if faults:
        raise UserError(faults)


#: The policies that have names, parametrised ones with their defaults.
POLICIES: dict[str, Policy] = {
    "eager": eager,
    "longest_first": longest_first,
    "batched": Batched(),
    "staggered": Staggered(),
    "cost_aware": cost_aware,
}


def as_policy(policy: str | Policy) -> Policy:
    """Return the policy of a name such as ``"batched:size=64,delay_s=0.2"``; callables as is.

    Hyphens and underscores are the same in names.

    Raises
    ------
    UserError
        With one line for each fault of the text.

    Examples
    --------
    >>> as_policy("longest-first") is longest_first
    True
    >>> as_policy("batched:size=8")
    Batched(size=8, delay_s=0.2)
    """
    if callable(policy):
        return policy
    name, colon, text = str(policy).partition(":")
    name = name.strip().replace("-", "_")
    if name not in POLICIES:
        known = ", ".join(f"'{known}'" for known in POLICIES)
        hint = did_you_mean(name, POLICIES)
        raise UserError(f"policy is {policy!r}, expected one of {known} or a callable{hint}")
    found: Any = POLICIES[name]
    if not colon:
        return found
    options = dataclasses.fields(found) if dataclasses.is_dataclass(found) else ()
    kinds: dict[str, type] = {option.name: type(option.default) for option in options}
    values, faults = _options(text, kinds)
    if faults:
        raise UserError([f"policy '{name}': {fault}" for fault in faults])
    return dataclasses.replace(found, **values) if values else found


def name_of(policy: Policy) -> str:
    """Return what `as_policy` makes `policy` of, or the name of a callable of the user's.

    Examples
    --------
    >>> name_of(Batched(size=8))
    'batched:size=8,delay_s=0.2'
    """
    for name, known in POLICIES.items():
        if policy is known:
            return name
        if isinstance(known, Batched | Staggered) and type(policy) is type(known):
            values = dataclasses.asdict(policy).items()
            return name + ":" + ",".join(f"{option}={value!r}" for option, value in values)
    named = getattr(policy, "func", policy)  # functools.partial
    return getattr(named, "__qualname__", None) or type(named).__qualname__


def wake_s(
    policy: Policy, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
) -> float | None:
    """Return when to ask `policy` again if nothing happens before; None if there is no need."""
    ask = getattr(policy, "wake_s", None)
    return None if ask is None else ask(ready, pilots, now)


def _options(text: str, kinds: dict[str, type]) -> tuple[dict[str, Any], list[str]]:
    """Return the values in ``a=1,b=2``, and what is wrong with them."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    known = " and ".join(kinds) or "none"
    for option in text.split(","):
        name, equals, value = (part.strip() for part in option.partition("="))
        if not equals:
            faults.append(f"option is '{option}', expected NAME=VALUE, where names are {known}")
        elif name not in kinds:
            hint = did_you_mean(name, kinds)
            faults.append(f"option is '{name}', expected {known}{hint}")
        else:
            try:
                values[name] = kinds[name](value)
            except ValueError:
                faults.append(f"{name} is '{value}', expected {_KINDS[kinds[name]]}")
    return values, faults
