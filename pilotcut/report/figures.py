"""Figures of a run that are of no usual kind: the timeline, the drawing of a plan.

Measures in, elements of a page out.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import escape

from pilotcut.report import measures, plot_frame, plots
from pilotcut.report.page import LIGHT, Element, Key, figure, svg
from pilotcut.report.run_record import PilotRecord, RunEvent, RunRecord, TaskRuns

if TYPE_CHECKING:
    from pilotcut.cutting.plan import CutPlan

#: Runs of tasks in a timeline, and its lanes. What is drawn is thinned, so that 10^5 batches and as
#: many tasks make a page of 1.6 MB in 9 s (benchmarks/README.md).
MOST_RUNS, MOST_LANES = 4000, 48
#: Groups with a colour of their own.
MOST_GROUPS = 6
#: A plan with more gates is not drawn: nobody would see them.
MOST_GATES = 1200

#: Colours of the stages, in the order of `pilotcut.io.jsonl.STAGES`.
STAGE_COLOURS = (6, 4, 0, 1)

_LANE = 20
_MARKS = {
    "lost": ("x", "c1", "worker or pilot lost"),
    "failed": ("square_x", "c1", "failed"),
    "raised": ("cross", "c4", "raised, run again"),
    "duplicate": ("triangle", "c3", "duplicate started"),
}
_WAITS = ("new", "pending", "starting")


# -- pilots and slots ------------------------------------------------------------------


@dataclass(frozen=True)
class _Lane:
    """Row of the timeline: a pilot, or one of the slots of a worker."""

    pilot: str
    label: str
    worker: str | None = None
    slot: int = 0


def timeline(run: RunRecord, always: Sequence[int]) -> tuple[Element, list[str]]:
    """Return who ran what when, and what is not shown of it.

    Parameters
    ----------
    run
        With tasks.
    always
        Runs that are shown in any case, such as stragglers.
    """
    assert run.tasks is not None
    runs = run.tasks.runs
    rows, step = measures.chosen_runs(runs, MOST_RUNS, always)
    slot = _slots(runs)
    lanes = _lanes(run.pilots, runs, slot)
    notes = []
    if step > 1:
        notes.append(
            f"Of {len(runs):,} runs every {step}th is drawn, and the worst stragglers and failures."
        )
    if len(lanes) > MOST_LANES:
        notes.append(f"Of {len(lanes):,} lanes the first {MOST_LANES} are drawn.")
        lanes = lanes[:MOST_LANES]
    places = {(lane.pilot, lane.worker, lane.slot): k for k, lane in enumerate(lanes)}
    plot = _lanes_plot(lanes)
    _draw_pilots(plot, run, places)
    groups = _draw_runs(plot, run, rows, slot, places)
    marks = _draw_troubles(plot, run, places)
    return figure(plot, " ".join(notes), [*groups, *marks]), notes


def _slots(runs: TaskRuns) -> np.ndarray:
    """Return the slot of every run on its worker: beside each other, if they overlap."""
    found = np.zeros(len(runs), dtype=int)
    for rows in measures.rows_by_worker(runs).values():
        # A run begins where the one before it ends, to the clock's precision.
        found[rows] = measures.slots(runs.started[rows] + 1e-6, runs.finished[rows])
    return found


def _lanes(pilots: Sequence[PilotRecord], runs: TaskRuns, slot: np.ndarray) -> list[_Lane]:
    """Return a lane for each pilot, followed by those of its workers."""
    workers: dict[str, list[_Lane]] = {pilot.name: [] for pilot in pilots}
    for (pilot, worker), rows in measures.rows_by_worker(runs).items():
        for number in range(int(slot[rows].max()) + 1):
            label = worker if not number else f"{worker} +{number}"
            workers.setdefault(pilot, []).append(_Lane(pilot, label, worker, number))
    found = []
    for pilot, some in workers.items():
        found += [_Lane(pilot, f"pilot {pilot}"), *some]
    return found


def _lanes_plot(lanes: Sequence[_Lane]) -> Any:
    from bokeh.models import FixedTicker, Range1d

    names = [_shortened(lane.label) for lane in lanes]
    height = 104 + _LANE * max(len(lanes), 3)
    plot: Any = plot_frame.blank("seconds since the run began", "", height=height, zoom=True)
    plot.y_range = Range1d(start=len(lanes) - 0.4, end=-0.6)
    plot.yaxis.ticker = FixedTicker(ticks=list(range(len(lanes))))
    plot.yaxis.major_label_overrides = dict(enumerate(names))
    plot.ygrid.grid_line_color = None
    plot.xgrid.grid_line_color = LIGHT["line"]
    return plot


def _shortened(text: str, most: int = 16) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def _draw_pilots(plot: Any, run: RunRecord, places: Mapping[Any, int]) -> None:
    """Draw how long each pilot was in each state, on its lane."""
    assert run.tasks is not None
    origin = run.begins
    last = max(
        [s.time for pilot in run.pilots for s in pilot.states] + run.tasks.runs.finished.tolist(),
        default=origin,
    )
    spans: list[tuple[float, float, int, str, str, str]] = []
    for pilot in run.pilots:
        lane = places.get((pilot.name, None, 0))
        states = [s for s in pilot.states if s.kind != "note"]
        if lane is None or not states:
            continue
        for state, ends in zip(states, [*(s.time for s in states[1:]), last], strict=True):
            if state.kind not in ("done", "failed", "canceled"):
                colour = LIGHT["cmuted"] if state.kind in _WAITS else LIGHT["c6"]
                label = f"{pilot.name}: {state.kind}"
                spans.append(
                    (state.time - origin, ends - origin, lane, colour, label, state.reason)
                )
    if not spans:
        return
    left, right, y, colours, labels, reasons = zip(*spans, strict=True)
    for colour in dict.fromkeys(colours):
        rows = [k for k, other in enumerate(colours) if other == colour]
        data = {
            "left": [left[k] for k in rows],
            "right": [right[k] for k in rows],
            "y": [y[k] for k in rows],
            "label": [labels[k] for k in rows],
            "reason": [reasons[k] for k in rows],
        }
        drawn = plot.hbar("y", left="left", right="right", height=0.42, fill_color=colour,
                          line_color=None, source=plot_frame.source_of(data))  # fmt: skip
        plot_frame.hover(plot, [drawn], [("", "@label"), ("", "@left{0.0} s to @right{0.0} s"),
                                    ("", "@reason")])  # fmt: skip


def _draw_runs(
    plot: Any, run: RunRecord, rows: np.ndarray, slot: np.ndarray, places: Mapping[Any, int]
) -> list[Key]:
    """Draw runs in the colours of their groups; return the legend."""
    assert run.tasks is not None
    runs, origin = run.tasks.runs, run.begins
    shown: dict[str, list[int]] = {}
    colours = _colours(runs)
    for row in rows.tolist():
        if (runs.pilot[row], runs.worker[row], slot[row]) in places:
            group = measures.group_of(runs.name[row])
            shown.setdefault(group if group in colours else "other tasks", []).append(row)
    keys = []
    for group in [*colours, "other tasks"]:
        if group not in shown:
            continue
        some = np.array(shown[group])
        colour = colours.get(group, "muted")
        data = {
            "left": (runs.started[some] - origin).astype(np.float32),
            "right": (runs.finished[some] - origin).astype(np.float32),
            "seconds": runs.run_s[some].astype(np.float32),
            "y": [places[runs.pilot[k], runs.worker[k], slot[k]] for k in some],
            "task": [runs.name[k] for k in some],
        }
        drawn = plot.hbar("y", left="left", right="right", height=0.74, name=group,
                          fill_color=plot_frame.colour_of(colour), line_width=0.5,
                          line_color=plot_frame.colour_of(colour),
                          source=plot_frame.source_of(data))  # fmt: skip
        tooltip = [("task", "@task"), ("ran", "@seconds{0.0000} s"), ("from", "@left{0.00} s")]
        plot_frame.hover(plot, [drawn], tooltip)
        keys.append(Key(group, colour))
    return keys


def _colours(runs: TaskRuns) -> dict[str, int]:
    """Return a colour for each of the groups with the most runs, in the order of their names."""
    counts = Counter(measures.groups_of(runs))
    return {
        group: k for k, group in enumerate(sorted(g for g, _ in counts.most_common(MOST_GROUPS)))
    }


def _draw_troubles(plot: Any, run: RunRecord, places: Mapping[Any, int]) -> list[Key]:
    """Mark losses, failures and duplicates on the lanes of their pilots."""
    assert run.tasks is not None
    keys = []
    for kind, (marker, colour, label) in _MARKS.items():
        some = [
            (h, places[h.pilot, None, 0])
            for h in run.tasks.troubles
            if h.kind == kind and (h.pilot, None, 0) in places
        ]
        if not some:
            continue
        data = {
            "x": [h.time - run.begins for h, _ in some],
            "y": [lane for _, lane in some],
            "task": [h.name for h, _ in some],
            "reason": [_in_one_line(h) for h, _ in some],
        }
        drawn = plot.scatter("x", "y", marker=marker, size=9, name=label, line_width=2,
                             fill_color=None, line_color=LIGHT[colour],
                             source=plot_frame.source_of(data))  # fmt: skip
        plot_frame.hover(plot, [drawn], [(label, "@task"), ("", "@reason")])
        keys.append(Key(label, int(colour[1:])))
    return keys


def _in_one_line(happening: RunEvent, most: int = 160) -> str:
    text = " ".join(happening.reason.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def busy(runs: TaskRuns, workers: int, origin: float) -> Element:
    """Return the share of the workers that ran something, over time."""
    bins = int(min(max(len(runs) // 4, 12), 160))
    edges, tasks = measures.busy_over_time(runs, bins)
    return plots.layers(
        (edges - origin).tolist(),
        {"busy": (tasks / workers).tolist()},
        "seconds since the run began",
        "workers busy",
        percent=True,
        y_range=(0, None),
        half=True,
    )


# -- fragments and cuts ----------------------------------------------------------------


def drawing(plan: CutPlan, number: int) -> Element:
    """Return the circuit in the colours of its fragments; `number` tells drawings apart."""
    import matplotlib

    from pilotcut.report.plan_drawing import figure_of

    drawn = figure_of(plan)
    # The page's own ground shows, light or dark.
    drawn.patch.set_alpha(0.0)
    # Letters stay letters; names of parts are those of this drawing alone.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"plan-{number}"}):
        content = io.StringIO()
        drawn.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    # Ids of its parts would come again with the next drawing of the page.
    markup = re.sub(r' id="[A-Za-z]+[A-Za-z0-9]*_\d+"', "", content.getvalue())
    return svg(re.sub(r"<!--.*?-->", "", markup, flags=re.DOTALL))


def schematic(widths: Sequence[int], cuts: int) -> Element:
    """Return fragments as boxes as high as they have qubits: what a record alone can tell."""
    shown = list(widths)[:24]
    tallest = max(shown, default=1)
    boxes = []
    for k, width in enumerate(shown):
        height = 16 + 54 * width / tallest
        colour = f"var(--c{k % plot_frame.COLOURS})"
        boxes.append(
            f'<rect x="{10 + 66 * k}" y="{86 - height:.0f}" width="52" height="{height:.0f}" '
            f'rx="6" fill="{colour}" fill-opacity=".25" stroke="{colour}"/>'
            f'<text x="{36 + 66 * k}" y="{90 - height / 2:.0f}" text-anchor="middle" '
            f'fill="currentColor" font-size="13">{width} q</text>'
        )
    more = f", {len(widths) - len(shown)} more fragments" if len(widths) > len(shown) else ""
    said = escape(f"{cuts} cuts between {len(widths)} fragments{more}")
    wide = max(20 + 66 * len(shown), 320)
    return svg(
        f'<svg width="{wide}" height="116" viewBox="0 0 {wide} 116" role="img" class="plain">'
        f'{"".join(boxes)}<text x="10" y="108" fill="currentColor" font-size="13">{said}</text>'
        f"</svg>"
    )
