"""Events of tasks as a history: runs on workers, losses, failures and duplicates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from pilotcut.report.numbers import known_number, number
from pilotcut.report.run_record import RunEvent, TaskHistory, TaskRuns
from pilotcut.report.task_graph import GraphReader
from pilotcut.tasks.branches import in_words

#: How the reason begins of an event that tells of a second run.
_DUPLICATE = "straggles"
#: Texts of events that are kept; of more only the number.
_MOST_KEPT = 200
#: Lines about branches that were cut off.
_MOST_CUTS = 5


class TaskEventReader:
    """History of tasks, from their events one by one."""

    def __init__(self) -> None:
        self._bound: dict[str, float] = {}
        self._raised: dict[str, float] = {}
        self._times: list[tuple[float, float, float]] = []
        self._names: list[tuple[str, str, str]] = []
        self._cores: list[float] = []
        self._failed: list[bool] = []
        self._ends: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._troubles: list[RunEvent] = []
        self._seen = False
        self._graph = GraphReader()
        self._cuts: list[str] = []

    def add(self, event: Mapping[str, Any], when: float) -> None:
        """Take in an event of a task, whatever else it holds."""
        self._seen = True
        self._graph.add(event)
        self._count_cut(event)
        state = event.get("state")
        key = repr(event.get("id"))
        reason = str(event.get("reason") or "")
        started = number(event.get("started"))
        is_end = state in ("done", "failed", "canceled")
        if is_end:
            self._ends[str(state)] += 1
        if not math.isnan(started):
            finished = number(event.get("finished"))
            self._ran(event, key, is_end, started, when if math.isnan(finished) else finished)
        if state == "failed" and event.get("cut_by"):
            self._counts["cut off"] += 1
        elif state == "failed":
            self._trouble("failed", event, when, reason)
        elif state == "bound" and not math.isnan(started):
            self._trouble("raised", event, when, reason)
        elif state == "bound" and reason:
            kind = "duplicate" if reason.startswith(_DUPLICATE) else "lost"
            self._trouble(kind, event, when, reason)
        elif state == "bound":
            self._bound[key] = when
        if is_end:
            self._bound.pop(key, None)

    def _count_cut(self, event: Mapping[str, Any]) -> None:
        cut = event.get("cut_off")
        if event.get("state") == "failed" and isinstance(cut, dict) and not event.get("cut_by"):
            numbers = {str(group): int(known_number(cut, group) or 0) for group in cut}
            self._cuts.append(in_words(str(event.get("task", "?")), numbers))

    def _ran(
        self, event: Mapping[str, Any], key: str, is_end: bool, started: float, finished: float
    ) -> None:
        pilot = str(event.get("pilot") or "?")
        if self._raised.get(key) == started:
            return  # it is kept already; it never ran again
        if not is_end:
            self._raised[key] = started
        # Where a run's own end is missing, the event's time stands for it, maybe by the clock of
        # another machine: no run ends before it starts.
        self._times.append((self._bound.get(key, math.nan), started, max(finished, started)))
        self._names.append((str(event.get("task", "?")), pilot, str(event.get("worker") or pilot)))
        self._cores.append(known_number(event, "cores") or 1.0)
        self._failed.append(event.get("state") != "done")

    def _trouble(self, kind: str, event: Mapping[str, Any], when: float, reason: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= _MOST_KEPT:
            name, pilot = str(event.get("task", "?")), str(event.get("pilot") or "?")
            self._troubles.append(RunEvent(when, kind, name, pilot, reason))

    def result(self) -> TaskHistory | None:
        """Return the history, None if there was no event."""
        if not self._seen:
            return None
        bound, started, finished = np.array(self._times, dtype=float).reshape(-1, 3).T
        names, pilots, workers = zip(*self._names, strict=True) if self._names else ((), (), ())
        cores, failed = np.array(self._cores, dtype=float), np.array(self._failed, dtype=bool)
        runs = TaskRuns(bound, started, finished, names, pilots, workers, cores, failed)
        cuts = tuple(self._cuts[:_MOST_CUTS])
        if len(self._cuts) > _MOST_CUTS:
            cuts = (*cuts, f"{len(self._cuts) - _MOST_CUTS:,} more tasks failed and cut off others")
        return TaskHistory(
            runs,
            dict(self._ends),
            tuple(self._troubles),
            dict(self._counts),
            self._graph.result(),
            cuts,
        )
