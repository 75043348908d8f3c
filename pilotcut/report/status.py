"""Status of a run, and how it looks on a terminal: pilots, tasks, training, the latest events.

How it is found in the files of a run directory is `run_follower`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pilotcut.options import counted
from pilotcut.pilots import registry
from pilotcut.report.numbers import known_number
from pilotcut.report.words import readable_s

#: How many of the latest events are shown.
SHOWN = 8
#: Groups of tasks that are named.
MOST_GROUPS = 12
_BAR, _SPARKS = 24, 24
_STAGE_STYLES = ("grey58", "yellow", "blue", "dark_orange")


@dataclass(frozen=True)
class Status:
    """Status of a run, as far as the files of its directory tell.

    Parameters
    ----------
    pilots, waiting
        As the managers last wrote them.
    tasks
        Number of tasks by their latest state.
    groups
        Of each group of a graph of tasks how many have ended, and how many are known; empty where
        no task depends on another.
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
    usage
        What pilots held and tasks used, in words.
    """

    name: str
    pilots: Sequence[registry.RegistryEntry] = ()
    waiting: Sequence[dict[str, str]] = ()
    tasks: Counter[str] = field(default_factory=Counter)
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rate: float | None = None
    latest: Sequence[dict[str, Any]] = ()
    epochs: Sequence[dict[str, Any]] = ()
    epochs_asked: int | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    is_trained: bool = False
    usage: str = ""

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
        took = [
            s for epoch in self.epochs[-5:] if (s := known_number(epoch, "seconds")) is not None
        ]
        left = self.epochs_asked - self.epochs[-1]["epoch"]
        return left * sum(took) / len(took) if took else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return own | {
            "pilots": registry.as_data(self.pilots),
            "groups": {name: {"ended": e, "known": k} for name, (e, k) in self.groups.items()},
            "is_over": self.is_over,
            "left_s": self.left_s,
        }

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
        if self.groups:
            parts.append(Text(f"groups: {', '.join(self._of_groups())}"))
        if self.usage:
            parts.append(Text(self.usage))
        if not self.have_ended:  # the file outlives its tasks
            parts += [Text(f"  {one['task']}: {one['reason']}") for one in self.waiting[:SHOWN]]
        if self.latest:
            parts.append(Text("latest events:"))
            parts += [Text(f"  {_line(event)}") for event in self.latest]
        return Group(*parts) if parts else Text(f"{self.name}: nothing has happened yet")

    def _of_groups(self) -> Iterator[str]:
        for group, (ended, known) in list(self.groups.items())[:MOST_GROUPS]:
            yield f"{group} {ended:,} of {known:,}"
        if len(self.groups) > MOST_GROUPS:
            yield f"{counted(len(self.groups) - MOST_GROUPS, 'group')} more"

    def _bar(self) -> RenderableType:
        assert self.epochs_asked is not None
        done = self.epochs[-1]["epoch"] if self.epochs else 0
        full = round(_BAR * min(done / self.epochs_asked, 1.0)) if self.epochs_asked else 0
        left = self.left_s
        words = f" {done} of {counted(self.epochs_asked, 'epoch')}"
        words += f", about {_duration(left)} left" if left else ""
        words += ", ended early" if self.is_trained and done < self.epochs_asked else ""
        bar = (("━" * full, "green"), ("╌" * (_BAR - full), "bright_black"))
        return Text.assemble(f"{self.name} ", *bar, words)

    def _training(self) -> RenderableType:
        last = self.epochs[-1]
        words = [f"training: epoch {last['epoch']}"]
        if (loss := known_number(last, "loss")) is not None:
            words.append(f"loss {loss:.3f}{self._sparks('loss')}")
        if (accuracy := known_number(last, "accuracy")) is not None:
            words.append(f"test accuracy {accuracy:.1%}{self._sparks('accuracy')}")
        return Text(", ".join(words))

    def _sparks(self, key: str) -> str:
        sparks = sparkline([known_number(epoch, key) for epoch in self.epochs[-_SPARKS:]])
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


def pilots_table(entries: Sequence[registry.RegistryEntry]) -> Table:
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
    when = known_number(event, "time")
    clock = "--:--:--" if when is None else _clock(when)
    return f"{clock} {what} {state}{where}{reason}".splitlines()[0]


def _clock(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # no time that a clock could show
        return "--:--:--"


def _duration(seconds: float) -> str:
    """Return a time in words; nobody waits for tenths of a second."""
    whole = round(seconds)
    return f"{max(whole, 1)} s" if whole < 60 else readable_s(max(seconds, 60.0))
