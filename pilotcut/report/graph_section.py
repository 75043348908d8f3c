"""Section about the graph of tasks: its picture, folded by groups and layers, and its branches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from markupsafe import Markup, escape

from pilotcut.options import counted
from pilotcut.report.measures import group_of
from pilotcut.report.page import Element, Section, note, svg, table
from pilotcut.report.run_record import STANDINGS, RunRecord, TaskGraph
from pilotcut.report.task_graph import Box, FoldedGraph, folded
from pilotcut.report.words import MOST_ROWS, first_of, readable_s

#: Of a box, and from one to the next.
_WIDE, _HIGH, _RIGHT, _DOWN = 132, 50, 184, 66
_TOP, _LEFT = 34, 12
_LETTERS = 19
_COLOURS = dict(zip(STANDINGS, ("c5", "c2", "c0", "c4", "cmuted", "c6", "c1", "c3"), strict=True))
_WORDS = {"bound": "running"}


def graph(run: RunRecord) -> Section | None:
    """Return the section about what depended on what, None where nothing did."""
    found = None if run.tasks is None else run.tasks.graph
    if found is None or run.tasks is None:
        return None
    small = folded(found)
    groups = len(set(found.groups))
    text = Markup("<b>{}</b> of {} in {}, with {}.{}").format(
        counted(len(found), "task"),
        counted(groups, "group"),
        counted(max(found.layers) + 1, "layer"),
        "1 dependency" if found.edges == 1 else f"{found.edges:,} dependencies",
        _ends(found),
    )
    elements = [_drawing(small), *map(note, run.tasks.cuts), _groups(run, found)]
    return Section("Graph of tasks", text, elements)


def _ends(found: TaskGraph) -> str:
    counts = Counter(found.standings)
    words = []
    if counts["stored"]:
        words.append(f"{counts['stored']:,} had results that an earlier run has stored")
    if counts["failed"]:
        cut = f" and cut off {counts['cut off']:,} more" if counts["cut off"] else ""
        words.append(f"{counts['failed']:,} failed{cut}")
    left = counts["waiting"] + counts["ready"] + counts["bound"]
    if left:
        words.append(f"{left:,} have not ended")
    return f" {'; '.join(words)}." if words else ""


# -- the picture -----------------------------------------------------------------------


def _drawing(small: FoldedGraph) -> Element:
    columns = max(box.column for box in small.boxes) + 1
    rows = max(box.row for box in small.boxes) + 1
    wide, high = _LEFT + columns * _RIGHT, _TOP + rows * _DOWN
    wide = max(wide, 560)
    parts = [*_legend(small), *_edges(small), *(part for box in small.boxes for part in _box(box))]
    caption = "" if small.is_whole else "Groups whose names differ by a number are one box."
    return svg(
        f'<svg width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img" '
        f'class="plain graph">{"".join(parts)}</svg>',
        caption,
    )


def _legend(small: FoldedGraph) -> Iterator[str]:
    shown = [one for one in STANDINGS if any(box.standings.get(one) for box in small.boxes)]
    x = _LEFT
    for standing in shown:
        word = _WORDS.get(standing, standing)
        yield (
            f'<rect x="{x}" y="8" width="12" height="12" rx="2" '
            f'fill="var(--{_COLOURS[standing]})"/>'
            f'<text x="{x + 17}" y="18" fill="currentColor" font-size="12">{word}</text>'
        )
        x += 30 + 7 * len(word)


def _place(box: Box) -> tuple[int, int]:
    return _LEFT + box.column * _RIGHT, _TOP + box.row * _DOWN


def _edges(small: FoldedGraph) -> Iterator[str]:
    for (first, last), number in sorted(small.edges.items()):
        if first == last:
            continue
        (x1, y1), (x2, y2) = _place(small.boxes[first]), _place(small.boxes[last])
        x1, y1, y2 = x1 + _WIDE, y1 + _HIGH // 2, y2 + _HIGH // 2
        bend = max(26, abs(x2 - x1) // 2)
        dashes = ' stroke-dasharray="4 3"' if first > last else ""
        said = escape(
            f"{small.boxes[first].name} to {small.boxes[last].name}: {number:,} "
            f"{'dependency' if number == 1 else 'dependencies'}"
        )
        yield (
            f'<path d="M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}" fill="none" '
            f'stroke="var(--cmuted)" stroke-width="{1 + math.log10(number):.1f}"{dashes}>'
            f"<title>{said}</title></path>"
        )


def _box(box: Box) -> Iterator[str]:
    x, y = _place(box)
    deep = f", {box.deep} deep" if box.deep > 1 else ""
    each = ", ".join(
        f"{box.standings[one]:,} {_WORDS.get(one, one)}"
        for one in STANDINGS
        if box.standings.get(one)
    )
    name = box.name if len(box.name) <= _LETTERS else f"{box.name[: _LETTERS - 1]}…"
    yield (
        f"<g><title>{escape(f'{box.name}: {each}')}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6" fill="var(--card)" '
        f'stroke="var(--{"c1" if box.standings.get("failed") else "line"})" stroke-width="1.5"/>'
        f'<text x="{x + 8}" y="{y + 18}" fill="currentColor" font-size="12.5" '
        f'font-weight="600">{escape(name)}</text>'
        f'<text x="{x + 8}" y="{y + 34}" fill="var(--muted)" font-size="11.5">'
        f"{escape(counted(box.count, 'task') + deep)}</text>"
    )
    at = float(x + 8)
    for standing in STANDINGS:
        number = box.standings.get(standing, 0)
        # One failure among thousands is to be seen.
        part = max(2.0, (_WIDE - 16) * number / box.count) if number else 0.0
        if number:
            yield (
                f'<rect x="{at:.1f}" y="{y + 40}" width="{part:.1f}" height="5" '
                f'fill="var(--{_COLOURS[standing]})"/>'
            )
        at += part
    yield "</g>"


# -- the table -------------------------------------------------------------------------


def _groups(run: RunRecord, found: TaskGraph) -> Element:
    """Return a table of the groups, in the order of their layers, with when they ran."""
    by_group: dict[str, list[int]] = {}
    for place, group in enumerate(found.groups):
        by_group.setdefault(group, []).append(place)
    order = sorted(by_group, key=lambda group: min(found.layers[p] for p in by_group[group]))
    times = _times(run, dict(zip(found.names, found.groups, strict=True)))
    shown = [one for one in STANDINGS if one in found.standings]
    rows = []
    for group in order[:MOST_ROWS]:
        counts = Counter(found.standings[place] for place in by_group[group])
        began, ended, run_s = times.get(group, (math.nan, math.nan, math.nan))
        seconds: list[object] = [None, None, None]
        if group in times:
            seconds = [f"{began:.1f}", f"{ended:.1f}", readable_s(run_s)]
        rows.append([group, len(by_group[group]), *(counts[one] for one in shown), *seconds])
    headers = ["group", "tasks", *(_WORDS.get(one, one) for one in shown)]
    headers += ["first began, second", "last ended, second", "run time"]
    return table(headers, rows, first_of(rows, len(order), "groups"))


def _times(run: RunRecord, groups: dict[str, str]) -> dict[str, tuple[float, float, float]]:
    """Return of each group when its first run began and its last ended, and all run time."""
    assert run.tasks is not None
    runs = run.tasks.runs
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(runs.name):
        rows.setdefault(groups.get(name, group_of(name)), []).append(row)
    found = {}
    for group, some in rows.items():
        began = float(np.min(runs.started[some])) - run.begins
        ended = float(np.max(runs.finished[some])) - run.begins
        found[group] = (began, ended, float(np.sum(runs.run_s[some])))
    return found
