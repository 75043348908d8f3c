"""Trace of a run for Perfetto and chrome://tracing.

The JSON array format: processes are pilots, threads are slots of workers, tasks are complete
events ("X"); batches of queries, with their stages inside, are a process of their own; what
happens at one moment is an instant event ("i"). Times are microseconds since the run began.

References
----------
.. [1] Trace Event Format, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.io.jsonl import STAGES
from pilotcut.report import measures
from pilotcut.report.page import write_page
from pilotcut.report.run_record import RunRecord

#: The process of the queries; pilots follow.
_QUERIES = 1

Event = dict[str, Any]


def write_chrome_trace(run: RunRecord, path: Path) -> int:
    """Write the trace of a run, whole or not at all; return its number of events.

    Raises
    ------
    UserError
        If it cannot be written there.
    """
    events = chrome_events(run)
    write_page(path, "[\n" + ",\n".join(json.dumps(event) for event in events) + "\n]\n")
    return len(events)


def chrome_events(run: RunRecord) -> list[Event]:
    """Return the events of a run: names first, then all others in the order of their times."""
    origin = run.begins
    if math.isnan(origin):
        return [_named("process_name", _QUERIES, 0, f"{run.name}: no times are recorded")]
    processes = _processes(run)
    names = [_named("process_name", _QUERIES, 0, "queries")]
    events: list[Event] = []
    for pilot, process in processes.items():
        names.append(_named("process_name", process, 0, f"pilot {pilot}"))
        names.append(_named("thread_name", process, 0, "pilot"))
    for event in (*_tasks(run, processes), *_batches(run), *_moments(run, processes)):
        (names if event["ph"] == "M" else events).append(event)
    for event in events:
        event["ts"] = _us(event["ts"] - origin)
        if "dur" in event:  # the end, up to here: rounding must not make spans overlap
            event["dur"] = round(_us(event["dur"] - origin) - event["ts"], 3)
    # A batch and its first stage begin together: the longer one first, as it holds the other.
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0.0)))
    return names + events


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _processes(run: RunRecord) -> dict[str, int]:
    """Return a number for each pilot."""
    found = [pilot.name for pilot in run.pilots]
    if run.tasks is not None:
        found += [*run.tasks.runs.pilot, *(one.pilot for one in run.tasks.troubles)]
    return {pilot: _QUERIES + 1 + k for k, pilot in enumerate(dict.fromkeys(found))}


def _named(what: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


# -- tasks -----------------------------------------------------------------------------


def _tasks(run: RunRecord, processes: dict[str, int]) -> Iterator[Event]:
    if run.tasks is None:
        return
    runs = run.tasks.runs
    threads = dict.fromkeys(processes, 1)  # thread 0 is the pilot itself
    for (pilot, worker), rows in measures.rows_by_worker(runs).items():
        slots = measures.slots(runs.started[rows], runs.finished[rows])
        first = threads[pilot]
        threads[pilot] += int(slots.max()) + 1
        for slot in range(int(slots.max()) + 1):
            name = worker if not slot else f"{worker} +{slot}"
            yield _named("thread_name", processes[pilot], first + slot, name)
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            waited = float(runs.started[row] - runs.bound[row])
            yield {
                "ph": "X",
                "name": runs.name[row],
                "cat": "task,failed" if runs.failed[row] else "task",
                "pid": processes[pilot],
                "tid": first + slot,
                "ts": float(runs.started[row]),
                "dur": float(runs.finished[row]),
                "args": {} if math.isnan(waited) else {"from bound to start, s": round(waited, 6)},
            }


# -- queries ---------------------------------------------------------------------------


def _batches(run: RunRecord) -> Iterator[Event]:
    """Yield batches with their stages inside, one after the other.

    What the record tells of stages is how long they were: of a reconstruction that passed
    while workers ran, the place is not known, and stages are fitted into the batch.
    """
    batches = run.batches
    if batches is None:
        return
    known = np.flatnonzero(np.isfinite(batches.began) & np.isfinite(batches.wall_s))
    began, ends = batches.began[known], (batches.began + batches.wall_s)[known]
    slots = measures.slots(began, ends)
    for slot in range(int(slots.max(initial=-1)) + 1):
        yield _named("thread_name", _QUERIES, slot + 1, "batches" if not slot else f"+{slot}")
    for row, slot, start, end in zip(known.tolist(), slots.tolist(), began, ends, strict=True):
        where = {"pid": _QUERIES, "tid": slot + 1, "ph": "X", "cat": "query"}
        about = {"queries": batches.queries[row], "subexperiments": batches.subexperiments[row]}
        args = {name: int(value) for name, value in about.items() if math.isfinite(value)}
        name = f"batch, {batches.source[row]}"
        yield {**where, "name": name, "ts": float(start), "dur": float(end), "args": args}
        seconds = batches.stages[row]
        total = float(seconds.sum())
        scale = min(1.0, (end - start) / total) if total > 0 else 0.0
        ticks = start + scale * np.concatenate([[0.0], np.cumsum(seconds)])
        for k, stage in enumerate(STAGES):
            if seconds[k] > 0:
                left, right = float(ticks[k]), float(min(ticks[k + 1], end))
                took = {"seconds": round(float(seconds[k]), 6)}
                yield {**where, "cat": "stage", "name": stage, "ts": left, "dur": right,
                       "args": took}  # fmt: skip


# -- moments ---------------------------------------------------------------------------


def _moments(run: RunRecord, processes: dict[str, int]) -> Iterator[Event]:
    for pilot in run.pilots:
        for state in pilot.states:
            where = {"pid": processes[pilot.name], "tid": 0, "s": "p", "cat": "pilot"}
            args = {"reason": state.reason} if state.reason else {}
            yield {"ph": "i", "name": state.kind, "ts": state.time, "args": args, **where}
    for one in run.tasks.troubles if run.tasks is not None else ():
        where = {"pid": processes[one.pilot], "tid": 0, "s": "p", "cat": "task"}
        args = {"reason": one.reason}
        yield {"ph": "i", "name": f"{one.kind}: {one.name}", "ts": one.time, "args": args, **where}
