"""Plot of a recommendation: time against the number of cuts, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pilotcut.perfmodel.recommendation import Recommendation
from pilotcut.report.drawing_files import check_path, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_recommendation(found: Recommendation, path: str | Path) -> Path:
    """Draw `figure_of` into a .png, .pdf or .svg file and return its path."""
    target = check_path(path)
    save_figure(figure_of(found), target, dpi=150)
    return target


def figure_of(found: Recommendation) -> Figure:
    """Return predicted seconds against the number of cuts.

    Feasible candidates are filled, others hollow; the recommended one is circled.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for line in found.lines:
        p = line.prediction
        if p is None:
            continue
        error = [[p.seconds - p.low_s], [p.high_s - p.seconds]]
        face = "tab:blue" if line.feasible else "white"
        axes.errorbar(
            line.cuts, p.seconds, yerr=error, fmt="o", color="tab:blue", mfc=face, capsize=4
        )
        label = "do not cut" if line.cuts == 0 else "+".join(map(str, line.widths))
        axes.annotate(
            label if len(label) <= 16 else f"{label[:13]}...",
            (line.cuts, p.seconds),
            textcoords="offset points",
            xytext=(7, 5),
            fontsize=8,
        )
    axes.plot(
        found.chosen.cuts, found.chosen.seconds, "o", ms=14, mfc="none", mec="tab:red", zorder=5
    )
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.15)
    axes.set_xlabel("cuts")
    options = found.options
    what = "modelled device seconds" if found.on_devices else "predicted seconds"
    axes.set_ylabel(f"{what} for {options.queries} parameter sets")
    axes.set_title(
        f"mode {options.mode} on {', '.join(found.pilots)}: circled is recommended,\n"
        f"hollow is not feasible; bars hold 90 %",
        fontsize=9,
    )
    return figure
