"""Reader of run directories: their files as one `RunRecord`, whatever of them is there.

Runs are killed, disks fill up and people edit files: what is missing or makes no sense is left
out, with a word why, and never an exception. Nothing here knows what the numbers are for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pilotcut.errors import RunDirectoryError
from pilotcut.io.jsonl import STAGES
from pilotcut.io.yaml_reader import load_yaml
from pilotcut.pilots.usage import CoreUsage
from pilotcut.report.device_records import DeviceRecords
from pilotcut.report.numbers import number
from pilotcut.report.run_record import Batches, PilotRecord, RunEvent, RunRecord, TaskHistory
from pilotcut.report.task_events import TaskEventReader

#: What a run directory may hold; one of them makes it one.
FILES = ("config.yaml", "trace.jsonl", "metrics.jsonl", "events.jsonl", "pilots.json")


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
        usage=reader.usage.in_words(),
        device_usage=reader.devices.usage,
    )


class _Reader:
    """Reads files of one directory, and keeps what could not be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.missing: dict[str, str] = {}
        self.torn = 0
        self.devices = DeviceRecords()
        self.usage = CoreUsage()

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

    def events(self) -> tuple[TaskHistory | None, dict[str, list[RunEvent]]]:
        history = TaskEventReader()
        states: dict[str, list[RunEvent]] = {}
        for event in self._lines("events.jsonl"):
            self.usage.take(event)
            when = number(event.get("time"))
            if math.isnan(when) or event.get("event") == "usage":
                continue
            if event.get("event") == "task":
                history.add(event, when)
            else:
                pilot = str(event.get("pilot", "?"))
                kind = str(event.get("state", "note"))
                reason = str(event.get("reason") or "")
                found = RunEvent(when, kind, pilot, pilot, reason)
                states.setdefault(pilot, []).append(found)
        return history.result(), states

    def pilots(self, states: Mapping[str, Sequence[RunEvent]]) -> tuple[PilotRecord, ...]:
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
    "predicted_s",
    "queries",
    "subexperiments",
)


def _batch_row(record: Mapping[str, Any]) -> tuple[float, ...]:
    stages = record.get("stage_seconds")
    seconds = stages if isinstance(stages, dict) else {}
    began = number(record.get("time"))
    values = [number(record.get(name)) for name in _COLUMNS[1:]]
    return (began, *values, *(number(seconds.get(stage)) for stage in STAGES))


def _since(name: str, entry: Mapping[str, Any]) -> tuple[RunEvent, ...]:
    since = entry.get("since")
    pairs = since.items() if isinstance(since, dict) else ()
    found = [
        RunEvent(when, str(state), name, name, "")
        for state, some in pairs
        if not math.isnan(when := number(some))
    ]
    return tuple(sorted(found, key=lambda event_: event_.time))


def _slots(about: Mapping[str, Any]) -> int | None:
    """Return how many tasks a pilot runs at the same time, as far as its description tells."""
    if number(about.get("ranks", 1)) > 1:
        return 1
    nodes, each = number(about.get("nodes", 1)), number(about.get("workers_per_node"))
    total = nodes * each
    return None if math.isnan(total) else int(total)
