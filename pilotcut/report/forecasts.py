"""Section about forecasts: predictions against what was measured, and the recommendation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from pilotcut.report import measures, plots
from pilotcut.report.numbers import number_in
from pilotcut.report.page import Element, Section, table
from pilotcut.report.plots import Series
from pilotcut.report.run_record import RunRecord
from pilotcut.report.words import MOST_ROWS, joined, listed, readable_s

#: Points of a figure of all batches; of more a part is shown.
_MOST_POINTS = 2000


def predictions(run: RunRecord) -> Section | None:
    """Return the section about what was predicted, None if nothing was."""
    found = None if run.batches is None else measures.predictions(run.batches)
    recommendation = run.recommendation
    if found is None and recommendation is None:
        return None
    elements, text = [], ""
    if found is not None:
        text = Markup(
            "Batches took <b>{:.2f} times</b> what was predicted ({} measured, {} predicted); "
            "{:.0%} of {:,} were within a factor of 1.5."
        ).format(
            found.ratio, readable_s(float(found.measured_s.sum())),
            readable_s(float(found.predicted_s.sum())), found.within(1.5), len(found.rows),
        )  # fmt: skip
        elements.append(_scatter(run, found))
    if recommendation is not None:
        reason = str(recommendation.get("reason") or "")
        text += f" The recommendation was: {reason}." if reason else ""
        elements += _candidates(recommendation)
    return Section("Predictions against measurements", text.strip(), elements)


def _scatter(run: RunRecord, found: measures.Predictions) -> Element:
    assert run.batches is not None
    step = max(1, math.ceil(len(found.rows) / _MOST_POINTS))
    sources = np.array(run.batches.source)[found.rows]
    series = []
    for source in dict.fromkeys(sources.tolist()):
        some = np.flatnonzero(sources == source)[::step]
        series.append(Series(source, found.predicted_s[some].tolist(),
                             found.measured_s[some].tolist()))  # fmt: skip
    caption = f"Every {step}th of {len(found.rows):,} batches." if step > 1 else ""
    return plots.points(series, "predicted seconds", "measured seconds", diagonal=True, log=True,
                        caption=caption, half=True)  # fmt: skip


def _candidates(recommendation: Mapping[str, Any]) -> Iterator[Element]:
    """Yield the candidates of a recommendation, with how sure it was of their seconds."""
    some = [c for c in recommendation["candidates"] if isinstance(c, dict)]
    queries = recommendation.get("queries", "?")
    timed = [c for c in some if not math.isnan(number_in(c, "seconds"))]
    if timed:
        names = [str(c.get("cuts", "?")) for c in timed]
        ends = {"predicted": [(number_in(c, "low_s"), number_in(c, "high_s")) for c in timed]}
        yield plots.bars(
            names, {"predicted": [number_in(c, "seconds") for c in timed]}, "predicted seconds",
            x_label="cuts", errors=ends, half=True,
            caption=f"For {queries} parameter sets, with the range it may be in.",
        )  # fmt: skip
    chosen = recommendation.get("chosen")
    cuts = chosen.get("cuts") if isinstance(chosen, dict) else None
    rows = [
        [
            f"{c.get('cuts', '?')}{' (chosen)' if c.get('cuts') == cuts else ''}",
            listed(c.get("widths") or []),
            readable_s(number_in(c, "seconds")),
            number_in(c, "sampling_overhead"),
            number_in(c, "standard_error"),
            "yes"
            if c.get("feasible")
            else joined([str(lack) for lack in c.get("lacks") or ["no"]]),
        ]
        for c in some[:MOST_ROWS]
    ]
    headers = ["cuts", "fragments", "predicted", "overhead γ²", "standard error", "feasible"]
    yield table(headers, rows)
