"""Dispatch policies: pure functions on small frozen snapshots.

To add one, write a function or a frozen dataclass as `pilotcut.tasks.policy_base` describes it,
and put it into `POLICIES` for its name in `TaskManager(policy=...)`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pilotcut.errors import UserError
from pilotcut.options import did_you_mean
from pilotcut.tasks import list_scheduling
from pilotcut.tasks.greedy_binding import bind_in_order, fill, room_of
from pilotcut.tasks.policy_base import Bindings, Policy, check_options, in_words, parse_options
from pilotcut.tasks.ready_queue import Line, ReadyQueue
from pilotcut.tasks.snapshots import PilotView, TaskView, by_length, by_submission


def eager(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Bind in order of submission, each task to the suitable pilot with most free slots.

    Examples
    --------
    >>> eager([TaskView(1), TaskView(2), TaskView(3)], [PilotView("a", 1, 1), PilotView("b", 2, 2)], 0)
    [(1, 'b'), (2, 'a'), (3, 'b')]
    """  # noqa: E501
    return bind_in_order(ready, by_submission, pilots, now)


def longest_first(ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float) -> Bindings:
    """Bind the most expensive tasks first, so that no long one is left for the end.

    A task without ``cost_s`` counts as free of cost; ties keep their order.

    Examples
    --------
    >>> longest_first([TaskView(1, cost_s=1), TaskView(2, cost_s=9)], [PilotView("a", 1, 1)], 0)
    [(2, 'a')]
    """
    return bind_in_order(ready, by_length, pilots, now)


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
        check_options(self, size=1, delay_s=0)

    def __call__(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> Bindings:
        """Bind the tasks whose batch is complete, in order of submission."""
        held = {task.id for task in self._held(ready, pilots, now)}
        return bind_in_order(ready, by_submission, pilots, now, lambda task: task.id not in held)

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
        # A task that was run again has waited its turn once, and waits for no company.
        # Newest first, and no further than this batch reaches.
        fresh = takewhile(lambda task: task.ready_s > last_s and not task.isolated, reversed(ready))
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
        check_options(self, spacing_s=0)

    def __call__(
        self, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
    ) -> Bindings:
        """Bind what has room of the group whose turn it is."""
        last_s, last_group = _last_bound(pilots)
        queue = ReadyQueue.of(ready)
        bound: Bindings = []
        room = room_of(pilots)
        for group, lines in self._turns(queue, last_group):
            if group != last_group and now < last_s + self.spacing_s:
                break
            found = fill(queue, lines, room, now)
            bound += found
            # A group that found no room holds up no other.
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
    task of unknown cost comes last and waits for nothing. See ``pilotcut.tasks.list_scheduling``.

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


def _last_bound(pilots: Sequence[PilotView]) -> tuple[float, str | None]:
    """Return when a task was last bound to any pilot, and that task's group."""
    bound = [(p.last_bound_s, p.last_group) for p in pilots if p.last_bound_s is not None]
    return max(bound, key=lambda entry: entry[0], default=(-math.inf, None))


# -- names of policies --------------------------------------------------------------------

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
    values, faults = parse_options(text, kinds)
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
