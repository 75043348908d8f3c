"""Follower of a run directory: its `Status`, again and again.

A follower reads only what was written since it looked last, so that looking every second is cheap
also where the files are long.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pilotcut.errors import UserError
from pilotcut.io.jsonl import STAGES, records_of
from pilotcut.io.yaml_reader import load_yaml
from pilotcut.pilots import registry
from pilotcut.pilots.usage import CoreUsage
from pilotcut.report.measures import group_of
from pilotcut.report.numbers import known_number
from pilotcut.report.status import SHOWN, Status
from pilotcut.tasks.waiting_file import FILE_NAME as WAITING

#: The time over which tasks a second are counted.
RATE_S = 30.0

_ENDS = ("done", "failed", "canceled")


def status_of(run_dir: Path) -> Status:
    """Return the status of a run.

    Raises
    ------
    UserError
        If there is nothing of ours in the directory.
    """
    return Follower(run_dir).look()


def follow(run_dir: Path, period_s: float) -> None:
    """Show a run on the terminal until it is over."""
    from rich.live import Live

    follower = Follower(run_dir)
    status = follower.look()
    with Live(status.render(), auto_refresh=False) as live:
        while not status.is_over:
            time.sleep(period_s)
            status = follower.look()
            live.update(status.render(), refresh=True)


class Tail:
    """Reader of a file that is being written: each record once.

    Parameters
    ----------
    path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._file = 0

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """Return the records since the last call, and whether they are those of another file.

        A last line that is still being written is left for the next call.
        """
        try:
            with self._path.open("rb") as lines:
                is_other = self._is_other(lines.fileno())
                lines.seek(self._offset)
                data = lines.read()
        except OSError:
            return False, []
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        return is_other, [record for record in records_of(data[:whole]) if record]

    def _is_other(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        # Files of ours are replaced by renaming another one, which has a number of its own.
        is_other = found.st_ino != self._file or found.st_size < self._offset
        if is_other:
            self._file, self._offset = found.st_ino, 0
        return is_other


class Follower:
    """Follower of a run directory.

    Parameters
    ----------
    run_dir
        The directory.

    Raises
    ------
    UserError
        If there is nothing of ours in it.
    """

    def __init__(self, run_dir: Path) -> None:
        names = (registry.FILE_NAME, "events.jsonl", "metrics.jsonl", "trace.jsonl", "config.yaml")
        if not any((run_dir / name).exists() for name in names):
            raise UserError(
                f"{run_dir} has none of {', '.join(names)}, expected the run directory of a "
                f"training or of pilots; look under runs/"
            )
        self._path = run_dir
        self._events = Tail(run_dir / "events.jsonl")
        self._metrics = Tail(run_dir / "metrics.jsonl")
        self._trace = Tail(run_dir / "trace.jsonl")
        self._tasks, self._usage = _TaskCounts(), CoreUsage()
        self._latest: deque[dict[str, Any]] = deque(maxlen=SHOWN)
        self._epochs: dict[int, dict[str, Any]] = {}
        self._stages = dict.fromkeys(STAGES, 0.0)

    def look(self) -> Status:
        """Return what the files say now."""
        self._follow_events()
        self._follow_metrics()
        self._follow_trace()
        epochs_asked = _epochs_asked(self._path)
        return Status(
            name=self._path.resolve().name,
            pilots=_pilots_of(self._path),
            waiting=waiting_of(self._path),
            tasks=self._tasks.counts,
            groups=self._tasks.groups,
            rate=self._tasks.rate,
            latest=tuple(self._latest),
            epochs=tuple(self._epochs[epoch] for epoch in sorted(self._epochs)),
            epochs_asked=epochs_asked,
            stages=dict(self._stages),
            is_trained=self._is_trained(epochs_asked),
            usage=self._usage.in_words(),
        )

    def _is_trained(self, epochs_asked: int | None) -> bool:
        if not (self._path / "weights.pt").exists():
            return False
        if epochs_asked is not None and max(self._epochs, default=0) >= epochs_asked:
            return True  # also of a copy, whose files have other times
        # Settings are written again when a run is resumed, metrics with every epoch.
        ended = _changed(self._path / "weights.pt")
        return all(
            _changed(self._path / name) <= ended for name in ("config.yaml", "metrics.jsonl")
        )

    def _follow_events(self) -> None:
        is_other, events = self._events.read()
        if is_other:
            self._tasks, self._usage = _TaskCounts(), CoreUsage()
            self._latest.clear()
        for event in events:
            self._usage.take(event)
            if event.get("event") == "task":
                self._tasks.add(event)
        self._latest.extend([e for e in events if _is_shown(e)][-SHOWN:])

    def _follow_metrics(self) -> None:
        is_other, records = self._metrics.read()
        if is_other:  # a resumed run forgets epochs that it trains again
            self._epochs.clear()
        for record in records:
            if (epoch := known_number(record, "epoch")) is not None:
                self._epochs[int(epoch)] = record | {"epoch": int(epoch)}

    def _follow_trace(self) -> None:
        is_other, records = self._trace.read()
        if is_other:
            self._stages = dict.fromkeys(STAGES, 0.0)
        for record in records:
            found = record.get("stage_seconds")
            seconds = found if isinstance(found, dict) else {}
            for stage in STAGES:
                self._stages[stage] += known_number(seconds, stage) or 0.0
            self._stages["partition"] += known_number(record, "partition_s") or 0.0


class _TaskCounts:
    """Tasks by their latest state; those that ended are only counted."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], str] = {}
        self._ended: Counter[str] = Counter()
        self._done: deque[float] = deque()
        self._known: Counter[str] = Counter()
        self._over: Counter[str] = Counter()
        self._is_graph = False

    def add(self, event: Mapping[str, Any]) -> None:
        key, state = (repr(event.get("id")), str(event.get("task"))), str(event.get("state"))
        group = str(event.get("group") or group_of(str(event.get("task"))))
        self._is_graph = self._is_graph or "after" in event
        if state not in _ENDS:
            self._known[group] += key not in self._open
            self._open[key] = state
            return
        self._known[group] += self._open.pop(key, None) is None
        self._over[group] += 1
        self._ended[state] += 1
        if state == "done" and (when := known_number(event, "time")) is not None:
            self._done.append(when)
            while self._done[0] < when - RATE_S:
                self._done.popleft()

    @property
    def counts(self) -> Counter[str]:
        return Counter(self._open.values()) + self._ended

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        if not self._is_graph:
            return {}
        return {group: (self._over[group], known) for group, known in self._known.items()}

    @property
    def rate(self) -> float | None:
        if len(self._done) < 2:
            return None
        span = self._done[-1] - self._done[0]
        return (len(self._done) - 1) / span if span > 0 else None


def waiting_of(run_dir: Path) -> list[dict[str, str]]:
    """Return the tasks that wait, each with the reason, as the task manager last wrote them."""
    try:
        found = json.loads((run_dir / WAITING).read_text(encoding="utf-8"))
        return [{key: str(one[key]) for key in ("task", "reason")} for one in found]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _is_shown(event: Mapping[str, Any]) -> bool:
    """Return whether something has happened: that a task was submitted fills no line."""
    return event.get("event") != "usage" and event.get("state") not in ("waiting", "ready")


def _pilots_of(run_dir: Path) -> list[registry.RegistryEntry]:
    try:
        return registry.read(run_dir / registry.FILE_NAME)
    except (OSError, ValueError, TypeError, KeyError):  # of another version, or torn
        return []


def _changed(path: Path) -> int:
    """Return when a file was last written, 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _epochs_asked(run_dir: Path) -> int | None:
    try:
        found = load_yaml((run_dir / "config.yaml").read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return None
    asked = known_number(found, "epochs") if isinstance(found, dict) else None
    return None if asked is None else int(asked)
