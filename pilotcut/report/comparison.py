"""Sections that compare runs: a table with a row each, curves laid over each other, stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from pilotcut.io.jsonl import STAGES
from pilotcut.report import measures, plot_frame, plots
from pilotcut.report.figures import STAGE_COLOURS
from pilotcut.report.learning import curves
from pilotcut.report.page import Element, Section, table
from pilotcut.report.run_record import RunRecord
from pilotcut.report.words import joined, listed, readable_s, sentence, setting


def comparison(runs: Sequence[RunRecord], names: Sequence[str]) -> Iterator[Section]:
    """Yield the sections about several runs."""
    heads = [measures.headlines(run) for run in runs]
    rows = []
    for run, name, head in zip(runs, names, heads, strict=True):
        widths = run.widths
        rate = head.queries / head.seconds if head.seconds and head.queries else math.nan
        asked = "" if head.epochs_asked is None else f" of {head.epochs_asked}"
        rows.append([
            name, setting(run.config.get("dataset")), setting(run.config.get("mode")),
            run.cuts, listed(widths) or "–",
            f"{head.epochs}{asked}", head.loss,
            None if math.isnan(head.accuracy) else f"{head.accuracy:.1%}",
            readable_s(head.seconds), rate,
            None if math.isnan(head.reconstruction) else f"{head.reconstruction:.1%}",
            None if math.isnan(head.busy) else f"{head.busy:.0%}",
        ])  # fmt: skip
    headers = ["run", "data", "mode", "cuts", "fragments", "epochs", "loss", "accuracy", "time",
               "queries/s", "reconstruction", "busy"]  # fmt: skip
    yield Section("The runs side by side", _compared(heads, names), [table(headers, rows)])
    yield from _overlaid(runs, names)
    yield from _stage_bars(runs, names)


def _compared(heads: Sequence[measures.Headlines], names: Sequence[str]) -> str:
    words = []
    accurate = [(h.accuracy, n) for h, n in zip(heads, names, strict=True)
                if not math.isnan(h.accuracy)]  # fmt: skip
    fast = [(h.queries / h.seconds, n) for h, n in zip(heads, names, strict=True)
            if h.seconds and h.queries]  # fmt: skip
    if accurate:
        most = max(accurate)[0]
        best = [name for accuracy, name in accurate if accuracy == most]
        words.append(Markup("most accurate: <b>{}</b> ({:.1%})").format(joined(best), most))
    if fast:
        rate, name = max(fast)
        words.append(Markup("fastest: <b>{}</b> ({:.3g} queries a second)").format(name, rate))
    return sentence(words)


def _overlaid(runs: Sequence[RunRecord], names: Sequence[str]) -> Iterator[Section]:
    figures_: list[Element] = []
    for key, label in (("loss", "training loss"), ("accuracy", "test accuracy")):
        series = []
        for number, (run, name) in enumerate(zip(runs, names, strict=True)):
            wanted = {key: (name, number % plot_frame.COLOURS, number >= plot_frame.COLOURS)}
            series += curves(run, wanted)
        if series:
            is_share = key == "accuracy"
            ends = (None, 1.02) if is_share else None
            figures_.append(plots.lines(series, "epoch", label, percent=is_share, y_range=ends,
                                        half=True))  # fmt: skip
    if figures_:
        yield Section("Loss and accuracy, overlaid", "Runs can be hidden in the legend.", figures_)


def _stage_bars(runs: Sequence[RunRecord], names: Sequence[str]) -> Iterator[Section]:
    shown = [(n, r) for n, r in zip(names, runs, strict=True) if r.batches is not None]
    if not shown:
        return
    seconds = [measures.stage_seconds(run) for _, run in shown]
    queries = [max(measures.headlines(run).queries, 1) for _, run in shown]
    each = {
        stage: [1000 * s[stage] / q for s, q in zip(seconds, queries, strict=True)]
        for stage in STAGES
    }
    shares = {stage: [s[stage] / (sum(s.values()) or 1.0) for s in seconds] for stage in STAGES}
    labels = [name for name, _ in shown]
    yield Section(
        "Stages, side by side",
        "Milliseconds of each stage for one query, and each stage's share.",
        [
            plots.bars(labels, each, "milliseconds a query", stacked=True, half=True,
                       colours=STAGE_COLOURS),
            plots.bars(labels, shares, "share", stacked=True, percent=True, half=True,
                       colours=STAGE_COLOURS),
        ],
    )  # fmt: skip
