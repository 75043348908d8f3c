"""Frame of a figure in the looks of a page: axes, hover texts, references and colours.

Every figure is as wide as its place and draws nothing around itself; the legend is the page's.
Colours are those of `page.LIGHT`, by the number of the series; the page turns them for dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from pilotcut.report.page import LIGHT

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812

#: Number of colours of series; behind the last the first comes again, dashed.
COLOURS = 7

#: Height of a figure in pixels, unless it needs another.
HEIGHT = 280

_FONT = "system-ui, -apple-system, Roboto, Arial, sans-serif"


@dataclass(frozen=True)
class Reference:
    """Value to compare with: a dashed line across the figure.

    Parameters
    ----------
    value
        Where it is on its axis.
    label
        What it is.
    axis
        "y" for a level, "x" for a moment.
    """

    value: float
    label: str
    axis: str = "y"


def blank(
    x_label: str,
    y_label: str,
    *,
    height: int = HEIGHT,
    log_x: bool = False,
    log_y: bool = False,
    percent: bool = False,
    zoom: bool = False,
    **options: Any,
) -> Figure:
    """Return an empty figure of Bokeh in the looks of the page.

    With `zoom` it has buttons to look closer at a part of its length; other `options` are Bokeh's.
    """
    from bokeh.models import CategoricalAxis
    from bokeh.plotting import figure as make

    plot = make(
        height=height,
        sizing_mode="stretch_width",
        min_width=120,
        x_axis_type="log" if log_x else "auto",
        y_axis_type="log" if log_y else "auto",
        tools="xbox_zoom,xpan,reset" if zoom else "",
        active_drag=None,  # a finger on the figure scrolls the page
        toolbar_location="above" if zoom else None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_right=14,
        **options,
    )
    # Styles of the page do not reach into Bokeh's parts, whose roots are shadow ones.
    plot.toolbar.stylesheets = [
        ":host { background: none !important; --icon-color: var(--muted); }"
    ]
    plot.toolbar.logo = None
    plot.xaxis.axis_label, plot.yaxis.axis_label = x_label or None, y_label or None
    for axis in plot.axis:
        axis.axis_line_color = LIGHT["line"]
        axis.major_tick_line_color = LIGHT["line"]
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = LIGHT["muted"]
        axis.major_label_text_font = axis.axis_label_text_font = _FONT
        axis.major_label_text_font_size = axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color = LIGHT["line"]
    for axis, is_share in ((plot.xaxis, False), (plot.yaxis, percent)):
        if not isinstance(axis[0], CategoricalAxis):
            format_numbers(axis, is_share)
    return plot


def hover(plot: Figure, renderers: Sequence[Any], rows: Sequence[tuple[str, str]]) -> None:
    """Tell values below the pointer: pairs of a word, which may be empty, and a column as "@x".

    Columns are escaped by Bokeh, words here.
    """
    from bokeh.models import HoverTool

    words = ((word if "@" in word else escape(word), column) for word, column in rows)
    muted = '<span style="color: var(--muted)">'
    lines = "".join(f"<div>{muted}{word}</span> {column}</div>" for word, column in words)
    html = f'<div style="font: 13px/1.45 {_FONT}">{lines}</div>'
    # Not visible is its button in the toolbar; the values are told all the same.
    plot.add_tools(HoverTool(renderers=list(renderers), tooltips=html, visible=False))


def set_range(axis_range: Any, start: float | None = None, end: float | None = None) -> None:
    """Fix the ends of an axis that are not None; data decide the others."""
    if start is not None:
        axis_range.start = start
    if end is not None:
        axis_range.end = end


def draw_reference(plot: Figure, reference: Reference) -> None:
    """Draw a dashed line across the figure, with its label."""
    from bokeh.models.annotations import Label, Span

    is_level = reference.axis == "y"
    plot.add_layout(
        Span(
            location=reference.value,
            dimension="width" if is_level else "height",
            line_color=LIGHT["muted"],
            line_dash="dashed",
            line_width=1,
        )
    )
    from bokeh.models import Node

    top: dict[str, Any] = {"y": Node.frame.top, "y_offset": 2, "text_baseline": "top"}
    place: dict[str, Any] = {"x": reference.value, "x_offset": 4} | top
    if is_level:
        place = {"x": 6, "x_units": "screen", "y": reference.value, "y_offset": 2}
    plot.add_layout(
        Label(
            **place,
            text=reference.label,
            text_color=LIGHT["muted"],
            text_font=_FONT,
            text_font_size="11px",
        )
    )


def colour_of(number: int | str) -> str:
    """Return the light colour of a series."""
    return LIGHT[f"c{number % COLOURS}" if isinstance(number, int) else f"c{number}"]


def format_numbers(axis: Any, percent: bool = False) -> None:
    """Tell numbers as people do: 20,000 and not 2.0e+4."""
    from bokeh.models import NumeralTickFormatter

    axis.formatter = NumeralTickFormatter(format="0%" if percent else "0,0.[0000]")


def source_of(data: Mapping[str, Any]) -> Any:
    """Return columns as Bokeh wants them."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource(dict(data))
