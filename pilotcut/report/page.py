"""HTML page that stands by itself: sections of figures, tables, tiles and drawings.

The page loads nothing: styles, scripts and figures are in the file, and its content security
policy forbids the network. It adapts to the width, and to light and dark, figures included.

    page = Page("iris, 2 cuts", "120 queries on 2 workers")
    page.tiles(Tile("test accuracy", "95.0 %", "after 10 epochs"), Tile("time", "1 min 20 s"))
    page.section(
        "Loss",                                     # its heading, and its place in the contents
        "The loss fell from 1.14 to 0.52.",         # one sentence that answers, above the figure
        plots.lines([Series("training", epochs, losses)], "epoch", "loss", half=True),
        table(["epoch", "loss"], rows, caption="All epochs"),
    )
    page.chapter("Run B", "another")                # a heading above the sections that follow
    page.save("page.html")                          # atomically; UserError if it cannot be written

Elements are values: `figure(bokeh_model, caption, legend, half)`, `table(headers, rows, caption)`,
`tiles(*Tile)`, `text(words)`, `note(words)` (set apart: what is missing, and why), and
`svg(markup, caption)` for markup that the caller answers for. `pilotcut.report.plots` makes
figures of the usual kinds. Everything else is text and is escaped; a caller who needs bold words
gives `markupsafe.Markup("<b>{}</b>").format(value)`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pilotcut import __version__
from pilotcut.errors import UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten

if TYPE_CHECKING:
    from bokeh.model import Model


#: The colours of a page, light and dark: ground, text, and c0 to c6 for series. Those are Okabe
#: and Ito's, which the colour-blind can tell apart, darkened or lightened for the ground.
LIGHT = {
    "ground": "#f6f7f8",
    "card": "#ffffff",
    "ink": "#1a1e23",
    "muted": "#5a6470",
    "line": "#e1e4e8",
    "accent": "#0b62a8",
    "c0": "#0072b2",
    "c1": "#d55e00",
    "c2": "#00875f",
    "c3": "#b0508a",
    "c4": "#b57d00",
    "c5": "#3b93d1",
    "c6": "#6b6f76",
    "cmuted": "#a2aab3",
}
DARK = {
    "ground": "#0f1216",
    "card": "#171b21",
    "ink": "#e7eaee",
    "muted": "#9ba6b2",
    "line": "#2b323b",
    "accent": "#6cb8f5",
    "c0": "#4da6e0",
    "c1": "#ff8a4c",
    "c2": "#2fc093",
    "c3": "#e59cc8",
    "c4": "#e9b44c",
    "c5": "#93d0fb",
    "c6": "#a4a9b1",
    "cmuted": "#5d6670",
}

# -- elements --------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """Headline number: what it is, the number, and a word about it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Key:
    """Entry of a legend: a name, and the place of its colour in the palette.

    Parameters
    ----------
    name
        What it is called; renderers of that `name` are hidden and shown by a click on it.
    colour
        Number of the colour, or "muted".
    dashed
        Whether its line is.
    """

    name: str
    colour: int | str
    dashed: bool = False


@dataclass(frozen=True)
class Element:
    """Part of a section: a figure, a table, tiles, a paragraph or a drawing.

    Parameters
    ----------
    kind
        Which part of the template shows it.
    content
        What that needs.
    caption
        A line below it.
    half
        Whether two of them share a row where there is room.
    """

    kind: str
    content: Any
    caption: str = ""
    half: bool = False
    legend: tuple[Key, ...] = ()


def figure(
    model: Model, caption: str = "", legend: Iterable[Key] = (), *, half: bool = False
) -> Element:
    """Return a figure of Bokeh, with the page's legend above it."""
    return Element("figure", model, caption, half, tuple(legend))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    caption: str = "",
    *,
    half: bool = False,
) -> Element:
    """Return a table; columns of numbers, or of texts that begin with one, stand to the right."""
    body = [[_said(value) for value in row] for row in rows]
    numeric = [_are_numbers([row[k] for row in body if k < len(row)]) for k in range(len(headers))]
    content = {"headers": list(zip(headers, numeric, strict=True)), "rows": body}
    content["numeric"] = numeric
    return Element("table", content, caption, half)


def tiles(*found: Tile) -> Element:
    """Return a row of headline numbers."""
    return Element("tiles", found)


def text(words: str) -> Element:
    """Return a paragraph."""
    return Element("text", words)


