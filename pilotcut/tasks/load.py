"""Load of elastic pilots: what waits for them and runs on them, out of the binder's accounts.

Pure functions of the ready queue and of accounts. Refuses to know what is made of the load, which
is `pilotcut.pilots.elastic`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from pilotcut.pilots.elastic import PilotLoad
from pilotcut.tasks.ready_queue import Line, ReadyQueue
from pilotcut.tasks.slot_accounting import SlotAccount
from pilotcut.tasks.snapshots import WALLTIME_MARGIN, PilotView, TaskView, by_length, when_free

#: What a task takes of which nobody guessed, as long as none like it has run.
UNKNOWN_S = 1.0
_REMEMBERED = 64
_NO_GROUPS: Mapping[str, int] = {}


class Unguessed:
    """Run times of tasks whose cost nobody guessed, to guess those of others."""

    def __init__(self) -> None:
        self._runs: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, run_s: float) -> None:
        """Take note of a run."""
        self._runs.append(run_s)

    def guess_s(self, running_s: Sequence[float] = ()) -> float:
        """Return what one takes, by those that have run, or as long as none has, do run."""
        if self._runs:
            return sum(self._runs) / len(self._runs)
        return max(UNKNOWN_S, sum(running_s) / len(running_s)) if running_s else UNKNOWN_S


@dataclass
class _Entry:
    """One elastic entry while its load is put together."""

    accounts: list[SlotAccount]
    ready_slots: float = 0.0
    longest_s: float = 0.0
    pinned: set[str] = field(default_factory=set)
    left: int | None = None

    def __post_init__(self) -> None:
        rule = self.accounts[0].pilot.description.elastic
        assert rule is not None
        self.wait_s = rule.wait_s
        self.most_slots = rule.most * self.accounts[0].idle.slots

    def suits(self, task: TaskView) -> bool:
        """Return whether any of the pilots could run such a task."""
        return any(account.idle.suits(task) for account in self.accounts)

    @property
    def is_full(self) -> bool:
        """Whether all pilots that there may be have enough to do."""
        return self.ready_slots >= self.most_slots

    def load(self, unknown_s: float, now: float) -> PilotLoad:
        """Return the load."""
        here = [a for a in self.accounts if a.held and not a.pilot.state.final]
        return PilotLoad(
            ready_slots=self.ready_slots,
            longest_s=self.longest_s,
            busy={a.pilot.name: a.idle.slots - a.view().free for a in here},
            held={a.pilot.name: held_slots(a, self.wait_s, unknown_s, now) for a in here},
            pinned=frozenset(self.pinned),
            left=self.left,
        )

    def count_left(self, groups: Mapping[str, int]) -> None:
        """Take note of how many tasks of its groups have not ended."""
        if own := self.accounts[0].pilot.description.groups:
            self.left = sum(groups.get(group, 0) for group in own)


def loads(
    ready: ReadyQueue,
    accounts: Iterable[SlotAccount],
    unguessed: Unguessed,
    now: float,
    groups: Mapping[str, int] = _NO_GROUPS,
) -> dict[str, PilotLoad]:
    """Return the load of each elastic entry, by its name.

    What pilots beside them can do within the same time is not theirs. Of several entries that
    suit a task, that which stands first has it, until all its pilots would be busy.

    Parameters
    ----------
    ready
        The ready tasks.
    accounts
        Those of all pilots.
    unguessed
        What is known of tasks whose cost nobody guessed.
    now
        On the clock of the accounts.
    groups
        How many tasks of each group have not ended.
    """
    accounts = tuple(accounts)
    by_entry: dict[str, list[SlotAccount]] = {}
    for account in accounts:
        if account.pilot.description.elastic is not None:
            by_entry.setdefault(account.pilot.description.kind, []).append(account)
    entries = {name: _Entry(group) for name, group in by_entry.items()}
    if not entries:
        return {}
    others = [a for a in accounts if a.active and a.pilot.description.elastic is None]
    for entry in entries.values():
        entry.count_left(groups)
    unknown_s = unguessed.guess_s([age for a in accounts for age in _unguessed_ages(a, now)])
    _share_out(ready, list(entries.values()), others, unknown_s, now)
    return {name: entry.load(unknown_s, now) for name, entry in entries.items()}


def _share_out(
    ready: ReadyQueue,
    entries: Sequence[_Entry],
    others: Sequence[SlotAccount],
    unknown_s: float,
    now: float,
) -> None:
    """Give each entry its part of what is ready."""
    wait_s = min(entry.wait_s for entry in entries)
    views = [account.idle for account in others]
    taken = [held_slots(account, wait_s, unknown_s, now) for account in others]
    left = {v.name: max(0.0, v.slots - t) for v, t in zip(views, taken, strict=True)}
    lines = ready.lines(by_length).values()
    suited = [([v for v in views if v.suits(line.tasks[0])], line) for line in lines]
    # What can run in few places first: it has no other.
    for beside, line in sorted(suited, key=lambda pair: len(pair[0])):
        task = line.tasks[0]
        able = [entry for entry in entries if entry.suits(task)]
        if not able:
            continue
        entry = next((one for one in able if not one.is_full), able[-1])
        slots, longest_s = _asked_for(line, entry, unknown_s)
        for view in beside:
            part = min(slots, left[view.name])
            left[view.name] -= part
            slots -= part
        if slots > 0:
            entry.ready_slots += slots
            entry.longest_s = max(entry.longest_s, longest_s)
            names = {account.pilot.name for account in entry.accounts}
            if task.pilots is not None and not names <= task.pilots:
                entry.pinned |= names & task.pilots


def _asked_for(line: Line, entry: _Entry, unknown_s: float) -> tuple[float, float]:
    """Return the slots that would do a line within `wait_s`, and seconds of its longest task."""
    view = entry.accounts[0].idle
    seconds = np.array(line.lengths) / view.rate
    seconds[seconds == 0.0] = unknown_s
    walltime_s = entry.accounts[0].walltime_s
    fits = seconds * WALLTIME_MARGIN <= walltime_s
    if not fits.any():
        return 0.0, 0.0
    kept = seconds[fits]
    slots = float(np.minimum(kept, entry.wait_s).sum()) / entry.wait_s
    return slots * _slots_of(line.tasks[0], view), WALLTIME_MARGIN * float(kept.max())


def _slots_of(task: TaskView, view: PilotView) -> float:
    """Return the part of a pilot's slots that a task takes so that no other like it has room."""
    together = view.slots // view.width(task)
    if task.gpus:
        together = min(together, view.gpus_free // task.gpus)
    return view.slots / max(1, together)


def held_slots(account: SlotAccount, wait_s: float, unknown_s: float, now: float) -> float:
    """Return how much of the next `wait_s` of a pilot's slots is taken, in slots.

    A task that runs longer than foretold is taken to need as long again as it has run.
    """
    view = account.idle
    running, waiting = [], []
    for reservation in account.held:
        cost_s = view.cost_s(reservation.record.view)
        cost_s = unknown_s if cost_s is None else cost_s
        if reservation.running_since is None:
            waiting.append(cost_s)
        else:
            age_s = now - reservation.running_since
            running += [cost_s - age_s if age_s < cost_s else age_s] * reservation.width
    return sum(min(1.0, left_s / wait_s) for left_s in when_free(running, waiting))


def _unguessed_ages(account: SlotAccount, now: float) -> Iterator[float]:
    """Yield for how long tasks run whose cost nobody guessed."""
    for reservation in account.held:
        is_guessed = account.idle.cost_s(reservation.record.view) is not None
        if reservation.running_since is not None and not is_guessed:
            yield now - reservation.running_since


def pilot_names(
    named: str | Iterable[str] | None, accounts: Mapping[str, SlotAccount]
) -> tuple[str, ...] | None:
    """Return names of pilots, with those of all its pilots for that of an elastic entry."""
    if named is None:
        return None
    found: list[str] = []
    is_one = isinstance(named, str) or not isinstance(named, Iterable)
    names: Iterable[str] = (cast(str, named),) if is_one else named
    for name in names:  # what is none is a fault by and by
        described = [account.pilot.description for account in accounts.values()]
        found += [d.name for d in described if d.elastic is not None and d.kind == name] or [name]
    return tuple(found)
