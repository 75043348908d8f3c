"""Usage of pilots: core-seconds that they held, and those in which tasks ran on them.

Read from events alone, one after the other, so that a manager counts while it writes them, and
whoever finds the file gets the same. Refuses to know what a core-second costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_BEGINS, _ENDS = ("starting", "active"), ("done", "failed", "canceled")


@dataclass
class _Held:
    """What one pilot has held, with those before it of its name."""

    began: float | None = None
    cores: float = 1.0
    core_s: float = 0.0

    def until(self, now: float) -> float:
        """Return core-seconds until then."""
        running_s = 0.0 if self.began is None else max(0.0, now - self.began)
        return self.core_s + running_s * self.cores


@dataclass
class CoreUsage:
    """Core-seconds, by pilot.

    Attributes
    ----------
    used
        In which tasks ran that ended, with a result or by themselves.
    by_others
        The same of tasks of other programs that used the pilots.

    Examples
    --------
    >>> usage = CoreUsage()
    >>> pilot = {"event": "pilot", "pilot": "p", "cores": 4}
    >>> usage.take({**pilot, "time": 0.0, "state": "active"})
    >>> task = {"event": "task", "id": 1, "pilot": "p", "cores": 2}
    >>> usage.take({**task, "time": 9.0, "state": "done", "started": 1.0, "finished": 9.0})
    >>> usage.take({**pilot, "time": 10.0, "state": "done"})
    >>> usage.in_words(10.0)
    'pilots held 40 core-seconds, tasks ran in 16 of them (40 %)'
    """

    used: dict[str, float] = field(default_factory=dict)
    by_others: dict[str, float] = field(default_factory=dict)
    _held: dict[str, _Held] = field(default_factory=dict)
    _counted: dict[Any, float] = field(default_factory=dict)
    _last: float = 0.0

    def take(self, record: Mapping[str, Any]) -> None:
        """Take in a record of `events.jsonl`; what is none of pilots and tasks counts nothing."""
        kind, when = record.get("event"), _number(record.get("time"))
        if kind == "pilot" and when is not None:
            self._take_pilot(record, when)
        elif kind == "task":
            self._take_task(record)
        elif kind == "usage" and isinstance(used := record.get("used"), dict):
            # Of programs that have files of their own, all until now.
            self.by_others = {str(pilot): _number(core_s) or 0.0 for pilot, core_s in used.items()}
        self._last = max(self._last, when or 0.0)

    def _take_pilot(self, record: Mapping[str, Any], when: float) -> None:
        cores, state = _number(record.get("cores")), record.get("state")
        if cores is None:  # of an older version
            return
        held = self._held.setdefault(str(record.get("pilot")), _Held())
        held.cores = cores
        if state in _BEGINS and held.began is None:
            held.began = when
        elif state in _ENDS:
            held.core_s, held.began = held.until(when), None

    def _take_task(self, record: Mapping[str, Any]) -> None:
        if "started" not in record:  # it does not run yet: every other record
            return
        named = ("started", "finished", "cores")
        started, finished, cores = (_number(record.get(name)) for name in named)
        if started is None or finished is None or cores is None:
            return
        number = repr(record.get("id"))
        # A run that raised is told of twice where the task ends without another one.
        if self._counted.get(number) != started:
            self._use(str(record.get("pilot")), max(0.0, finished - started) * cores)
            self._counted[number] = started
        if record.get("state") in _ENDS:
            self._counted.pop(number, None)

    def _use(self, pilot: str, core_s: float) -> None:
        self.used[pilot] = self.used.get(pilot, 0.0) + core_s

    def allocated_core_s(self, now: float | None = None) -> float:
        """Return core-seconds that pilots held until now, by default until the last record."""
        now = self._last if now is None else now
        return sum(held.until(now) for held in self._held.values())

    @property
    def used_core_s(self) -> float:
        """Core-seconds in which tasks ran."""
        return sum(self.used.values()) + sum(self.by_others.values())

    def in_words(self, now: float | None = None) -> str:
        """Return both as a line, '' if no pilot held anything."""
        allocated = self.allocated_core_s(now)
        if not allocated:
            return ""
        unit, per = ("core-hours", 3600.0) if allocated >= 36_000 else ("core-seconds", 1.0)
        part = self.used_core_s / allocated
        return (
            f"pilots held {allocated / per:.4g} {unit}, tasks ran in "
            f"{self.used_core_s / per:.4g} of them ({part:.0%})".replace("%)", " %)")
        )


def _number(value: object) -> float | None:
    """Return a finite number; files may hold anything."""
    is_number = isinstance(value, (int, float)) and abs(value) < 1e18
    return float(value) if is_number and not isinstance(value, bool) else None  # type: ignore[arg-type]


def usage_of(records: Iterable[Mapping[str, Any]]) -> CoreUsage:
    """Return the usage in records of a run."""
    usage = CoreUsage()
    for record in records:
        usage.take(record)
    return usage
