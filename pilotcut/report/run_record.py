"""Record of a run: what its files hold, as arrays and plain data.

Nothing here reads a file (see `read`), and nothing knows what the numbers are for (see `measures`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.report.device_records import DeviceShare, MovedParts
from pilotcut.report.numbers import number_in

#: Where a task stands at the end of the events, in the order in which they are shown.
STANDINGS = ("stored", "done", "bound", "ready", "waiting", "canceled", "failed", "cut off")


@dataclass(frozen=True)
class Batches:
    """Batches of queries of a trace, a number each in every array; NaN where unknown.

    Parameters
    ----------
    began
        Seconds since the epoch.
    stages
        Seconds, (batch, stage) in the order of `pilotcut.io.jsonl.STAGES`.
    source
        Why each was run.
    """

    began: np.ndarray
    wall_s: np.ndarray
    waits_s: np.ndarray
    predicted_s: np.ndarray
    queries: np.ndarray
    subexperiments: np.ndarray
    stages: np.ndarray
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class TaskRuns:
    """Runs of tasks on workers, in the order in which they ended.

    Parameters
    ----------
    bound, started, finished
        Seconds since the epoch; `bound` is NaN where unknown.
    name, pilot, worker
        Of each.
    cores
        That each asked for, those of all its ranks together.
    failed
        Whether it ended with an exception.
    """

    bound: np.ndarray
    started: np.ndarray
    finished: np.ndarray
    name: tuple[str, ...]
    pilot: tuple[str, ...]
    worker: tuple[str, ...]
    cores: np.ndarray
    failed: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    @property
    def run_s(self) -> np.ndarray:
        """Seconds of each."""
        return self.finished - self.started


@dataclass(frozen=True)
class RunEvent:
    """Event of a task or a pilot at one moment.

    Parameters
    ----------
    kind
        Of tasks "lost" (with a worker), "raised" (and run again), "failed" (for good) or
        "duplicate"; of pilots the new state, or "note".
    """

    time: float
    kind: str
    name: str
    pilot: str
    reason: str


@dataclass(frozen=True)
class PilotRecord:
    """Pilot of a run: what was asked for, and its states with times."""

    name: str
    resource: str = ""
    slots: int | None = None
    states: tuple[RunEvent, ...] = ()


@dataclass(frozen=True)
class TaskGraph:
    """Tasks and what each depends on; dependencies stand before what depends on them.

    Parameters
    ----------
    names, groups, standings
        Of each task; standings are of `STANDINGS`.
    before
        Of each task the places of those that it depends on.
    layers
        Of each task the length of the longest way to it.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    standings: tuple[str, ...]
    before: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def edges(self) -> int:
        """How many dependencies there are."""
        return sum(map(len, self.before))

    @property
    def after(self) -> list[list[int]]:
        """Of each task the places of those that depend on it."""
        found: list[list[int]] = [[] for _ in self.names]
        for place, before in enumerate(self.before):
            for other in before:
                found[other].append(place)
        return found


@dataclass(frozen=True)
class TaskHistory:
    """Tasks of a run, as its events tell.

    Parameters
    ----------
    runs
        On workers.
    ends
        Number of tasks by how they ended.
    troubles
        Losses, failures and duplicates of tasks, at most the first of each kind.
    counts
        How many there were of each kind.
    graph
        What depended on what, None where nothing did.
    cuts
        Lines about failures that have cut off others.
    """

    runs: TaskRuns
    ends: Mapping[str, int]
    troubles: tuple[RunEvent, ...]
    counts: Mapping[str, int]
    graph: TaskGraph | None = None
    cuts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """A run, as far as its files tell.

    Parameters
    ----------
    name
        The directory's.
    config
        Settings, as they stand in config.yaml.
    plan
        The last record of a compilation, empty if there is none.
    shares, moved
        What devices ran of which fragment, and what went to another device.
    epochs
        What metrics.jsonl holds, with an "epoch" each.
    missing
        By file, why nothing of it is shown.
    torn
        Lines that were no records.
    usage, device_usage
        What pilots held and tasks used, and what was used of devices, in words.
    """

    path: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    compile_s: float = 0.0
    batches: Batches | None = None
    shares: tuple[DeviceShare, ...] = ()
    moved: tuple[MovedParts, ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()
    tasks: TaskHistory | None = None
    pilots: tuple[PilotRecord, ...] = ()
    recommendation: Mapping[str, Any] | None = None
    resumes: int = 0
    is_complete: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    torn: int = 0
    usage: str = ""
    device_usage: str = ""

    @property
    def widths(self) -> list[int]:
        """Qubits of each fragment, [] where the plan does not say."""
        found = self.plan.get("widths")
        return [w for w in found if type(w) is int and w > 0] if isinstance(found, list) else []

    @property
    def cuts(self) -> int | None:
        """Number of cuts, None where the plan does not say."""
        cuts = number_in(self.plan, "cuts")
        return None if math.isnan(cuts) else int(cuts)

    @cached_property
    def begins(self) -> float:
        """The first moment that the files know of, in seconds since the epoch; NaN if none."""
        found = [state.time for pilot in self.pilots for state in pilot.states]
        columns = [] if self.batches is None else [self.batches.began]
        columns += [] if self.tasks is None else [self.tasks.runs.started]
        moments = np.concatenate([np.array(found, dtype=float), *columns])
        known = moments[~np.isnan(moments)]
        return float(known.min()) if len(known) else math.nan
