"""Sections about workers: slots over time, utilisation, stragglers and losses, devices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from pilotcut.options import counted
from pilotcut.report import figures, measures, plots
from pilotcut.report.page import Element, Section, table
from pilotcut.report.plot_frame import Reference
from pilotcut.report.run_record import RunRecord
from pilotcut.report.words import MOST_ROWS, first_of, joined, readable_s


def timeline(run: RunRecord) -> Section | None:
    """Return the section about who ran what when, None without tasks."""
    if run.tasks is None or not len(run.tasks.runs):
        return None
    runs = run.tasks.runs
    worst = sorted(
        (row for one in measures.stragglers(runs) for row in one.rows),
        key=lambda row: -float(runs.run_s[row]),
    )
    shown, _ = figures.timeline(run, worst)
    workers = len(measures.rows_by_worker(runs))
    span = float(runs.finished.max() - runs.started.min())
    text = Markup("<b>{:,}</b> tasks ran on {} in {}, <b>{:.3g}</b> a second.").format(
        len(runs),
        counted(workers, "worker"),
        readable_s(span),
        len(runs) / span if span else math.nan,
    )
    return Section("Pilots and slots", text, [shown])


def utilisation(run: RunRecord) -> Section | None:
    """Return the section about how busy workers were, None without tasks."""
    if run.tasks is None or not len(run.tasks.runs):
        return None
    runs = run.tasks.runs
    found = measures.utilisation(runs)
    shares = np.array(found.shares)
    text = Markup(
        "Workers were busy <b>{:.0%}</b> of the time between the first and the last task"
    ).format(found.mean)
    if len(shares) > 1:
        text += f", the least {shares.min():.0%}, the most {shares.max():.0%}"
    names = [worker for _, worker in found.workers]
    caption = ""
    if len(names) > figures.MOST_LANES:
        order = np.argsort(shares)[: figures.MOST_LANES]
        caption = f"The {len(order)} least busy of {len(names):,} workers."
        names, shares = [names[k] for k in order], shares[order]
    each = plots.rows(names, shares.tolist(), "share of the time busy", percent=True,
                      x_range=(0, 1), caption=caption, half=True)  # fmt: skip
    over_time = figures.busy(runs, len(found.workers), run.begins)
    held = f" In core-seconds, from a pilot's start to its end: {run.usage}." if run.usage else ""
    return Section("Worker utilisation", text + "." + held, [each, over_time])


def stragglers(run: RunRecord) -> Section | None:
    """Return the section about what went wrong or slow, None without tasks."""
    if run.tasks is None or not len(run.tasks.runs):
        return None
    tasks, runs = run.tasks, run.tasks.runs
    found = measures.stragglers(runs)
    count, lost = sum(len(one.rows) for one in found), sum(one.lost_s for one in found)
    busy = float(runs.run_s.sum())
    text = Markup(
        "<b>{:,}</b> of {:,} runs took over {} times the median of their group; beyond it they "
        "took {} ({:.1%} of all run time). {}"
    ).format(
        count, len(runs), measures.STRAGGLES, readable_s(lost), lost / busy if busy else 0.0,
        _troubled(tasks.counts),
    )  # fmt: skip
    ratios = _ratios(runs, found)
    elements = []
    if ratios:
        elements.append(plots.histogram(
            {"runs": ratios}, "medians of its group", "runs", log_x=True,
            references=[Reference(measures.STRAGGLES, "straggles", "x")], half=True,
        ))  # fmt: skip
    rows = [
        [s.group, s.runs, readable_s(s.median_s), len(s.rows), readable_s(s.worst_s),
         readable_s(s.lost_s)]
        for s in found[:MOST_ROWS]
    ]  # fmt: skip
    headers = ["tasks", "runs", "median", "stragglers", "worst", "lost"]
    elements.append(table(headers, rows, first_of(rows, len(found), "groups"), half=bool(ratios)))
    if tasks.troubles:
        elements.append(_trouble_table(run))
    return Section("Stragglers, duplicates and retries", text, elements)


def _ratios(runs: Any, found: Sequence[measures.Stragglers]) -> list[float]:
    """Return run times over the median of their group, of groups that have one."""
    medians = {one.group: one.median_s for one in found if one.median_s > 0}
    pairs = zip(measures.groups_of(runs), runs.run_s.tolist(), strict=True)
    return [seconds / medians[group] for group, seconds in pairs if group in medians]


def _troubled(counts: Mapping[str, int]) -> str:
    names = {
        "duplicate": "duplicate",
        "lost": "loss of a worker or pilot",
        "raised": "retry after an exception",
        "failed": "failure",
        "cut off": "task cut off by a failure",
    }
    plural = {"loss of a worker or pilot": "losses of workers or pilots",
              "retry after an exception": "retries after exceptions",
              "task cut off by a failure": "tasks cut off by failures"}  # fmt: skip
    words = [
        f"{counts[kind]} {name if counts[kind] == 1 else plural.get(name, f'{name}s')}"
        for kind, name in names.items()
        if counts.get(kind)
    ]
    if not words:
        return "No task was duplicated, retried or lost."
    return f"Recorded: {joined(words)}."


def _trouble_table(run: RunRecord) -> Element:
    assert run.tasks is not None
    words = {"lost": "lost, run again", "raised": "raised, run again"}
    rows = [
        [
            f"{one.time - run.begins:.1f}",
            one.name,
            words.get(one.kind, one.kind),
            one.pilot,
            " ".join(one.reason.split())[:300],
        ]
        for one in sorted(run.tasks.troubles, key=lambda one: one.time)[:MOST_ROWS]
    ]
    total = sum(run.tasks.counts.values())
    return table(["second", "task", "what", "pilot", "why"], rows, first_of(rows, total, "of them"))


def devices(run: RunRecord) -> Section | None:
    """Return the section about the devices of pilots, None if circuits ran on none."""
    if not run.shares:
        return None
    busy = dict.fromkeys((share.pilot for share in run.shares), 0.0)
    for share in run.shares:
        busy[share.pilot] += share.device_s
    seconds, busiest = max((seconds, pilot) for pilot, seconds in busy.items())
    shots = int(sum(share.shots for share in run.shares))
    text = Markup(
        "<b>{:,}</b> shots ran on {}; the busiest, {}, was to take {} of its own time."
    ).format(shots, counted(len(busy), "device"), busiest, readable_s(seconds))
    if run.device_usage:
        text += f" Devices themselves were used for {run.device_usage}."
    rows = [
        [
            share.fragment,
            share.pilot,
            None if math.isnan(share.error) else f"{share.error:.2%}",
            int(share.circuits),
            int(share.shots),
            readable_s(share.device_s),
        ]
        for share in run.shares[:MOST_ROWS]
    ]
    headers = ["fragment", "device", "predicted error", "circuits", "shots", "device time"]
    elements = [table(headers, rows, first_of(rows, len(run.shares), "of them"))]
    if run.moved:
        parts = sum(one.parts for one in run.moved)
        text += f" {counted(parts, 'part')} went to another device, for theirs had ended."
        moves = [[one.fragment, one.start, one.end, one.parts] for one in run.moved[:MOST_ROWS]]
        caption = first_of(moves, len(run.moved), "of them")
        elements.append(table(["fragment", "from", "to", "parts"], moves, caption, half=True))
    return Section("Devices", text, elements)
