"""Figures of the usual kinds, as elements of a page: lines, bars, histograms, points.

Every figure shows values on hovering. None of it knows what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotcut.report.page import LIGHT, Element, Key, figure
from pilotcut.report.plot_frame import (
    COLOURS,
    HEIGHT,
    Reference,
    blank,
    colour_of,
    draw_reference,
    format_numbers,
    hover,
    set_range,
    source_of,
)

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812

#: Points of a line that has markers, and bins of a histogram.
_MOST_MARKERS, _BINS = 60, 40
_BETWEEN = "#7d8590"
#: Letters of names below bars that fit on a phone.
_MOST_LETTERS = 34


@dataclass(frozen=True)
class Series:
    """Series of a figure: a line, or points, with an error band if there is one.

    Parameters
    ----------
    name
        For the legend; lines of one name are hidden together.
    x, y
        Where it goes; gaps where y is NaN or None.
    low, high
        An error band around it, if known.
    colour
        Number of its colour, or "muted"; its place among the series if None.
    dashed
        Draw it dashed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    colour: int | str | None = None
    dashed: bool = False


def lines(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    caption: str = "",
    references: Sequence[Reference] = (),
    log_y: bool = False,
    y_range: tuple[float | None, float | None] | None = None,
    percent: bool = False,
    height: int = HEIGHT,
    half: bool = False,
) -> Element:
    """Return lines with error bands; `y` is a share, shown in percent if `percent`.

    Markers are drawn where points are few.
    """
    plot = blank(x_label, y_label, height=height, log_y=log_y, percent=percent)
    set_range(plot.y_range, *(y_range or (None, None)))
    drawn = []
    for number, one in enumerate(series):
        colour = number % COLOURS if one.colour is None else one.colour
        is_dashed = one.dashed or (one.colour is None and number >= COLOURS)
        drawn.append(replace(one, colour=colour, dashed=is_dashed))
    if all(float(x).is_integer() for one in drawn for x in one.x):
        axis: Any = plot.xaxis
        axis.ticker.min_interval = 1.0  # no epoch 1.5
    for one in drawn:
        _draw_line(plot, one, percent)
    for reference in references:
        draw_reference(plot, reference)
    keys = [Key(one.name, one.colour or 0, one.dashed) for one in drawn]
    legend = list(dict.fromkeys(keys)) if len(keys) > 1 else []
    return figure(plot, caption, legend, half=half)


def _draw_line(plot: Figure, one: Series, percent: bool) -> None:
    colour = colour_of(one.colour or 0)
    data = {"x": _numbers(one.x), "y": _numbers(one.y)}
    source = source_of(data | {"name": [one.name] * len(one.x)})
    if one.low is not None and one.high is not None:
        band = {"x": data["x"], "low": _numbers(one.low), "high": _numbers(one.high)}
        plot.varea("x", "low", "high", source=source_of(band), fill_color=colour, fill_alpha=0.18,
                   name=one.name)  # fmt: skip
    dash = "dashed" if one.dashed else "solid"
    drawn: Any = plot.line("x", "y", source=source, line_color=colour, line_width=2, line_dash=dash,
                      line_join="round", name=one.name)  # fmt: skip
    if len(one.x) <= _MOST_MARKERS:
        drawn = plot.scatter("x", "y", source=source, size=6, fill_color=colour, name=one.name,
                             line_color=LIGHT["card"], line_width=1)  # fmt: skip
    value = "@y{0.0%}" if percent else "@y{0.[0000]a}"
    x_label, y_label = (str(axis[0].axis_label or "") for axis in (plot.xaxis, plot.yaxis))
    hover(plot, [drawn], [("", "@name"), (x_label, "@x{0.[000]a}"), (y_label, value)])


