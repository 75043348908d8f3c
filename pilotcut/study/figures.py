"""Plots as pictures, with matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pilotcut.study.findings import Plot, PlotSeries

#: Okabe and Ito's palette, which the colour-blind tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")


def save_picture(plot: Plot, place: Path) -> None:
    """Write a plot as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw = _bars if plot.kind == "bars" else _lines
    draw(axes, plot)
    for name, value in plot.references.items():
        axes.axhline(value, linestyle="--", color="0.4", linewidth=1)
        axes.annotate(
            name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=8, color="0.3",
        )  # fmt: skip
    if plot.log_y:
        axes.set_yscale("log")
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    if len(plot.series) > 1:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(place, dpi=150)


def _lines(axes, plot: Plot) -> None:  # type: ignore[no-untyped-def]
    for color, series in zip(_colors(len(plot.series)), plot.series, strict=True):
        axes.plot(series.x, series.y, marker="o", markersize=4, color=color, label=series.name)
        if series.low:
            axes.fill_between(series.x, series.low, series.high, color=color, alpha=0.15)


def _bars(axes, plot: Plot) -> None:  # type: ignore[no-untyped-def]
    names = list(dict.fromkeys(x for series in plot.series for x in series.x))
    width = 0.8 / len(plot.series)
    for k, (color, series) in enumerate(zip(_colors(len(plot.series)), plot.series, strict=True)):
        places = np.array([names.index(x) for x in series.x]) + (k + 0.5) * width - 0.4
        axes.bar(places, series.y, width, color=color, label=series.name, yerr=_reach(series))
    axes.set_xticks(range(len(names)), [str(name) for name in names])


def _reach(series: PlotSeries) -> np.ndarray | None:
    """Return how far error bars go down and up."""
    if not series.low:
        return None
    y = np.asarray(series.y)
    return np.abs([y - np.asarray(series.low), np.asarray(series.high) - y])


def _colors(count: int) -> list[str]:
    return [PALETTE[k % len(PALETTE)] for k in range(count)]
