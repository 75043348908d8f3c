"""Measures of a run: shares, utilisation, stragglers, slots. Pure functions of arrays.

Every number is of all records; only `chosen_runs` and `binned` choose or gather what is drawn.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.io.jsonl import STAGES
from pilotcut.report.numbers import number_in
from pilotcut.report.run_record import Batches, RunRecord, TaskRuns

#: A task that runs longer than this many medians of its group straggles.
STRAGGLES = 1.5
#: A group of fewer runs has no median worth the name.
LEAST_RUNS = 4

_RECONSTRUCT = STAGES.index("reconstruct")


# -- stages ----------------------------------------------------------------------------


def stage_seconds(run: RunRecord) -> dict[str, float]:
    """Return seconds of each stage over the whole run, compilations included."""
    total = np.zeros(len(STAGES)) if run.batches is None else run.batches.stages.sum(axis=0)
    seconds = dict(zip(STAGES, total.tolist(), strict=True))
    seconds["partition"] += run.compile_s
    return seconds


def reconstruction_shares(batches: Batches) -> np.ndarray:
    """Return for each batch the reconstruction's share of the time in its stages.

    Batches whose stages took no time at all are left out.
    """
    total = batches.stages.sum(axis=1)
    return batches.stages[total > 0, _RECONSTRUCT] / total[total > 0]


def stages_by_source(batches: Batches) -> dict[str, np.ndarray]:
    """Return seconds by stage of all batches of one source, by source."""
    sources = np.array(batches.source)
    return {
        source: batches.stages[sources == source].sum(axis=0)
        for source in dict.fromkeys(batches.source)
    }


def binned(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means of consecutive rows in at most `most` bins, and the middle of each bin.

    Examples
    --------
    >>> binned(np.array([[1.0], [3.0], [5.0], [7.0]]), 2)
    (array([0.5, 2.5]), array([[2.],
           [6.]]))
    """
    count = min(len(values), most)
    if not count:
        return np.zeros(0), values
    edges = np.linspace(0, len(values), count + 1).astype(int)
    # reduceat returns an element where it should sum none: there are never more bins than rows.
    sums = np.add.reduceat(values, edges[:-1], axis=0)
    sizes = np.diff(edges)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    return middles, sums / sizes.reshape(-1, *[1] * (values.ndim - 1))


# -- workers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Utilisation:
    """Utilisation of workers between the first start and the last end of a task.

    Parameters
    ----------
    workers
        (pilot, worker) in the order of their names.
    busy_s
        Seconds in which each ran at least one task.
    span_s
        Length of the time looked at.
    """

    workers: tuple[tuple[str, str], ...]
    busy_s: tuple[float, ...]
    span_s: float

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the share of the time in which each was busy."""
        return tuple(busy / self.span_s if self.span_s > 0 else 1.0 for busy in self.busy_s)

    @property
    def mean(self) -> float:
        """Mean share of all workers, NaN if there are none."""
        return float(np.mean(self.shares)) if self.shares else math.nan


def utilisation(runs: TaskRuns) -> Utilisation:
    """Return how busy each worker was that ran anything."""
    by_worker = rows_by_worker(runs)
    busy = tuple(union_s(runs.started[rows], runs.finished[rows]) for rows in by_worker.values())
    span = float(runs.finished.max() - runs.started.min()) if len(runs) else 0.0
    return Utilisation(tuple(by_worker), busy, span)


def rows_by_worker(runs: TaskRuns) -> dict[tuple[str, str], np.ndarray]:
    """Return the rows of each (pilot, worker), in the order of their names."""
    found: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(runs.pilot, runs.worker, strict=True)):
        found.setdefault(key, []).append(row)
    return {key: np.array(found[key]) for key in sorted(found, key=_natural)}


def _natural(key: tuple[str, str]) -> list[list[tuple[int, int, str]]]:
    """Return a key that sorts worker-10 behind worker-9."""
    parts = (re.split(r"(\d+)", text) for text in key)
    return [[(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in some] for some in parts]


def union_s(started: np.ndarray, finished: np.ndarray) -> float:
    """Return how long at least one of some spans lasts.

    Examples
    --------
    >>> union_s(np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 6.0]))
    4.0
    """
    order = np.argsort(started)
    started, finished = started[order], finished[order]
    if not len(started):
        return 0.0
    reached = np.maximum.accumulate(finished)
    begins = np.maximum(started, np.concatenate([started[:1], reached[:-1]]))
    return float(np.maximum(finished - begins, 0.0).sum())


def busy_over_time(runs: TaskRuns, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return in how many tasks the workers were on average, bin by bin, and the ends of bins."""
    edges = np.linspace(runs.started.min(), runs.finished.max(), bins + 1)
    # Seconds of all runs before a moment t: the sum of clip(t - start) less that of ends.
    before = _passed(np.sort(runs.started), edges) - _passed(np.sort(runs.finished), edges)
    widths = np.diff(edges)
    return edges, np.divide(np.diff(before), widths, out=np.zeros(bins), where=widths > 0)