def note(words: str) -> Element:
    """Return a paragraph set apart, such as why something is not here."""
    return Element("note", words)


def svg(markup: str, caption: str = "") -> Element:
    """Return a drawing, which scrolls by itself where it is wider than the page."""
    return Element("svg", Markup(markup[max(markup.find("<svg"), 0) :]), caption)


def _said(value: object) -> object:
    """Return a cell's text; numbers to four digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else str(value)


#: A number, and words behind it such as its unit; no list of numbers.
_NUMBER = re.compile(r"[-−+±<]?\d[\d.,]*(e[+-]?\d+)?( ?[^\d\s,][^,]*)?")


def _are_numbers(cells: Sequence[object]) -> bool:
    texts = [str(cell) for cell in cells if cell != "–"]
    return bool(texts) and all(_NUMBER.fullmatch(cell) for cell in texts)


# -- the page --------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """Section of a page: a heading, a sentence that answers, and what shows it.

    Parameters
    ----------
    level
        1 for a heading above the sections that follow, 2 for one of them.
    """

    title: str
    text: str = ""
    elements: Sequence[Element] = ()
    level: int = 2


@dataclass
class Page:
    """A page under way.

    Parameters
    ----------
    title, subtitle
        The heading, and the line below it.
    kicker
        A few words above the heading: what kind of page this is.
    """

    title: str
    subtitle: str = ""
    kicker: str = "pilotcut"
    _head: tuple[Tile, ...] = field(default=(), init=False)
    _sections: list[Section] = field(default_factory=list, init=False)

    def tiles(self, *found: Tile) -> None:
        """Show headline numbers below the heading."""
        self._head = found

    def section(self, title: str, text: str = "", *elements: Element) -> None:
        """Add a section: a heading, a sentence that answers, and what shows it."""
        self.add(Section(title, text, elements))

    def chapter(self, title: str, text: str = "", *elements: Element) -> None:
        """Add a heading above the sections that follow."""
        self.add(Section(title, text, elements, level=1))

    def add(self, section: Section) -> None:
        """Add a section that is made already."""
        self._sections.append(section)

    def html(self) -> str:
        """Return the whole file."""
        numbered = _Figures()
        rendered = _template().render(
            page=self,
            head=self._head,
            sections=self._sections,
            figure=numbered.place,
            colours=Markup(_variables()),
            light=Markup(json.dumps(LIGHT)),
            style=Markup(_part("page.css")),
            script=Markup(_part("page.js")),
            made=f"{datetime.now():%Y-%m-%d %H:%M}",
            version=__version__,
        )
        # Only now are all figures known; none, and the library stays away.
        return rendered.replace("<!--figures-->", numbered.scripts(), 1)

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all, and return its path.

        Raises
        ------
        UserError
            If it cannot be written there.
        """
        return write_page(Path(path), self.html())


def write_page(path: Path, content: str) -> Path:
    """Write a file whole or not at all, and return its path.

    Raises
    ------
    UserError
        If it cannot be written there.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "Is a directory")
        write_atomically(path, content)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({why_unwritten(error, path)}), expected a file in a "
            f"directory that exists; choose another path"
        ) from None
    return path


class _Figures:
    """Figures of a page as data, and the script that draws them."""

    def __init__(self) -> None:
        self._items: list[str] = []

    def place(self, model: Model) -> str:
        """Take a figure in; return the id of the place where it will be drawn."""
        from bokeh.core.types import ID
        from bokeh.embed import json_item

        target = f"figure-{len(self._items) + 1}"
        # "<" never stands in the data: no text of a file can end the script.
        data = json.dumps(json_item(model, ID(target)), separators=(",", ":")).replace(
            "<", "\\u003c"
        )
        self._items.append(f'<script type="application/json" class="figure">{data}</script>')
        return target

    def scripts(self) -> str:
        if not self._items:
            return ""
        return "\n".join([*(f"<script>{source}</script>" for source in _library()), *self._items])


@cache
def _library() -> tuple[str, ...]:
    """Return Bokeh's own script; widgets, tables and WebGL are not needed."""
    from bokeh.resources import Resources

    return tuple(Resources(mode="inline", components=["bokeh"]).js_raw)


def _variables() -> str:
    """Return the colours as variables of CSS."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in colours.items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n"
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    # Strict: a name that is misspelt in the template is an error and no gap in the page.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_part("page.html"))


@cache
def _part(name: str) -> str:
    return files("pilotcut.report").joinpath(name).read_text(encoding="utf-8")
