"""What a run directory says of a run, for people: pilots, tasks, training, the latest events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pilotcut.errors import UserError
from pilotcut.pilots import roster
from pilotcut.tasks.waiting import FILE_NAME as WAITING
from pilotcut.trace import read_jsonl

#: How many of the latest events are shown.
SHOWN = 8


@dataclass(frozen=True)
class Status:
    """What the files of a run directory hold."""

    pilots: Sequence[roster.Entry]
    events: Sequence[dict[str, Any]]
    metrics: Sequence[dict[str, Any]]
    waiting: Sequence[dict[str, str]]

    @classmethod
    def of(cls, run_dir: Path) -> Status:
        """Read a run directory.

        Raises
        ------
        UserError
            If there is nothing of ours in it.
        """
        names = (roster.FILE_NAME, "events.jsonl", "metrics.jsonl")
        if not any((run_dir / name).exists() for name in names):
            raise UserError(
                f"{run_dir} has none of {', '.join(names)}, expected the run directory of a "
                f"training or of pilots; look under runs/"
            )
        return cls(
            roster.read(run_dir / roster.FILE_NAME),
            _records(run_dir / "events.jsonl"),
            _records(run_dir / "metrics.jsonl"),
            waiting_of(run_dir),
        )

    @property
    def tasks(self) -> Counter[str]:
        """Number of tasks by their latest state."""
        latest = {(e["id"], e["task"]): e["state"] for e in self.events if e["event"] == "task"}
        return Counter(latest.values())

    def render(self) -> RenderableType:
        """Return it as a view for a terminal."""
        parts: list[RenderableType] = [pilots_table(self.pilots)] if self.pilots else []
        if tasks := self.tasks:
            counts = ", ".join(f"{count} {state}" for state, count in sorted(tasks.items()))
            parts.append(Text(f"tasks: {counts}"))
        parts += [Text(f"  {one['task']}: {one['reason']}") for one in self.waiting[:SHOWN]]
        if self.metrics:
            last = self.metrics[-1]
            parts.append(
                Text(
                    f"training: epoch {last['epoch']}, loss {last['loss']:.3f}, "
                    f"test accuracy {last['accuracy']:.1%}"
                )
            )
        if self.events:
            parts.append(Text("latest events:"))
            parts += [Text(f"  {_line(event)}") for event in self.events[-SHOWN:]]
        return Group(*parts)


def waiting_of(run_dir: Path) -> list[dict[str, str]]:
    """Return the tasks that wait, each with the reason, as the task manager last wrote them."""
    try:
        found: list[dict[str, str]] = json.loads((run_dir / WAITING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found


def pilots_table(entries: Sequence[roster.Entry]) -> Table:
    """Return the pilots of a roster as a table."""
    table = Table()
    for name in ("pilot", "resource", "state", "since", "slots", "reason"):
        table.add_column(name)
    for entry in entries:
        since = entry.since.get(entry.state.value)
        d = entry.description
        when = _clock(since) if since else "-"
        cells = (d.name, d.resource, entry.state.value, when, str(d.slots), entry.reason)
        table.add_row(*map(escape, cells))
    return table


def _records(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path) if path.exists() else []


def _line(event: dict[str, Any]) -> str:
    what = f"pilot {event['pilot']}" if event["event"] != "task" else f"task {event['task']}"
    state = event.get("state", "note")
    where = f" on {event['pilot']}" if event["event"] == "task" and event.get("pilot") else ""
    reason = f": {event['reason']}" if event.get("reason") else ""
    return f"{_clock(event['time'])} {what} {state}{where}{reason}".splitlines()[0]


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%H:%M:%S}"
