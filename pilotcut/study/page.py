"""Report of a study: one page, a section for every question, its answer above its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pilotcut.report import plot_frame, plots
from pilotcut.report.page import Element, Page, Tile, note, table, text
from pilotcut.study.findings import Findings, Plot, PlotSeries, Table, Verdict


def save_page(found: Sequence[Findings], heading: str, about: str, path: Path) -> Path:
    """Write the page, which stands by itself, and return its path."""
    page = Page(heading, about, "pilotcut study")
    verdicts = [verdict for one in found for verdict in one.verdicts]
    met = sum(verdict.met for verdict in verdicts)
    missing = sum(one.missing for one in found)
    page.tiles(
        Tile("questions", str(len(found))),
        Tile("claims met", f"{met} of {len(verdicts)}"),
        Tile("cells missing", str(missing)),
    )
    for one in found:
        page.section(one.title, one.answer, *_elements(one))
    return page.save(path)


def _elements(one: Findings) -> Iterator[Element]:
    yield note(f"Measured in {one.mode}.")
    yield text(f"Published: {one.published}.")
    if one.missing:
        yield note(f"{one.missing} cells are missing; start the study again to measure them.")
    if one.verdicts:
        yield _verdicts(one.verdicts)
    for plot in one.plots:
        yield _figure(plot)
    for shown in one.tables:
        yield _table(shown)


def _verdicts(verdicts: Sequence[Verdict]) -> Element:
    rows = [("met" if v.met else "NOT met", v.claim, v.measured) for v in verdicts]
    return table(["", "claim", "measured"], rows)


def _table(shown: Table) -> Element:
    caption = f"{shown.title}. {shown.note}".strip()
    return table(shown.columns, shown.texts(), caption)


def _figure(plot: Plot) -> Element:
    references = [plot_frame.Reference(value, name) for name, value in plot.references.items()]
    if plot.kind == "bars":
        names = [str(x) for x in dict.fromkeys(x for one in plot.series for x in one.x)]
        return plots.bars(
            names,
            {one.name: _by_name(one, names) for one in plot.series},
            plot.y_label,
            x_label=plot.x_label,
            caption=plot.title,
            references=references,
            log_y=plot.log_y,
            half=True,
        )
    return plots.lines(
        [_line(one) for one in plot.series],
        plot.x_label,
        plot.y_label,
        caption=plot.title,
        references=references,
        log_y=plot.log_y,
        half=True,
    )


def _by_name(series: PlotSeries, names: Sequence[str]) -> list[float | None]:
    values = {str(x): y for x, y in zip(series.x, series.y, strict=True)}
    return [values.get(name) for name in names]


def _line(series: PlotSeries) -> plots.Series:
    x = [float(value) for value in series.x]
    return plots.Series(series.name, x, series.y, series.low or None, series.high or None)