def bars(
    categories: Sequence[str],
    groups: Mapping[str, Sequence[float | None]],
    y_label: str,
    *,
    x_label: str = "",
    caption: str = "",
    stacked: bool = False,
    errors: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    references: Sequence[Reference] = (),
    colours: Sequence[int | str] | None = None,
    log_y: bool = False,
    percent: bool = False,
    half: bool = False,
) -> Element:
    """Return upright bars: for every category one of each group, side by side or stacked.

    Parameters
    ----------
    categories
        Names below the bars; those that come twice get a number.
    groups
        For each name of the legend one value a category; None leaves a bar out.
    errors
        Of groups not stacked: from where to where each bar may end, by group.
    """
    names = _unique(categories)
    plot = blank(x_label, y_label, log_y=log_y, percent=percent, x_range=names)
    chosen = list(colours) if colours is not None else [k % COLOURS for k in range(len(groups))]
    floor = _floor(groups) if log_y else 0.0
    bottoms = np.full(len(names), floor)
    width = 0.72 if stacked or len(groups) < 2 else 0.8 / len(groups)
    for number, (group, values) in enumerate(groups.items()):
        heights = _numbers(values)
        shift = 0.0 if stacked else (number - (len(groups) - 1) / 2) * width
        # What is not known has no height: NaN would take along all that is stacked on it.
        tops = np.where(np.isnan(heights), bottoms, bottoms + heights if stacked else heights)
        data = {
            "x": [(name, shift) for name in names],
            "bottom": bottoms.copy(),
            "top": tops,
            "value": heights,
            "category": list(categories),
            "name": [group] * len(names),
        }
        drawn = plot.vbar("x", bottom="bottom", top="top", width=width * 0.94, name=group,
                          source=source_of(data), fill_color=colour_of(chosen[number]),
                          line_color=LIGHT["card"], line_width=0.6)  # fmt: skip
        value = "@value{0.0%}" if percent else "@value{0.[0000]a}"
        hover(plot, [drawn], [("", "@category"), ("@name", value)])
        if errors and group in errors:
            _draw_errors(plot, data["x"], errors[group], group)
        if stacked:
            bottoms = tops
    for reference in references:
        draw_reference(plot, reference)
    if not log_y:
        set_range(plot.y_range, 0)
    if errors:  # which Bokeh does not look at
        highs = [high for ends in errors.values() for _, high in ends]
        known = [v for values in groups.values() for v in values if v is not None]
        top = _finite(_numbers([*highs, *known]), False).max(initial=0.0)
        set_range(plot.y_range, end=1.05 * top or None)
    if len(names) * max(map(len, names), default=0) > _MOST_LETTERS:
        plot.xaxis.major_label_orientation = 0.7
    legend = [Key(name, colour) for name, colour in zip(groups, chosen, strict=False)]
    return figure(plot, caption, legend if len(legend) > 1 else (), half=half)


def _draw_errors(plot: Figure, x: Any, ends: Sequence[tuple[float, float]], name: str) -> None:
    from bokeh.models.annotations import TeeHead, Whisker

    low, high = zip(*ends, strict=True) if ends else ((), ())
    source = source_of({"x": x, "low": _numbers(low), "high": _numbers(high)})
    # Bokeh does not draw heads anew when their colour changes: one that suits light and dark.
    style: dict[str, Any] = {"line_color": _BETWEEN, "line_width": 1.3}
    heads: dict[str, Any] = {
        "upper_head": TeeHead(size=7, **style),
        "lower_head": TeeHead(size=7, **style),
    }
    plot.add_layout(Whisker(base="x", lower="low", upper="high", source=source, name=name,
                            level="annotation", **style, **heads))  # fmt: skip


def rows(
    categories: Sequence[str],
    values: Sequence[float],
    x_label: str,
    *,
    caption: str = "",
    percent: bool = False,
    x_range: tuple[float, float] | None = None,
    half: bool = False,
) -> Element:
    """Return bars that lie, the first on top: for many categories or long names."""
    names = _unique(categories)
    plot = blank(x_label, "", height=70 + 26 * len(names), y_range=list(reversed(names)))
    data = {"y": names, "right": _numbers(values), "category": list(categories)}
    drawn = plot.hbar("y", right="right", height=0.7, source=source_of(data),
                      fill_color=colour_of(0), line_color=None)  # fmt: skip
    hover(plot, [drawn], [("@category", "@right{0.0%}" if percent else "@right{0.[0000]a}")])
    set_range(plot.x_range, 0)
    if x_range is not None:
        set_range(plot.x_range, *x_range)
    format_numbers(plot.xaxis, percent)
    plot.ygrid.grid_line_color = None
    plot.xgrid.grid_line_color = LIGHT["line"]
    return figure(plot, caption, half=half)


def histogram(
    values: Mapping[str, Sequence[float]],
    x_label: str,
    y_label: str,
    *,
    caption: str = "",
    log_x: bool = False,
    percent: bool = False,
    references: Sequence[Reference] = (),
    half: bool = False,
) -> Element:
    """Return how often values occur, those of several groups on each other.

    `percent` tells the values, which are shares, in percent.
    """
    every = _finite(np.concatenate([_numbers(some) for some in values.values()]), log_x)
    edges = _edges(every, log_x)
    counts = {
        name: np.histogram(_finite(_numbers(some), log_x), edges)[0].tolist()
        for name, some in values.items()
    }
    return layers(edges.tolist(), counts, x_label, y_label, caption=caption, log_x=log_x,
                  percent_x=percent, references=references, half=half)  # fmt: skip


