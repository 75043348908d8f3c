"""What a run directory says of a run, for people: pilots, tasks, training, the latest events.

`Follower` reads only what was written since it looked last, so that looking every second is
cheap also where the files are long; `Status` is what it found, and how that looks.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pilotcut.errors import UserError
from pilotcut.io.jsonl import STAGES
from pilotcut.pilots import registry
from pilotcut.pilots.description.reading import load_yaml
from pilotcut.tasks.waiting_file import FILE_NAME as WAITING

#: How many of the latest events are shown.
SHOWN = 8
#: The time over which tasks a second are counted.
RATE_S = 30.0

_ENDS = ("done", "failed", "canceled")
_BAR, _SPARKS = 24, 24
_STAGE_STYLES = ("grey58", "yellow", "blue", "dark_orange")


# -- what there is to say --------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """What the files of a run directory hold.

    Parameters
    ----------
    pilots, waiting
        As the managers last wrote them.
    tasks
        Number of tasks by their latest state.
    rate
        Tasks a second that ended well, at the end of the events; None if none did.
    latest
        The latest events.
    epochs
        The records of all epochs.
    epochs_asked
        How many there will be, if the run is a training.
    stages
        Seconds by stage of all batches.
    is_trained
        Whether the weights are there, and not those of an earlier end: a run may be resumed.
    """

    name: str
    pilots: Sequence[registry.Entry] = ()
    waiting: Sequence[dict[str, str]] = ()
    tasks: Counter[str] = field(default_factory=Counter)
    rate: float | None = None
    latest: Sequence[dict[str, Any]] = ()
    epochs: Sequence[dict[str, Any]] = ()
    epochs_asked: int | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    is_trained: bool = False

    @classmethod
    def of(cls, run_dir: Path) -> Status:
        """Read a run directory.

        Raises
        ------
        UserError
            If there is nothing of ours in it.
        """
        return Follower(run_dir).look()

    @property
    def have_ended(self) -> bool:
        """Whether there are pilots, and all of them have ended."""
        return bool(self.pilots) and all(entry.state.final for entry in self.pilots)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen, as far as files can tell.

        A training is over with its weights, which may be before the last epoch that was asked for,
        or with its pilots; one without pilots that was killed looks as if it went on.
        """
        return self.have_ended or (self.is_trained and not self.pilots)

    @property
    def left_s(self) -> float | None:
        """Seconds to the last epoch if the next take as long as the latest five did."""
        if self.epochs_asked is None or not self.epochs or self.is_over or self.is_trained:
            return None
        took = [s for epoch in self.epochs[-5:] if (s := _number(epoch, "seconds")) is not None]
        left = self.epochs_asked - self.epochs[-1]["epoch"]
        return left * sum(took) / len(took) if took else None

    # -- for a terminal ----------------------------------------------------------------

    def render(self) -> RenderableType:
        """Return it as a view for a terminal."""
        parts: list[RenderableType] = [pilots_table(self.pilots)] if self.pilots else []
        if self.epochs_asked is not None:
            parts.append(self._bar())
        if self.epochs:
            parts.append(self._training())
        if total := sum(self.stages.values()):
            parts.append(self._stages(total))
        if self.tasks:
            counts = ", ".join(f"{count} {state}" for state, count in sorted(self.tasks.items()))
            rate = "" if self.rate is None else f" ({self.rate:.3g} a second)"
            parts.append(Text(f"tasks: {counts}{rate}"))
        if not self.have_ended:  # the file outlives its tasks
            parts += [Text(f"  {one['task']}: {one['reason']}") for one in self.waiting[:SHOWN]]
        if self.latest:
            parts.append(Text("latest events:"))
            parts += [Text(f"  {_line(event)}") for event in self.latest]
        return Group(*parts) if parts else Text(f"{self.name}: nothing has happened yet")

    def _bar(self) -> RenderableType:
        assert self.epochs_asked is not None
        done = self.epochs[-1]["epoch"] if self.epochs else 0
        full = round(_BAR * min(done / self.epochs_asked, 1.0)) if self.epochs_asked else 0
        left = self.left_s
        words = f" {done} of {self.epochs_asked} epochs"
        words += f", about {_duration(left)} left" if left else ""
        words += ", ended early" if self.is_trained and done < self.epochs_asked else ""
        bar = (("━" * full, "green"), ("╌" * (_BAR - full), "bright_black"))
        return Text.assemble(f"{self.name} ", *bar, words)

    def _training(self) -> RenderableType:
        last = self.epochs[-1]
        words = [f"training: epoch {last['epoch']}"]
        if (loss := _number(last, "loss")) is not None:
            words.append(f"loss {loss:.3f}{self._sparks('loss')}")
        if (accuracy := _number(last, "accuracy")) is not None:
            words.append(f"test accuracy {accuracy:.1%}{self._sparks('accuracy')}")
        return Text(", ".join(words))

    def _sparks(self, key: str) -> str:
        sparks = sparkline([_number(epoch, key) for epoch in self.epochs[-_SPARKS:]])
        return f" {sparks}" if len(self.epochs) > 1 else ""

    def _stages(self, total: float) -> RenderableType:
        bar, words = Text("stages: "), []
        for (stage, seconds), style in zip(self.stages.items(), _STAGE_STYLES, strict=True):
            share = seconds / total
            bar.append("━" * round(_BAR * share), style)
            if share >= 0.005:
                words.append(Text(f"{stage} {share:.0%}", style))
        return Text(" ").join([bar, Text(", ").join(words)])


