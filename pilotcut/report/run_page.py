"""Page of one run or several: its head, its sections in order, and those about stages and cuts.

Every section answers its question in one sentence, and shows below it what the sentence is
about. What a run's files do not hold is named at the end, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from pilotcut.errors import UserError
from pilotcut.io.jsonl import STAGES
from pilotcut.options import counted
from pilotcut.report import figures, measures, plots
from pilotcut.report.comparison import comparison
from pilotcut.report.figures import STAGE_COLOURS
from pilotcut.report.forecasts import predictions
from pilotcut.report.graph_section import graph
from pilotcut.report.learning import learning
from pilotcut.report.numbers import number_in
from pilotcut.report.page import Element, Page, Section, Tile, note, table, tiles
from pilotcut.report.plot_frame import Reference
from pilotcut.report.run_record import RunRecord
from pilotcut.report.words import listed, readable_s, setting
from pilotcut.report.workers import devices, stragglers, timeline, utilisation

if TYPE_CHECKING:
    from pilotcut.cutting.plan import CutPlan

#: Returns the plan of a run, or raises a `UserError` that says why it cannot.
PlanOf = Callable[[RunRecord], "CutPlan"]

#: Bins of a figure of all batches.
_MOST_BINS = 120


def report(runs: Sequence[RunRecord], plan_of: PlanOf) -> Page:
    """Return the page about some runs: their comparison, if there are several, then each.

    Parameters
    ----------
    runs
        At least one.
    plan_of
        Finds the plan of a run, to draw it.
    """
    if len(runs) == 1:
        run = runs[0]
        page = Page(run.name, _described(run), "pilotcut · run")
        page.tiles(*_tiles(run))
        _add_sections(page, run, plan_of, 1)
        return page
    names = _names(runs)
    page = Page(f"{len(runs)} runs", ", ".join(names), "pilotcut · comparison of runs")
    for section in comparison(runs, names):
        page.add(section)
    for number, (run, name) in enumerate(zip(runs, names, strict=True), start=1):
        page.chapter(name, _described(run), tiles_of(run))
        _add_sections(page, run, plan_of, number)
    return page


def _add_sections(page: Page, run: RunRecord, plan_of: PlanOf, number: int) -> None:
    sections = (
        learning(run),
        _stages(run),
        _reconstruction(run),
        graph(run),
        timeline(run),
        utilisation(run),
        stragglers(run),
        devices(run),
        predictions(run),
        _cuts(run, plan_of, number),
        _settings(run),
    )
    for section in sections:
        if section is not None:
            page.add(section)


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """Return names that tell runs apart: directories, with their parents where those agree."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        paths = [run.path.resolve() for run in runs]
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name} ({k})" for k, name in enumerate(names, start=1)]
    return names


# -- the head --------------------------------------------------------------------------


def _described(run: RunRecord) -> str:
    """Return in one line what was run, and whether it came to its end."""
    config = run.config
    words = []
    if config:
        qubits = config.get("qubits", "?")
        noun = "qubit" if qubits == 1 else "qubits"
        words.append(f"{config.get('dataset', 'a data set')} on {qubits} {noun}")
        mode = str(config.get("mode", "counts"))
        shots = (
            f" with {counted(config['shots'], 'shot')}"
            if "shots" in config and mode != "exact"
            else ""
        )
        words.append(f"mode {mode}{shots}")
    if widths := run.widths:
        cuts = len(widths) - 1 if run.cuts is None else run.cuts
        pieces = f"{counted(len(widths), 'fragment')} of {counted(listed(widths), 'qubit')}"
        words.append(f"{counted(cuts, 'cut')} into {pieces}" if cuts else "uncut")
    if run.pilots:
        slots = [
            f"{p.name} ({counted(p.slots, 'slot')})" if p.slots else p.name for p in run.pilots[:4]
        ]
        more = f" and {len(run.pilots) - 4} more" if len(run.pilots) > 4 else ""
        words.append(f"on {', '.join(slots)}{more}")
    return f"{'; '.join(words)}. {_progress(run)}" if words else _progress(run)


def _progress(run: RunRecord) -> str:
    head = measures.headlines(run)
    resumed = f" It was resumed {counted(run.resumes, 'time')}." if run.resumes else ""
    if head.epochs_asked is None:
        return f"No settings of a training.{resumed}"
    if run.is_complete or head.epochs >= head.epochs_asked:
        return f"All {counted(head.epochs_asked, 'epoch')} are trained.{resumed}"
    return (
        f"It has trained {head.epochs} of {counted(head.epochs_asked, 'epoch')}: it was "
        f"interrupted, or still runs.{resumed}"
    )


def tiles_of(run: RunRecord) -> Element:
    """Return the headline numbers of a run as an element."""
    return tiles(*_tiles(run))


def _tiles(run: RunRecord) -> Iterator[Tile]:
    head = measures.headlines(run)
    asked = f" of {head.epochs_asked}" if head.epochs_asked is not None else ""
    if not math.isnan(head.accuracy):
        yield Tile("test accuracy", f"{head.accuracy:.1%}", f"epoch {head.epochs}{asked}")
    if not math.isnan(head.loss):
        yield Tile("training loss", f"{head.loss:.3f}", f"epoch {head.epochs}{asked}")
    if not math.isnan(head.seconds):
        yield Tile(
            "time", readable_s(head.seconds), "of all epochs" if run.epochs else "of queries"
        )
    if head.queries:
        circuits = f"{head.subexperiments:,} subexperiments"
        yield Tile("queries", f"{head.queries:,}", circuits)
    if not math.isnan(head.reconstruction):
        yield Tile("reconstruction", f"{head.reconstruction:.1%}", "of a query, median")
    if not math.isnan(head.busy):
        straggling = (
            f"{counted(head.straggling, 'straggler')}" if head.straggling else "no stragglers"
        )
        yield Tile("workers busy", f"{head.busy:.0%}", straggling)


