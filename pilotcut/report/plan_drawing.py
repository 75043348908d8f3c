"""Drawing of a plan: the circuit in the colours of its fragments, with the cuts marked.

What stands where is `plan_layout`; here it is put on a figure of matplotlib, which is
imported only when something is drawn. One unit of the figure is one column by one qubit.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.circuits.controlled_gates import target_of
from pilotcut.cutting.fragment import Fragment, LayoutItem
from pilotcut.cutting.plan import CutPlan
from pilotcut.io.large_numbers import short_number
from pilotcut.options import counted
from pilotcut.report.drawing_files import check_path, save_figure
from pilotcut.report.plan_layout import Segment, Segments, Slot, segments, shown_columns, slots_of
from pilotcut.report.words import ranges_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from qiskit.circuit import Instruction

#: Okabe and Ito's colours, which the colour-blind can tell apart, grey for yellow; then hatches.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "oooo", "++++")

_INCHES, _DPI, _MOST_PIXELS = 0.4, 150, 8000  # of a unit; of a PNG and its longer side
_LEFT, _ENTRY = 2.0, 11.5  # units: for names of qubits, for an entry of the legend
_INK, _CUT = "#222222", "#B00020"


def draw_plan(plan: CutPlan, path: str | Path) -> Path:
    """Draw a plan into a PNG, PDF or SVG file, and return its path.

    Raises
    ------
    DrawingError
        For a suffix that is unknown, or a path that cannot be written.
    """
    path = check_path(path)
    figure = figure_of(plan)
    dpi = min(_DPI, _MOST_PIXELS / max(figure.get_size_inches()))
    fast = {"pil_kwargs": {"compress_level": 2}} if path.suffix.lower() == ".png" else {}
    with _default_style():
        save_figure(figure, path, dpi=dpi, **fast)
    return path


def figure_of(plan: CutPlan) -> Figure:
    """Return the figure of a plan: its circuit coloured by fragments, cuts marked, a legend.

    Every mark of a cut has the id ``cut-<bond>``, every fragment's box in the legend
    ``fragment-<index>`` (`matplotlib.artist.Artist.get_gid`).
    """
    laid = segments(plan)
    shown = shown_columns(laid, plan.num_qubits)
    with _default_style():
        page = _Canvas(plan, slots_of(shown, laid.width, plan.num_qubits))
        page.draw_lines(laid)
        page.draw_steps(laid)
        page.draw_title(_title(plan, laid, shown))
        page.draw_legend()
        return page.finished()


@contextmanager
def _default_style() -> Iterator[None]:
    """Draw as matplotlib does without anybody's settings: usetex would need LaTeX."""
    import matplotlib.style

    with matplotlib.style.context("default"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a label may be any letter
        yield


def _title(plan: CutPlan, laid: Segments, shown: Sequence[int]) -> str:
    qubits, cuts = counted(str(plan.num_qubits), "qubit"), counted(str(plan.num_cuts), "cut")
    pieces = counted(str(len(plan.fragments)), "fragment")
    title = f"{qubits}, {cuts}, {pieces}, γ² = {plan.sampling_overhead:.4g}"
    there = set(shown)
    steps = zip(laid.steps, laid.columns, strict=True)
    hidden = sum(step.bond is not None and column not in there for step, column in steps)
    return f"{title} ({counted(str(hidden), 'cut')} left out)" if hidden else title


class _Canvas:
    """A figure under way: its axes, and where bands, qubits and columns lie on them."""

    def __init__(self, plan: CutPlan, slots: Sequence[Slot]) -> None:
        from matplotlib.figure import Figure

        self._plan = plan
        self._slots = slots
        self._place = {slot.column: slot for slot in slots if slot.column is not None}
        bands = slots[-1].band + 1 if slots else 1
        size = max((slot.x for slot in slots), default=0) + 1
        self._pitch = plan.num_qubits + 1.4  # from band to band
        self._width = max(size + _LEFT + 0.6, _ENTRY + 1.0)
        self._per_row = max(int(self._width // _ENTRY), 1)
        rows = ceil((len(plan.fragments) + 1) / self._per_row)
        self._top, self._bottom = -2.1, bands * self._pitch - 1.4
        height = self._bottom + 0.8 * rows + 0.4 - self._top
        self._figure = Figure(figsize=(self._width * _INCHES, height * _INCHES), facecolor="white")
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(-_LEFT, self._width - _LEFT)
        self._axes.set_ylim(self._top + height, self._top)
        # What is drawn by the thousand goes into one collection a fragment.
        self._boxes: dict[int, list[Any]] = defaultdict(list)
        self._dots: dict[int, list[Any]] = defaultdict(list)
        self._strokes: dict[int, list[Any]] = defaultdict(list)
        self._signs: list[Any] = []  # of targets
        self._gaps: list[Any] = []

    def finished(self) -> Figure:
        """Return the figure, with all that was gathered on it."""
        from matplotlib.collections import PatchCollection

        for fragment in range(len(self._plan.fragments)):
            colour, hatch = style_of(fragment)
            self._add_lines(self._strokes[fragment], colors=colour, linewidths=1.5, zorder=1)
            fill: dict[str, Any] = {"edgecolor": colour, "linewidth": 1.1, "zorder": 3}
            boxes = PatchCollection(self._boxes[fragment], facecolor=_tint(colour), **fill)
            boxes.set_hatch(hatch)
            self._axes.add_collection(boxes)
            dots = PatchCollection(self._dots[fragment], facecolor=colour, **fill)
            self._axes.add_collection(dots)
        self._add_lines(self._signs, colors=_INK, linewidths=1.0, zorder=4)
        self._add_lines(self._gaps, colors=_INK, linewidths=1.5, linestyles=(0, (1, 2)), zorder=1)
        return self._figure

    def _add_lines(self, lines: Sequence[Any], **style: Any) -> None:
        from matplotlib.collections import LineCollection

        self._axes.add_collection(LineCollection(lines, **style))

    # -- qubits ------------------------------------------------------------------------

    def draw_lines(self, laid: Segments) -> None:
        """Draw every qubit's line in the colours of its fragments, with its name in each band."""
        bands = [list(slots) for _, slots in groupby(self._slots, key=lambda slot: slot.band)]
        for qubit, line in enumerate(laid.lines):
            for band, slots in enumerate(bands or [[]]):
                y = band * self._pitch + qubit
                halves = list(_halves(line, slots))
                self._draw_line(halves, y)
                known = (fragment for fragment in halves if fragment is not None)
                self._name(qubit, next(known, line[-1].fragment), y)
        for slot in self._slots:
            if slot.left_out:
                self._draw_gap(slot)

    def _draw_line(self, halves: Sequence[int | None], y: float) -> None:
        x, before = 0.0, halves[0] if halves else None
        for fragment, run in groupby(halves):
            end = x + len(list(run)) / 2
            if fragment is not None:
                self._strokes[fragment].append([(x, y), (end, y)])
                if before not in (None, fragment):
                    label = self._plan.fragments[fragment].label[:3]
                    self._text(x + 0.25, y + 0.26, label, 7, weight="bold")
            x, before = end, fragment

    def _name(self, qubit: int, fragment: int, y: float) -> None:
        self._text(-0.95, y, f"q{qubit}", 8.5, ha="right")
        self._chip(-0.45, y, fragment)

    def _chip(self, x: float, y: float, fragment: int) -> Any:
        """Draw a fragment's box with its label, as in the legend."""
        from matplotlib.patches import Rectangle

        colour, hatch = style_of(fragment)
        chip = Rectangle((x - 0.33, y - 0.26), 0.66, 0.52, facecolor=_tint(colour), hatch=hatch)
        chip.set(edgecolor=colour, linewidth=0.8)
        self._axes.add_patch(chip)
        self._text(x, y, self._plan.fragments[fragment].label[:3], 7.5, weight="bold", halo=hatch)
        return chip

    def _draw_gap(self, slot: Slot) -> None:
        top = slot.band * self._pitch
        rows = (top + qubit for qubit in range(self._plan.num_qubits))
        self._gaps += [[(slot.x + 0.2, y), (slot.x + 0.8, y)] for y in rows]
        self._text(slot.x + 0.5, top - 0.7, f"{slot.left_out} more\ncolumns", 6)

    # -- gates and cuts ----------------------------------------------------------------

    def draw_steps(self, laid: Segments) -> None:
        """Draw the gates and cuts of the columns that are shown."""
        for step, column in zip(laid.steps, laid.columns, strict=True):
            if column in self._place:
                slot = self._place[column]
                self._draw_step(step, slot.x + 0.5, slot.band * self._pitch)

    def _draw_step(self, step: LayoutItem, x: float, top: float) -> None:
        rows = [top + qubit for qubit in step.qubits]
        if step.bond is not None:
            self._mark_cut(step.bond, x, min(rows), max(rows))
        elif len(rows) > 1:
            self._strokes[step.fragments[0]].append([(x, min(rows)), (x, max(rows))])
        if step.name == "cut_wire":
            return
        symbols = self._symbols(step)
        for symbol, y, fragment in zip(symbols, rows, step.fragments, strict=False):
            self._draw_symbol(symbol, x, y, fragment)

    def _symbols(self, item: LayoutItem) -> Sequence[str]:
        """Return what stands on each of an item's qubits."""
        step = None if item.step is None else self._plan.program.steps[item.step]
        if step is None or step.name != item.name:
            return symbols_of(item.name)
        targets, symbols = targets_of(step.gate)
        of = dict(zip(step.qubits, ["•"] * (len(step.qubits) - targets) + symbols, strict=True))
        return [of[qubit] for qubit in item.qubits]

    def _mark_cut(self, bond: int, x: float, first: float, last: float) -> None:
        """Draw the dashed line of a cut on a red ground, with scissors and its bond's number."""
        from matplotlib.patches import Rectangle

        reach = 0.48 if first == last else 0.0  # a wire is cut across
        ground = Rectangle((x - 0.47, first - 0.48), 0.94, last - first + 0.96)
        ground.set(facecolor=_CUT, alpha=0.13, linewidth=0, zorder=0)
        self._axes.add_patch(ground)
        dashes: dict[str, Any] = {
            "color": _CUT,
            "linewidth": 1.6,
            "linestyle": (0, (2, 1.2)),
            "zorder": 2,
        }
        self._axes.plot([x, x], [first - reach, last + reach], **dashes)
        y = first + (last - first) // 2 + (0.5 if last > first else -0.27)
        mark = self._text(x - 0.25, y, "✂", 12, color=_CUT, zorder=5)
        mark.set_gid(f"cut-{bond}")
        self._text(x + 0.26, y, str(bond), 6.5, color=_CUT, zorder=5)

    def _draw_symbol(self, symbol: str, x: float, y: float, fragment: int) -> None:
        from matplotlib.patches import Circle, Rectangle

        strokes = self._strokes[fragment]
        if symbol == "•":
            self._dots[fragment].append(Circle((x, y), 0.1))
        elif symbol == "×":
            strokes += [[(x - 0.14, y - s), (x + 0.14, y + s)] for s in (0.14, -0.14)]
        elif symbol == "⊕":
            self._boxes[fragment].append(Circle((x, y), 0.22))
            self._signs += [[(x - 0.2, y), (x + 0.2, y)], [(x, y - 0.2), (x, y + 0.2)]]
        else:
            self._boxes[fragment].append(Rectangle((x - 0.39, y - 0.27), 0.78, 0.54))
            size = 7.5 if len(symbol) <= 3 else 6
            self._text(x, y, symbol, size, halo=style_of(fragment)[1])

    # -- words -------------------------------------------------------------------------

    def draw_title(self, title: str) -> None:
        """Write the title over the first band."""
        self._text(0.6 - _LEFT, self._top + 0.7, title, 12, ha="left", weight="bold")

    def draw_legend(self) -> None:
        """Name every fragment, and say what the mark of a cut looks like."""
        for number, fragment in enumerate(self._plan.fragments):
            x, y = self._entry(number)
            self._chip(x, y, fragment.index).set_gid(f"fragment-{fragment.index}")
            self._text(x + 0.6, y, _described(fragment), 8, ha="left")
        if self._plan.bonds:
            x, y = self._entry(len(self._plan.fragments))
            self._text(x, y, "✂", 12, color=_CUT)
            self._text(x + 0.6, y, "cut, with the number of its bond", 8, ha="left")

    def _entry(self, number: int) -> tuple[float, float]:
        row, column = divmod(number, self._per_row)
        return column * _ENTRY + 1.0 - _LEFT, self._bottom + 0.6 + 0.8 * row

    def _text(self, x: float, y: float, text: str, size: float, halo: str = "", **how: Any) -> Any:
        """Write centred text; over a hatch it gets a ground of its own."""
        if halo:
            how["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center_baseline",
            "color": _INK,
            "zorder": 4,
        } | how
        # A label may be any letters, and two dollar signs would make it a formula.
        return self._axes.text(x, y, text, fontsize=size, parse_math=False, **style)


def _halves(line: Sequence[Segment], slots: Iterable[Slot]) -> Iterator[int | None]:
    """Yield the fragment of each half column of a band, None in gaps."""
    segment = 0
    for slot in slots:
        for half in (0.0, 0.5):
            if slot.column is None:
                yield None
                continue
            while line[segment].end <= slot.column + half:
                segment += 1
            yield line[segment].fragment


def symbols_of(name: str) -> tuple[str, str]:
    """Return what stands on the first and the second qubit of a gate: a sign, or short letters."""
    if name in _SIGNS:
        return _SIGNS[name]
    if name.endswith("?"):  # under classical control
        first, second = symbols_of(name[:-1])
        return f"{first}?", second
    short = _short(name)
    if name in _CONTROLLED:
        return "•", _short(name[1:])
    return short, short


_SIGNS = {
    "cx": ("•", "⊕"),
    "cz": ("•", "•"),
    "swap": ("×", "×"),
    "reset": ("|0⟩", ""),
    "measure": ("M", ""),
    "unitary": ("U", "U"),
}
_CONTROLLED = frozenset(
    {"ch", "cp", "crx", "cry", "crz", "cs", "csdg", "csx", "cu", "cu1", "cu3", "cy"}
)


def targets_of(gate: Instruction) -> tuple[int, list[str]]:
    """Return how many targets a multi-controlled gate has, and what stands on them."""
    target = target_of(gate)
    symbol = {"x": "⊕", "z": "•", "p": "P", "u1": "P", "swap": "×"}.get(target.name)
    return target.num_qubits, [symbol or _short(target.name)] * target.num_qubits


def _short(name: str) -> str:
    base = name.removesuffix("dg")
    return base.upper()[:4] + ("†" if base != name else "")


def style_of(fragment: int) -> tuple[str, str]:
    """Return colour and hatch of a fragment; pairs repeat only after 49 of them."""
    return COLOURS[fragment % len(COLOURS)], HATCHES[fragment // len(COLOURS) % len(HATCHES)]


def _tint(colour: str) -> tuple[float, ...]:
    """Return a colour mixed with white, on which letters can be read."""
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return tuple(0.3 * part + 0.7 for part in parts)


def _described(fragment: Fragment) -> str:
    qubits = fragment.circuit_qubits
    noun = "qubit" if len(qubits) == 1 else "qubits"
    variants = counted(short_number(fragment.num_variants), "variant")
    return f"{noun} {ranges_of(qubits)}: {counted(str(len(fragment.sites)), 'site')}, {variants}"