def sparkline(values: Sequence[float | None]) -> str:
    """Return values as blocks, the least the lowest; unknown ones are dots.

    Examples
    --------
    >>> sparkline([0.0, 1.0, None, 7.0])
    '▁▂·█'
    """
    known = [value for value in values if value is not None]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    blocks = "▁▂▃▄▅▆▇█"
    return "".join(
        "·" if value is None else blocks[round((value - low) / span * 7) if span else 3]
        for value in values
    )


def pilots_table(entries: Sequence[registry.Entry]) -> Table:
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


def _line(event: Mapping[str, Any]) -> str:
    is_task = event.get("event") == "task"
    pilot = event.get("pilot")
    what = f"task {event.get('task')}" if is_task else f"pilot {pilot}"
    state = event.get("state", "note")
    where = f" on {pilot}" if is_task and pilot else ""
    reason = f": {event['reason']}" if event.get("reason") else ""
    when = _number(event, "time")
    clock = "--:--:--" if when is None else _clock(when)
    return f"{clock} {what} {state}{where}{reason}".splitlines()[0]


def _clock(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # no time that a clock could show
        return "--:--:--"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _number(record: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number of a record, None if it holds none of that name."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


# -- how it is found -------------------------------------------------------------------


class Tail:
    """The records of a file that is being written, each of them once.

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
        return is_other, [record for line in data[:whole].splitlines() if (record := _parsed(line))]

    def _is_other(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        is_other = found.st_ino != self._file or found.st_size < self._offset
        if is_other:
            self._file, self._offset = found.st_ino, 0
        return is_other


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # neither JSON, nor always text
        return None
    return record if isinstance(record, dict) else None


class Follower:
    """Looks at a run directory again and again.

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
        self._tasks = _Tasks()
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
            rate=self._tasks.rate,
            latest=tuple(self._latest),
            epochs=tuple(self._epochs[epoch] for epoch in sorted(self._epochs)),
            epochs_asked=epochs_asked,
            stages=dict(self._stages),
            is_trained=self._is_trained(epochs_asked),
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
            self._tasks = _Tasks()
            self._latest.clear()
        for event in events:
            if event.get("event") == "task":
                self._tasks.add(event)
        self._latest.extend(events[-SHOWN:])

    def _follow_metrics(self) -> None:
        is_other, records = self._metrics.read()
        if is_other:  # a resumed run forgets epochs that it trains again
            self._epochs.clear()
        for record in records:
            if (epoch := _number(record, "epoch")) is not None:
                self._epochs[int(epoch)] = record | {"epoch": int(epoch)}

    def _follow_trace(self) -> None:
        is_other, records = self._trace.read()
        if is_other:
            self._stages = dict.fromkeys(STAGES, 0.0)
        for record in records:
            found = record.get("stage_seconds")
            seconds = found if isinstance(found, dict) else {}
            for stage in STAGES:
                self._stages[stage] += _number(seconds, stage) or 0.0
            self._stages["partition"] += _number(record, "partition_s") or 0.0


class _Tasks:
    """Tasks by their latest state; those that ended are only counted."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], str] = {}
        self._ended: Counter[str] = Counter()
        self._done: deque[float] = deque()

    def add(self, event: Mapping[str, Any]) -> None:
        key, state = (repr(event.get("id")), str(event.get("task"))), str(event.get("state"))
        if state not in _ENDS:
            self._open[key] = state
            return
        self._open.pop(key, None)
        self._ended[state] += 1
        if state == "done" and (when := _number(event, "time")) is not None:
            self._done.append(when)
            while self._done[0] < when - RATE_S:
                self._done.popleft()

    @property
    def counts(self) -> Counter[str]:
        return Counter(self._open.values()) + self._ended

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


def _pilots_of(run_dir: Path) -> list[registry.Entry]:
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
    asked = _number(found, "epochs") if isinstance(found, dict) else None
    return None if asked is None else int(asked)


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
