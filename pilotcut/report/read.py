"""The files of a run directory as one record, whatever of them is there.

Runs are killed, disks fill up and people edit files: what is missing or makes no sense is left
out, with a word why, and never an exception. Nothing here knows what the numbers are for.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pilotcut.errors import RunDirectoryError
from pilotcut.io.jsonl import STAGES
from pilotcut.pilots.description.reading import load_yaml
from pilotcut.report.devices import DeviceRecords, DeviceShare, Moved
from pilotcut.report.numbers import number

#: What a run directory may hold; one of them makes it one.
FILES = ("config.yaml", "trace.jsonl", "metrics.jsonl", "events.jsonl", "pilots.json")

#: How the reason begins of an event that tells of a second run.
_DUPLICATE = "straggles"
#: Texts of events that are kept; of more only the number.
_MOST_TOLD = 200


@dataclass(frozen=True)
class Batches:
    """The batches of queries of a trace, a number each in every array; NaN where unknown.

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
    worker_s: np.ndarray
    predicted_s: np.ndarray
    queries: np.ndarray
    subexperiments: np.ndarray
    bundles: np.ndarray
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
    failed
        Whether it ended with an exception.
    is_exact
        Whether starts were recorded; else each is when the task was bound.
    """

    bound: np.ndarray
    started: np.ndarray
    finished: np.ndarray
    name: tuple[str, ...]
    pilot: tuple[str, ...]
    worker: tuple[str, ...]
    failed: np.ndarray
    is_exact: bool

    def __len__(self) -> int:
        return len(self.name)

    @property
    def run_s(self) -> np.ndarray:
        """Seconds of each."""
        return self.finished - self.started


@dataclass(frozen=True)
class Happening:
    """Something that happened to a task or a pilot at one moment.

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
    """One pilot: what was asked for, and its states with times."""

    name: str
    resource: str = ""
    slots: int | None = None
    states: tuple[Happening, ...] = ()