def layers(
    edges: Sequence[float],
    heights: Mapping[str, Sequence[float]],
    x_label: str,
    y_label: str,
    *,
    caption: str = "",
    log_x: bool = False,
    percent: bool = False,
    percent_x: bool = False,
    y_range: tuple[float | None, float | None] | None = None,
    references: Sequence[Reference] = (),
    colours: Sequence[int | str] | None = None,
    half: bool = False,
) -> Element:
    """Return bars from edge to edge, those of several groups on each other.

    `heights` has one value less than there are edges; `percent` tells them, `percent_x` the
    edges, in percent.
    """
    plot = blank(x_label, y_label, log_x=log_x, percent=percent)
    ends = _numbers(edges)
    chosen = list(colours) if colours is not None else [k % COLOURS for k in range(len(heights))]
    bottoms = np.zeros(len(ends) - 1)
    value = "@value{0.0%}" if percent else "@value{0,0.[000]a}"
    between = "{0.0%}" if percent_x else "{0.[000]a}"
    for colour, (name, some) in zip(chosen, heights.items(), strict=True):
        values = np.nan_to_num(_numbers(some))
        data = {"left": ends[:-1], "right": ends[1:], "bottom": bottoms, "top": bottoms + values,
                "value": values, "name": [name] * len(values)}  # fmt: skip
        # Bars without gaps where they are many: lines between them would cover them.
        edge = LIGHT["card"] if len(values) <= 60 else None
        style: dict[str, Any] = {"fill_color": colour_of(colour), "line_color": edge}
        drawn = plot.quad("left", "right", "top", "bottom", source=source_of(data), name=name,
                          line_width=0.5, **style)  # fmt: skip
        where = f"@left{between} to @right{between}"
        hover(plot, [drawn], [("@name", value), (x_label, where)])
        bottoms = bottoms + values
    format_numbers(plot.xaxis, percent_x)
    set_range(plot.y_range, 0)
    set_range(plot.y_range, *(y_range or (None, None)))
    for reference in references:
        draw_reference(plot, reference)
    legend = [Key(name, colour) for name, colour in zip(heights, chosen, strict=True)]
    return figure(plot, caption, legend if len(legend) > 1 else (), half=half)


def points(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    caption: str = "",
    diagonal: bool = False,
    log: bool = False,
    half: bool = False,
) -> Element:
    """Return points without lines, over the diagonal where both axes measure the same."""
    plot = blank(x_label, y_label, log_x=log, log_y=log)
    if diagonal:
        from bokeh.models.annotations import Slope

        every = np.concatenate([_numbers(a) for s in series for a in (s.x, s.y)])
        every = _finite(every, log)
        if log and len(every):  # a straight line on logarithmic axes only from point to point
            ends = [every.min() / 1.2, every.max() * 1.2]
            plot.line(ends, ends, line_color=LIGHT["cmuted"], line_dash="dashed")
        else:
            plot.add_layout(Slope(gradient=1, y_intercept=0, line_color=LIGHT["cmuted"],
                                  line_dash="dashed"))  # fmt: skip
    for number, one in enumerate(series):
        colour = number % COLOURS if one.colour is None else one.colour
        data = {"x": _numbers(one.x), "y": _numbers(one.y), "name": [one.name] * len(one.x)}
        source = source_of(data)
        drawn = plot.scatter("x", "y", source=source, size=7, fill_alpha=0.6, name=one.name,
                             fill_color=colour_of(colour), line_color=None)  # fmt: skip
        hover(
            plot, [drawn], [("", "@name"), (x_label, "@x{0.[0000]a}"), (y_label, "@y{0.[0000]a}")]
        )
    legend = [
        Key(one.name, number % COLOURS if one.colour is None else one.colour)
        for number, one in enumerate(series)
    ]
    return figure(plot, caption, legend if len(legend) > 1 else (), half=half)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _finite(values: np.ndarray, positive: bool) -> np.ndarray:
    values = values[np.isfinite(values)]
    return values[values > 0] if positive else values


def _edges(values: np.ndarray, log: bool) -> np.ndarray:
    """Return the ends of the bins, also for no values, or for one many times."""
    if not len(values):
        return np.array([1.0, 2.0])
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = (low, high) if high > low * 1.001 else (low / 1.1, high * 1.1)
        return np.geomspace(low, high, _BINS + 1)
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-9):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return np.linspace(low, high, _BINS + 1)


def _floor(groups: Mapping[str, Sequence[float | None]]) -> float:
    """Return where bars begin on a logarithmic axis: below the least of them."""
    every = [_finite(_numbers(values), True) for values in groups.values()]
    least = [float(some.min()) for some in every if len(some)]
    return min(least, default=1.0) / 2


def _unique(names: Sequence[str]) -> list[str]:
    """Return names, numbered where they would be the same."""
    found: list[str] = []
    for name in names:
        unique, number = name, 2
        while unique in found:
            unique, number = f"{name} ({number})", number + 1
        found.append(unique)
    return found