def _passed(moments: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return for each t the sum of t - m over all moments m before it; moments ascend."""
    origin = moments[0]
    sums = np.concatenate([[0.0], np.cumsum(moments - origin)])
    counts = np.searchsorted(moments, at)
    passed: np.ndarray = counts * (at - origin) - sums[counts]
    return passed


def slots(started: np.ndarray, finished: np.ndarray) -> np.ndarray:
    """Return for each span the first slot that is free from its start to its end.

    Examples
    --------
    >>> slots(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0]))
    array([0, 1, 0])
    """
    found = np.zeros(len(started), dtype=int)
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    count = 0
    for row in np.lexsort((finished, started)).tolist():
        begins, ends = float(started[row]), float(finished[row])
        while busy and busy[0][0] <= begins:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            heapq.heappush(free, count)
            count += 1
        slot = heapq.heappop(free)
        found[row] = slot
        heapq.heappush(busy, (ends, slot))
    return found


# -- tasks -----------------------------------------------------------------------------


def group_of(name: str) -> str:
    """Return the group of a task: of GROUP.NUMBER and NAME-NUMBER the first part.

    Examples
    --------
    >>> group_of("A.0"), group_of("sleep-12"), group_of("patient")
    ('A', 'sleep', 'patient')
    """
    return re.sub(r"[.-]\d+$", "", name) or name


def groups_of(runs: TaskRuns) -> list[str]:
    """Return the group of each run."""
    known = {name: group_of(name) for name in set(runs.name)}  # few names, many runs
    return [known[name] for name in runs.name]


@dataclass(frozen=True)
class Stragglers:
    """Stragglers of a group: tasks that ran over `STRAGGLES` times its median.

    Parameters
    ----------
    runs, median_s
        All runs of the group, and their median.
    rows
        Which straggled, the worst first.
    worst_s
        The longest of them, NaN if there are none.
    lost_s
        What they took beyond the median, summed.
    """

    group: str
    runs: int
    median_s: float
    rows: tuple[int, ...]
    worst_s: float
    lost_s: float


def stragglers(runs: TaskRuns) -> list[Stragglers]:
    """Return the stragglers of each group with enough runs, by the time lost with them."""
    found = [_stragglers_of(runs, group, rows) for group, rows in _rows_by_group(runs).items()]
    return sorted(found, key=lambda one: -one.lost_s)


def _rows_by_group(runs: TaskRuns) -> dict[str, np.ndarray]:
    found: dict[str, list[int]] = {}
    for row, group in enumerate(groups_of(runs)):
        found.setdefault(group, []).append(row)
    return {group: np.array(rows) for group, rows in found.items() if len(rows) >= LEAST_RUNS}


def _stragglers_of(runs: TaskRuns, group: str, rows: np.ndarray) -> Stragglers:
    seconds = runs.run_s[rows]
    median = float(np.median(seconds))
    late = np.flatnonzero(seconds > STRAGGLES * median)
    late = late[np.argsort(-seconds[late], kind="stable")]
    worst = float(seconds[late[0]]) if len(late) else math.nan
    lost = float((seconds[late] - median).sum())
    return Stragglers(group, len(rows), median, tuple(rows[late].tolist()), worst, lost)


def chosen_runs(runs: TaskRuns, most: int, always: Sequence[int] = ()) -> tuple[np.ndarray, int]:
    """Return rows to draw, at most about `most`, and that every k-th of the others is among them.

    Those of `always` and the failed ones are among them, as far as there is room.
    """
    if len(runs) <= most:
        return np.arange(len(runs)), 1
    wanted = np.array(always, dtype=int)[: most // 2]
    kept = np.union1d(wanted, np.flatnonzero(runs.failed)[: most // 2 - len(wanted)])
    step = math.ceil(len(runs) / (most - len(kept)))
    return np.union1d(kept, np.arange(0, len(runs), step)), step


# -- predictions -----------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """Seconds of batches, predicted and measured.

    Parameters
    ----------
    rows
        The batches of which something was predicted.
    """

    rows: np.ndarray
    predicted_s: np.ndarray
    measured_s: np.ndarray

    @property
    def ratio(self) -> float:
        """Return measured over predicted, of all together."""
        return float(self.measured_s.sum() / self.predicted_s.sum())

    def within(self, factor: float) -> float:
        """Return the share of batches that took at most `factor` times more or less."""
        logs = np.abs(np.log(self.measured_s / self.predicted_s))
        return float(np.mean(logs <= math.log(factor)))


def predictions(batches: Batches) -> Predictions | None:
    """Return the batches with a prediction beside what they took, None if there are none."""
    rows = np.flatnonzero((batches.predicted_s > 0) & (batches.wall_s > 0))
    if not len(rows):
        return None
    return Predictions(rows, batches.predicted_s[rows], batches.wall_s[rows])


# -- the whole run ---------------------------------------------------------------------


@dataclass(frozen=True)
class Headlines:
    """Headline numbers of a run; NaN or None where one is not known.

    Parameters
    ----------
    seconds
        Of all epochs, or from the first to the last moment that is recorded.
    """

    epochs: int
    epochs_asked: int | None
    loss: float
    accuracy: float
    seconds: float
    queries: int
    subexperiments: int
    reconstruction: float
    busy: float
    straggling: int


def headlines(run: RunRecord) -> Headlines:
    """Return the headline numbers of a run."""
    batches, tasks = run.batches, run.tasks
    last: Mapping[str, object] = run.epochs[-1] if run.epochs else {}
    asked = number_in(run.config, "epochs")
    shares = np.zeros(0) if batches is None else reconstruction_shares(batches)
    return Headlines(
        epochs=int(number_in(last, "epoch")) if run.epochs else 0,
        epochs_asked=None if math.isnan(asked) else int(asked),
        loss=number_in(last, "loss"),
        accuracy=number_in(last, "accuracy"),
        seconds=seconds_of(run),
        queries=0 if batches is None else int(np.nansum(batches.queries)),
        subexperiments=0 if batches is None else int(np.nansum(batches.subexperiments)),
        reconstruction=float(np.median(shares)) if len(shares) else math.nan,
        busy=math.nan if tasks is None else utilisation(tasks.runs).mean,
        straggling=0 if tasks is None else sum(len(s.rows) for s in stragglers(tasks.runs)),
    )


def seconds_of(run: RunRecord) -> float:
    """Return how long a run took: its epochs, else its batches, NaN if there is neither."""
    epochs = [number_in(epoch, "seconds") for epoch in run.epochs]
    if known := [s for s in epochs if not math.isnan(s)]:
        return sum(known)
    return math.nan if run.batches is None else float(np.nansum(run.batches.wall_s))