@dataclass(frozen=True)
class Told:
    """What the events tell.

    Parameters
    ----------
    ends
        Number of tasks by how they ended.
    troubles
        Losses, failures and duplicates of tasks, at most the first of each kind.
    counts
        How many there were of each kind.
    """

    runs: TaskRuns
    ends: Mapping[str, int]
    troubles: tuple[Happening, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class RunRecord:
    """One run, as far as its files tell.

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
    """

    path: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    compile_s: float = 0.0
    batches: Batches | None = None
    shares: tuple[DeviceShare, ...] = ()
    moved: tuple[Moved, ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()
    tasks: Told | None = None
    pilots: tuple[PilotRecord, ...] = ()
    recommendation: Mapping[str, Any] | None = None
    resumes: int = 0
    is_complete: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    torn: int = 0

    @cached_property
    def begins(self) -> float:
        """The first moment that the files know of, in seconds since the epoch; NaN if none."""
        found = [state.time for pilot in self.pilots for state in pilot.states]
        columns = [] if self.batches is None else [self.batches.began]
        columns += [] if self.tasks is None else [self.tasks.runs.started]
        moments = np.concatenate([np.array(found, dtype=float), *columns])
        known = moments[~np.isnan(moments)]
        return float(known.min()) if len(known) else math.nan


# -- reading ---------------------------------------------------------------------------


def read_run(path: Path) -> RunRecord:
    """Return what the files of a run directory tell.

    Raises
    ------
    RunDirectoryError
        If there is no such directory, or nothing of a run in it.
    """
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise RunDirectoryError(f"run directory '{path}' {found}; look under runs/")
    if (path / "study.json").exists():
        raise RunDirectoryError(
            f"run directory '{path}' is that of a study, expected one run; open report.html in it, "
            f"or name a cell of it such as {path}/rq1/CELL"
        )
    if not any((path / name).exists() for name in FILES):
        raise RunDirectoryError(
            f"run directory '{path}' holds none of {', '.join(FILES)}, expected what a training "
            f"or pilots write; look under runs/"
        )
    reader = _Reader(path)
    config, epochs = reader.config(), reader.epochs()
    plan, compile_s, batches, resumes = reader.trace()
    tasks, states = reader.events()
    return RunRecord(
        path=path,
        name=path.resolve().name,
        config=config,
        plan=plan,
        compile_s=compile_s,
        batches=batches,
        shares=reader.devices.shares,
        moved=reader.devices.moved,
        epochs=epochs,
        tasks=tasks,
        pilots=reader.pilots(states),
        recommendation=reader.recommendation(),
        resumes=resumes,
        is_complete=(path / "weights.pt").exists(),
        missing=reader.missing,
        torn=reader.torn,
    )


class _Reader:
    """Reads files of one directory, and keeps what could not be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.missing: dict[str, str] = {}
        self.torn = 0
        self.devices = DeviceRecords()

    # -- files ---------------------------------------------------------------------

    def _content(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            self.missing[name] = f"there is no {name}"
        except OSError as error:
            self.missing[name] = f"{name} cannot be read ({error.strerror})"
        return None

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a file one by one: all of them at once may be a lot."""
        try:
            with (self._path / name).open("rb") as lines:
                for line in lines:
                    try:
                        record = json.loads(line.decode())
                    except ValueError:  # neither JSON, nor always text
                        self.torn += bool(line.strip())
                        continue
                    if isinstance(record, dict):
                        yield record
        except FileNotFoundError:
            self.missing[name] = f"there is no {name}"
        except OSError as error:
            self.missing[name] = f"{name} cannot be read ({error.strerror})"

    def _json(self, name: str) -> Any:
        content = self._content(name)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError:
            self.missing[name] = f"{name} is no JSON"
            return None

    # -- settings and training -----------------------------------------------------

    def config(self) -> dict[str, Any]:
        content = self._content("config.yaml")
        if content is None:
            return {}
        try:
            found = load_yaml(content)
        except (yaml.YAMLError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict):
            self.missing["config.yaml"] = "config.yaml holds no settings"
            return {}
        return {str(name): value for name, value in found.items()}

    def epochs(self) -> tuple[dict[str, Any], ...]:
        """Return the epochs in order; of one that was trained twice the last."""
        found = {}
        for record in self._lines("metrics.jsonl"):
            epoch = number(record.get("epoch"))
            if not math.isnan(epoch):
                found[epoch] = record | {"epoch": int(epoch)}
        if not found:
            self.missing.setdefault("metrics.jsonl", "metrics.jsonl holds no epoch yet")
        return tuple(found[epoch] for epoch in sorted(found))

    def recommendation(self) -> dict[str, Any] | None:
        if not (self._path / "recommendation.json").exists():
            return None  # most runs have none
        found = self._json("recommendation.json")
        if isinstance(found, dict) and isinstance(found.get("candidates"), list):
            return found
        self.missing.setdefault("recommendation.json", "recommendation.json holds none")
        return None

    # -- the trace -----------------------------------------------------------------

    def trace(self) -> tuple[dict[str, Any], float, Batches | None, int]:
        plan: dict[str, Any] = {}
        compile_s, resumes = 0.0, 0
        rows: list[tuple[float, ...]] = []
        sources: list[str] = []
        for record in self._lines("trace.jsonl"):
            kind = record.get("kind")
            if kind == "query_batch":
                rows.append(_batch_row(record))
                self.devices.add(record)
                sources.append(str(record.get("source", "forward")))
            elif kind == "compile":
                plan = record
                seconds = number(record.get("partition_s"))
                compile_s += 0.0 if math.isnan(seconds) else seconds
            elif kind == "resume":
                resumes += 1
        if not rows:
            self.missing.setdefault("trace.jsonl", "trace.jsonl holds no batch of queries yet")
            return plan, compile_s, None, resumes
        table = np.array(rows, dtype=float)
        columns = dict(zip(_COLUMNS, table[:, : len(_COLUMNS)].T, strict=True))
        stages = np.nan_to_num(table[:, len(_COLUMNS) :], nan=0.0)
        return plan, compile_s, Batches(**columns, stages=stages, source=tuple(sources)), resumes

    # -- the events ----------------------------------------------------------------

    def events(self) -> tuple[Told | None, dict[str, list[Happening]]]:
        told = _Events()
        states: dict[str, list[Happening]] = {}
        for event in self._lines("events.jsonl"):
            when = number(event.get("time"))
            if math.isnan(when):
                continue
            if event.get("event") == "task":
                told.add(event, when)
            else:
                pilot = str(event.get("pilot", "?"))
                kind = str(event.get("state", "note"))
                reason = str(event.get("reason") or "")
                happening = Happening(when, kind, pilot, pilot, reason)
                states.setdefault(pilot, []).append(happening)
        return told.result(), states

    def pilots(self, states: Mapping[str, Sequence[Happening]]) -> tuple[PilotRecord, ...]:
        """Return the pilots of the roster, then those that only events name."""
        found = {name: PilotRecord(name, states=tuple(some)) for name, some in states.items()}
        entries = self._json("pilots.json")
        for entry in entries if isinstance(entries, list) else []:
            about = entry.get("description") if isinstance(entry, dict) else None
            if isinstance(about, dict) and "name" in about:
                name = str(about["name"])
                happened = found.pop(name, PilotRecord(name)).states or _since(name, entry)
                resource = str(about.get("resource", ""))
                found[name] = PilotRecord(name, resource, _slots(about), happened)
        return tuple(found.values())


_COLUMNS = (
    "began",
    "wall_s",
    "waits_s",
    "worker_s",
    "predicted_s",
    "queries",
    "subexperiments",
    "bundles",
)


def _batch_row(record: Mapping[str, Any]) -> tuple[float, ...]:
    stages = record.get("stage_seconds")
    seconds = stages if isinstance(stages, dict) else {}
    began = number(record.get("time"))
    values = [number(record.get(name)) for name in _COLUMNS[1:]]
    return (began, *values, *(number(seconds.get(stage)) for stage in STAGES))


class _Events:
    """The events of tasks, taken in one by one."""

    def __init__(self) -> None:
        self._bound: dict[str, float] = {}
        self._raised: dict[str, float] = {}
        self._times: list[tuple[float, float, float]] = []
        self._names: list[tuple[str, str, str]] = []
        self._failed: list[bool] = []
        self._ends: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._troubles: list[Happening] = []
        self._is_exact = True
        self._seen = False

    def add(self, event: Mapping[str, Any], when: float) -> None:
        self._seen = True
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
        elif state == "done":  # written before starts were recorded
            self._is_exact = False
            self._ran(event, key, is_end, self._bound.get(key, when), when)
        if state == "failed":
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

    def _ran(
        self, event: Mapping[str, Any], key: str, is_end: bool, started: float, finished: float
    ) -> None:
        pilot = str(event.get("pilot") or "?")
        if self._raised.get(key) == started:
            return  # told already; it never ran again
        if not is_end:
            self._raised[key] = started
        self._times.append((self._bound.get(key, math.nan), started, max(finished, started)))
        self._names.append((str(event.get("task", "?")), pilot, str(event.get("worker") or pilot)))
        self._failed.append(event.get("state") != "done")

    def _trouble(self, kind: str, event: Mapping[str, Any], when: float, reason: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= _MOST_TOLD:
            name, pilot = str(event.get("task", "?")), str(event.get("pilot") or "?")
            self._troubles.append(Happening(when, kind, name, pilot, reason))

    def result(self) -> Told | None:
        if not self._seen:
            return None
        bound, started, finished = np.array(self._times, dtype=float).reshape(-1, 3).T
        names, pilots, workers = zip(*self._names, strict=True) if self._names else ((), (), ())
        failed = np.array(self._failed, dtype=bool)
        runs = TaskRuns(bound, started, finished, names, pilots, workers, failed, self._is_exact)
        return Told(runs, dict(self._ends), tuple(self._troubles), dict(self._counts))


def _since(name: str, entry: Mapping[str, Any]) -> tuple[Happening, ...]:
    since = entry.get("since")
    pairs = since.items() if isinstance(since, dict) else ()
    found = [
        Happening(when, str(state), name, name, "")
        for state, some in pairs
        if not math.isnan(when := number(some))
    ]
    return tuple(sorted(found, key=lambda happening: happening.time))


def _slots(about: Mapping[str, Any]) -> int | None:
    """Return how many tasks a pilot runs at the same time, as far as its description tells."""
    if number(about.get("ranks", 1)) > 1:
        return 1
    nodes, each = number(about.get("nodes", 1)), number(about.get("workers_per_node"))
    total = nodes * each
    return None if math.isnan(total) else int(total)