# -- stages ----------------------------------------------------------------------------


def _stages(run: RunRecord) -> Section | None:
    batches = run.batches
    if batches is None:
        return None
    seconds = measures.stage_seconds(run)
    total = sum(seconds.values())
    by_source = measures.stages_by_source(batches)
    groups = {
        stage: [float(some[k]) for some in by_source.values()] for k, stage in enumerate(STAGES)
    }
    middles, means = measures.binned(batches.stages, _MOST_BINS)
    width = len(batches) / max(len(middles), 1)
    edges = [k * width for k in range(len(middles) + 1)]
    over_time = {stage: means[:, k].tolist() for k, stage in enumerate(STAGES)}
    caption = ""
    if width > 1:
        caption = f"Each bar is the mean of about {width:.0f} of {len(batches):,} batches."
    longest = max(seconds, key=lambda stage: seconds[stage])
    share = seconds[longest] / total if total else 0.0
    rows = [
        [stage, readable_s(value), f"{value / total:.1%}" if total else "–"]
        for stage, value in seconds.items()
    ]
    text = Markup("<b>{:.0%}</b> of {} in stages went into <b>{}</b>.").format(
        share, readable_s(total), longest
    )
    return Section(
        "Where the time went",
        text,
        [
            plots.bars(
                [f"{source}" for source in by_source],
                groups,
                "seconds",
                x_label="why a batch was run",
                stacked=True,
                colours=STAGE_COLOURS,
                half=True,
            ),
            plots.layers(
                edges,
                over_time,
                "batch of queries",
                "seconds a batch",
                colours=STAGE_COLOURS,
                caption=caption,
                half=True,
            ),
            table(["stage", "time", "share"], rows, _hidden(run)),
        ],
    )


def _hidden(run: RunRecord) -> str:
    """Say what of the reconstruction queries really waited for."""
    assert run.batches is not None
    waits, wall = float(np.nansum(run.batches.waits_s)), float(np.nansum(run.batches.wall_s))
    if not wall:
        return ""
    return (
        f"Queries waited {readable_s(waits)} of {readable_s(wall)} ({waits / wall:.1%}) for "
        f"reconstruction; the rest of it passed while workers ran."
    )


def _reconstruction(run: RunRecord) -> Section | None:
    if run.batches is None:
        return None
    shares = measures.reconstruction_shares(run.batches)
    if not len(shares):
        return None
    median, high = float(np.median(shares)), float(np.percentile(shares, 95))
    text = Markup(
        "Reconstruction took <b>{:.1%}</b> of the query time, median; p95 {:.1%}, at most {:.1%}."
    ).format(median, high, float(shares.max()))
    by_source = np.array(run.batches.source)[run.batches.stages.sum(axis=1) > 0]
    groups = {str(s): shares[by_source == s].tolist() for s in dict.fromkeys(by_source.tolist())}
    marks = [Reference(median, "median", "x"), Reference(high, "p95", "x")]
    caption = f"All {len(shares):,} batches."
    shown = plots.histogram(groups, "share of the query time", "batches", percent=True,
                            references=marks, caption=caption)  # fmt: skip
    return Section("Reconstruction share", text, [shown])


# -- the plan --------------------------------------------------------------------------


def _cuts(run: RunRecord, plan_of: PlanOf, number: int) -> Section | None:
    widths = run.widths
    if not widths:
        return None
    cuts = run.cuts or 0
    overhead = number_in(run.plan, "sampling_overhead")
    variants = number_in(run.plan, "variants")
    cut = f"{counted(cuts, 'cut')} into {counted(len(widths), 'fragment')}"
    text = Markup("<b>{}</b>, the widest of {}; {}, sampling overhead γ² = {}.").format(
        cut if cuts or len(widths) > 1 else "Uncut",
        counted(max(widths), "qubit"),
        "variants unknown" if math.isnan(variants) else counted(int(variants), "variant"),
        "unknown" if math.isnan(overhead) else f"{overhead:.4g}",
    )
    try:
        shown = [figures.drawing(plan_of(run), number)]
    except UserError as error:
        shown = [figures.schematic(widths, cuts), note(f"The circuit is not drawn: {error}")]
    return Section("Fragments and cuts", text, shown)


# -- settings, and what is not there ---------------------------------------------------


def _settings(run: RunRecord) -> Section | None:
    elements: list[Element] = []
    if run.config:
        rows = [[name, setting(value)] for name, value in run.config.items()]
        elements.append(table(["setting", "value"], rows))
    expected = dict(run.missing)
    if run.config.get("pilots") is None and run.tasks is None:
        for name in ("events.jsonl", "pilots.json"):
            expected.pop(name, None)
        if run.config:
            elements.append(
                note("The run had no pilots: there are no tasks and no workers to show.")
            )
    elements += [note(f"{_SHOWN[name]} not shown: {why}.") for name, why in expected.items()]
    if run.torn:
        elements.append(note(f"{counted(run.torn, 'line')} of its files could not be read."))
    return Section("Settings and files", f"From {run.path}.", elements)


#: What is not shown without a file.
_SHOWN = {
    "config.yaml": "Settings are",
    "trace.jsonl": "Stages, reconstruction share and cuts are",
    "metrics.jsonl": "Loss and accuracy are",
    "events.jsonl": "Slots, utilisation and stragglers are",
    "pilots.json": "What pilots were asked for is",
    "recommendation.json": "The recommendation is",
}
