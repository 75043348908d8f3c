"""The report of one run or several: what each section says and shows.

Every section answers its question in one sentence, and shows below it what the sentence is
about. What a run's files do not hold is named at the end, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from pilotcut.errors import UserError
from pilotcut.report import figures, measures, plots
from pilotcut.report.figures import readable_s
from pilotcut.report.measures import number_in
from pilotcut.report.page import Element, Page, Tile, note, table
from pilotcut.report.plots import Reference, Series
from pilotcut.report.read import RunRecord
from pilotcut.trace import STAGES

if TYPE_CHECKING:
    from pilotcut.cutting.plan import CutPlan

#: Returns the plan of a run, or raises a `UserError` that says why it cannot.
PlanOf = Callable[[RunRecord], "CutPlan"]

#: Colours of the stages, in their order.
_STAGE_COLOURS = (6, 4, 0, 1)
#: Points of a figure of all batches; of more, bins or a part are shown.
_MOST_BINS, _MOST_POINTS = 120, 2000
#: Rows of tables of things that go wrong.
_MOST_ROWS = 25


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
    for section in _comparison(runs, names):
        page.section(section.title, section.text, *section.elements)
    for number, (run, name) in enumerate(zip(runs, names, strict=True), start=1):
        page.chapter(name, _described(run), tiles_of(run))
        _add_sections(page, run, plan_of, number)
    return page


@dataclass(frozen=True)
class _Part:
    """A section to be."""

    title: str
    text: str
    elements: Sequence[Element] = ()


def _add_sections(page: Page, run: RunRecord, plan_of: PlanOf, number: int) -> None:
    parts = (
        _learning(run),
        _stages(run),
        _reconstruction(run),
        _timeline(run),
        _utilisation(run),
        _stragglers(run),
        _predictions(run),
        _cuts(run, plan_of, number),
        _settings(run),
    )
    for part in parts:
        if part is not None:
            page.section(part.title, part.text, *part.elements)


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
        shots = f" with {config['shots']} shots" if "shots" in config and mode != "exact" else ""
        words.append(f"mode {mode}{shots}")
    if widths := _widths(run):
        cuts = int(number_in(run.plan, "cuts")) if "cuts" in run.plan else len(widths) - 1
        pieces = f"{_counted(len(widths), 'fragment')} of {_listed(widths)} qubits"
        words.append(f"{_counted(cuts, 'cut')} into {pieces}" if cuts else "uncut")
    if run.pilots:
        slots = [f"{p.name} ({p.slots} slots)" if p.slots else p.name for p in run.pilots[:4]]
        more = f" and {len(run.pilots) - 4} more" if len(run.pilots) > 4 else ""
        words.append(f"on {', '.join(slots)}{more}")
    return f"{'; '.join(words)}. {_progress(run)}" if words else _progress(run)


def _progress(run: RunRecord) -> str:
    head = measures.headlines(run)
    resumed = f" It was resumed {_counted(run.resumes, 'time')}." if run.resumes else ""
    if head.epochs_asked is None:
        return f"No settings of a training.{resumed}"
    if run.is_complete or head.epochs >= head.epochs_asked:
        return f"All {_counted(head.epochs_asked, 'epoch')} are trained.{resumed}"
    return (
        f"It has trained {head.epochs} of {_counted(head.epochs_asked, 'epoch')}: it was "
        f"interrupted, or still runs.{resumed}"
    )


def tiles_of(run: RunRecord) -> Element:
    """Return the headline numbers of a run as an element."""
    from pilotcut.report.page import tiles

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
            f"{_counted(head.straggling, 'straggler')}" if head.straggling else "no stragglers"
        )
        yield Tile("workers busy", f"{head.busy:.0%}", straggling)


# -- training --------------------------------------------------------------------------

_LOSSES = {"loss": ("training", 0, False), "val_loss": ("validation", 1, False)}
_ACCURACIES = {
    "train_accuracy": ("training", 0, False),
    "val_accuracy": ("validation", 1, False),
    "accuracy": ("test", 2, False),
}


def _learning(run: RunRecord) -> _Part | None:
    if not run.epochs:
        return None
    losses = _curves(run, _LOSSES)
    accuracies = _curves(run, _ACCURACIES)
    elements = []
    if losses:
        elements.append(plots.lines(losses, "epoch", "loss", half=True))
    if accuracies:
        # All of the scale if little is learned, else where the curves are.
        elements.append(
            plots.lines(
                accuracies, "epoch", "accuracy", percent=True, y_range=(None, 1.02), half=True
            )
        )
    rates = _curves(run, {"learning_rate": ("learning rate", 3, False)})
    if rates and len({y for y in rates[0].y if y is not None}) > 1:
        elements.append(plots.lines(rates, "epoch", "learning rate", height=180))
    elements.append(_epoch_table(run))
    return _Part("Loss and accuracy", _learned(run), elements)


def _curves(run: RunRecord, wanted: Mapping[str, tuple[str, int, bool]]) -> list[Series]:
    """Return a curve for each key that any epoch has."""
    found = []
    x = [float(epoch["epoch"]) for epoch in run.epochs]
    for key, (name, colour, dashed) in wanted.items():
        y = [number_in(epoch, key) for epoch in run.epochs]
        if not all(math.isnan(value) for value in y):
            found.append(Series(name, x, y, colour=colour, dashed=dashed))
    return found


def _learned(run: RunRecord) -> str:
    first, last = run.epochs[0], run.epochs[-1]
    words = []
    losses = number_in(first, "loss"), number_in(last, "loss")
    if not any(map(math.isnan, losses)):
        verb = "fell" if losses[1] < losses[0] else "went"
        words.append(
            Markup("The training loss {} from {:.3f} to <b>{:.3f}</b>").format(verb, *losses)
            if len(run.epochs) > 1
            else Markup("The training loss is <b>{:.3f}</b>").format(losses[1])
        )
    accuracies = [number_in(epoch, "accuracy") for epoch in run.epochs]
    if not math.isnan(accuracies[-1]):
        best = int(np.nanargmax(accuracies))
        told = Markup("the test accuracy is <b>{:.1%}</b>").format(accuracies[-1])
        if accuracies[best] > accuracies[-1]:
            told += f", its best {accuracies[best]:.1%} after epoch {run.epochs[best]['epoch']}"
        words.append(told)
    return _sentence(words)


def _epoch_table(run: RunRecord) -> Element:
    """Return the first and the last epochs as a table: the figures show the rest."""
    keys = ["loss", "val_loss", "train_accuracy", "val_accuracy", "accuracy", "learning_rate"]
    there = [key for key in keys if any(key in epoch for epoch in run.epochs)]
    shown = run.epochs if len(run.epochs) <= 20 else (*run.epochs[:5], *run.epochs[-15:])
    headers = ["epoch", *(key.replace("_", " ") for key in there), "time"]
    headers = ["test accuracy" if header == "accuracy" else header for header in headers]
    rows = [
        [
            epoch["epoch"],
            *(_cell(key, number_in(epoch, key)) for key in there),
            readable_s(number_in(epoch, "seconds")),
        ]
        for epoch in shown
    ]
    caption = f"The first 5 and the last 15 of {len(run.epochs)} epochs" if len(shown) < len(
        run.epochs) else ""  # fmt: skip
    return table(headers, rows, caption)


def _cell(key: str, value: float) -> object:
    return f"{value:.1%}" if key.endswith("accuracy") and not math.isnan(value) else value


# -- stages ----------------------------------------------------------------------------


def _stages(run: RunRecord) -> _Part | None:
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
    return _Part(
        "Where the time went",
        text,
        [
            plots.bars(
                [f"{source}" for source in by_source],
                groups,
                "seconds",
                x_label="why a batch was run",
                stacked=True,
                colours=_STAGE_COLOURS,
                half=True,
            ),
            plots.layers(
                edges,
                over_time,
                "batch of queries",
                "seconds a batch",
                colours=_STAGE_COLOURS,
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


def _reconstruction(run: RunRecord) -> _Part | None:
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
    return _Part("Reconstruction share", text, [shown])


# -- workers ---------------------------------------------------------------------------


def _timeline(run: RunRecord) -> _Part | None:
    if run.tasks is None or not len(run.tasks.runs):
        return None
    runs = run.tasks.runs
    worst = sorted(
        (row for one in measures.stragglers(runs) for row in one.rows),
        key=lambda row: -float(runs.run_s[row]),
    )
    shown, _ = figures.timeline(run, worst)
    workers = len(measures.rows_by_worker(runs))
    span = float(runs.finished.max() - runs.started.min())
    text = Markup("<b>{:,}</b> tasks ran on {} in {}, <b>{:.3g}</b> a second.").format(
        len(runs),
        _counted(workers, "worker"),
        readable_s(span),
        len(runs) / span if span else math.nan,
    )
    elements = [shown]
    if not runs.is_exact:
        elements.append(note(
            "This run was recorded without starts of tasks: bars begin where tasks were bound, "
            "and run times include that wait."
        ))  # fmt: skip
    return _Part("Pilots and slots", text, elements)


def _utilisation(run: RunRecord) -> _Part | None:
    if run.tasks is None or not len(run.tasks.runs):
        return None
    runs = run.tasks.runs
    found = measures.utilisation(runs)
    shares = np.array(found.shares)
    text = Markup(
        "Workers were busy <b>{:.0%}</b> of the time between the first and the last task"
    ).format(found.mean)
    if len(shares) > 1:
        text += f", the least {shares.min():.0%}, the most {shares.max():.0%}"
    names = [worker for _, worker in found.workers]
    caption = ""
    if len(names) > figures.MOST_LANES:
        order = np.argsort(shares)[: figures.MOST_LANES]
        caption = f"The {len(order)} least busy of {len(names):,} workers."
        names, shares = [names[k] for k in order], shares[order]
    each = plots.rows(names, shares.tolist(), "share of the time busy", percent=True,
                      x_range=(0, 1), caption=caption, half=True)  # fmt: skip
    over_time = figures.busy(runs, len(found.workers), run.begins)
    return _Part("Worker utilisation", text + ".", [each, over_time])


def _stragglers(run: RunRecord) -> _Part | None:
    if run.tasks is None or not len(run.tasks.runs):
        return None
    told, runs = run.tasks, run.tasks.runs
    found = measures.stragglers(runs)
    count, lost = sum(len(one.rows) for one in found), sum(one.lost_s for one in found)
    busy = float(runs.run_s.sum())
    text = Markup(
        "<b>{:,}</b> of {:,} runs took over {} times the median of their group; beyond it they "
        "took {} ({:.1%} of all run time). {}"
    ).format(
        count, len(runs), measures.STRAGGLES, readable_s(lost), lost / busy if busy else 0.0,
        _troubled(told.counts),
    )  # fmt: skip
    ratios = _ratios(runs, found)
    elements = []
    if ratios:
        elements.append(plots.histogram(
            {"runs": ratios}, "medians of its group", "runs", log_x=True,
            references=[Reference(measures.STRAGGLES, "straggles", "x")], half=True,
        ))  # fmt: skip
    rows = [
        [s.group, s.runs, readable_s(s.median_s), len(s.rows), readable_s(s.worst_s),
         readable_s(s.lost_s)]
        for s in found[:_MOST_ROWS]
    ]  # fmt: skip
    headers = ["tasks", "runs", "median", "stragglers", "worst", "lost"]
    elements.append(table(headers, rows, _of(rows, len(found), "groups"), half=bool(ratios)))
    if told.troubles:
        elements.append(_trouble_table(run))
    return _Part("Stragglers, duplicates and retries", text, elements)


def _ratios(runs: Any, found: Sequence[measures.Stragglers]) -> list[float]:
    """Return run times over the median of their group, of groups that have one."""
    medians = {one.group: one.median_s for one in found if one.median_s > 0}
    pairs = zip(measures.groups_of(runs), runs.run_s.tolist(), strict=True)
    return [seconds / medians[group] for group, seconds in pairs if group in medians]


def _troubled(counts: Mapping[str, int]) -> str:
    names = {
        "duplicate": "duplicate",
        "lost": "loss of a worker or pilot",
        "raised": "retry after an exception",
        "failed": "failure",
    }
    plural = {"loss of a worker or pilot": "losses of workers or pilots",
              "retry after an exception": "retries after exceptions"}  # fmt: skip
    words = [
        f"{counts[kind]} {name if counts[kind] == 1 else plural.get(name, f'{name}s')}"
        for kind, name in names.items()
        if counts.get(kind)
    ]
    if not words:
        return "No task was duplicated, retried or lost."
    return f"Recorded: {_joined(words)}."


def _trouble_table(run: RunRecord) -> Element:
    assert run.tasks is not None
    words = {"lost": "lost, run again", "raised": "raised, run again"}
    rows = [
        [
            f"{one.time - run.begins:.1f}",
            one.name,
            words.get(one.kind, one.kind),
            one.pilot,
            " ".join(one.reason.split())[:300],
        ]
        for one in sorted(run.tasks.troubles, key=lambda one: one.time)[:_MOST_ROWS]
    ]
    total = sum(run.tasks.counts.values())
    return table(["second", "task", "what", "pilot", "why"], rows, _of(rows, total, "of them"))


def _of(rows: Sequence[object], total: int, what: str) -> str:
    return f"The first {len(rows)} of {total:,} {what}." if len(rows) < total else ""


# -- predictions -----------------------------------------------------------------------


def _predictions(run: RunRecord) -> _Part | None:
    found = None if run.batches is None else measures.predictions(run.batches)
    told = run.recommendation
    if found is None and told is None:
        return None
    elements, text = [], ""
    if found is not None:
        text = Markup(
            "Batches took <b>{:.2f} times</b> what was predicted ({} measured, {} predicted); "
            "{:.0%} of {:,} were within a factor of 1.5."
        ).format(
            found.ratio, readable_s(float(found.measured_s.sum())),
            readable_s(float(found.predicted_s.sum())), found.within(1.5), len(found.rows),
        )  # fmt: skip
        elements.append(_scatter(run, found))
    if told is not None:
        reason = str(told.get("reason") or "")
        text += f" The recommendation was: {reason}." if reason else ""
        elements += _candidates(told)
    return _Part("Predictions against measurements", text.strip(), elements)


def _scatter(run: RunRecord, found: measures.Predictions) -> Element:
    assert run.batches is not None
    step = max(1, math.ceil(len(found.rows) / _MOST_POINTS))
    sources = np.array(run.batches.source)[found.rows]
    series = []
    for source in dict.fromkeys(sources.tolist()):
        some = np.flatnonzero(sources == source)[::step]
        series.append(Series(source, found.predicted_s[some].tolist(),
                             found.measured_s[some].tolist()))  # fmt: skip
    caption = f"Every {step}th of {len(found.rows):,} batches." if step > 1 else ""
    return plots.points(series, "predicted seconds", "measured seconds", diagonal=True, log=True,
                        caption=caption, half=True)  # fmt: skip


def _candidates(told: Mapping[str, Any]) -> Iterator[Element]:
    """Yield the candidates of a recommendation, with how sure it was of their seconds."""
    some = [c for c in told["candidates"] if isinstance(c, dict)]
    timed = [c for c in some if not math.isnan(number_in(c, "seconds"))]
    if timed:
        names = [str(c.get("cuts", "?")) for c in timed]
        ends = {"predicted": [(number_in(c, "low_s"), number_in(c, "high_s")) for c in timed]}
        yield plots.bars(
            names, {"predicted": [number_in(c, "seconds") for c in timed]}, "predicted seconds",
            x_label="cuts", errors=ends, half=True,
            caption=f"For {told.get('queries', '?')} parameter sets, with the range it may be in.",
        )  # fmt: skip
    chosen = told.get("chosen")
    cuts = chosen.get("cuts") if isinstance(chosen, dict) else None
    rows = [
        [
            f"{c.get('cuts', '?')}{' (chosen)' if c.get('cuts') == cuts else ''}",
            _listed(c.get("widths") or []),
            readable_s(number_in(c, "seconds")),
            number_in(c, "sampling_overhead"),
            number_in(c, "standard_error"),
            "yes"
            if c.get("feasible")
            else _joined([str(lack) for lack in c.get("lacks") or ["no"]]),
        ]
        for c in some[:_MOST_ROWS]
    ]
    headers = ["cuts", "fragments", "predicted", "overhead γ²", "standard error", "feasible"]
    yield table(headers, rows)


# -- the plan --------------------------------------------------------------------------


def _widths(run: RunRecord) -> list[int]:
    found = run.plan.get("widths")
    return [w for w in found if type(w) is int and w > 0] if isinstance(found, list) else []


def _cuts(run: RunRecord, plan_of: PlanOf, number: int) -> _Part | None:
    widths = _widths(run)
    if not widths:
        return None
    cuts = number_in(run.plan, "cuts")
    cuts = 0 if math.isnan(cuts) else int(cuts)
    overhead = number_in(run.plan, "sampling_overhead")
    variants = number_in(run.plan, "variants")
    cut = f"{_counted(cuts, 'cut')} into {_counted(len(widths), 'fragment')}"
    text = Markup("<b>{}</b>, the widest of {}; {}, sampling overhead γ² = {}.").format(
        cut if cuts or len(widths) > 1 else "Uncut",
        _counted(max(widths), "qubit"),
        "variants unknown" if math.isnan(variants) else _counted(int(variants), "variant"),
        "unknown" if math.isnan(overhead) else f"{overhead:.4g}",
    )
    try:
        shown = [figures.drawing(plan_of(run), number)]
    except UserError as error:
        shown = [figures.schematic(widths, cuts), note(f"The circuit is not drawn: {error}")]
    return _Part("Fragments and cuts", text, shown)


# -- settings, and what is not there ---------------------------------------------------


def _settings(run: RunRecord) -> _Part | None:
    elements: list[Element] = []
    if run.config:
        rows = [[name, _setting(value)] for name, value in run.config.items()]
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
        elements.append(note(f"{_counted(run.torn, 'line')} of its files could not be read."))
    return _Part("Settings and files", f"From {run.path}.", elements)


#: What is not shown without a file.
_SHOWN = {
    "config.yaml": "Settings are",
    "trace.jsonl": "Stages, reconstruction share and cuts are",
    "metrics.jsonl": "Loss and accuracy are",
    "events.jsonl": "Slots, utilisation and stragglers are",
    "pilots.json": "What pilots were asked for is",
    "recommendation.json": "The recommendation is",
}


def _setting(value: object) -> str:
    return "–" if value is None else str(value)


# -- several runs ----------------------------------------------------------------------


def _comparison(runs: Sequence[RunRecord], names: Sequence[str]) -> Iterator[_Part]:
    heads = [measures.headlines(run) for run in runs]
    rows = []
    for run, name, head in zip(runs, names, heads, strict=True):
        widths = _widths(run)
        cuts = number_in(run.plan, "cuts")
        rate = head.queries / head.seconds if head.seconds and head.queries else math.nan
        asked = "" if head.epochs_asked is None else f" of {head.epochs_asked}"
        rows.append([
            name, _setting(run.config.get("dataset")), _setting(run.config.get("mode")),
            None if math.isnan(cuts) else int(cuts), _listed(widths) or "–",
            f"{head.epochs}{asked}", head.loss,
            None if math.isnan(head.accuracy) else f"{head.accuracy:.1%}",
            readable_s(head.seconds), rate,
            None if math.isnan(head.reconstruction) else f"{head.reconstruction:.1%}",
            None if math.isnan(head.busy) else f"{head.busy:.0%}",
        ])  # fmt: skip
    headers = ["run", "data", "mode", "cuts", "fragments", "epochs", "loss", "accuracy", "time",
               "queries/s", "reconstruction", "busy"]  # fmt: skip
    yield _Part("The runs side by side", _compared(heads, names), [table(headers, rows)])
    yield from _overlaid(runs, names)
    yield from _stage_bars(runs, names)


def _compared(heads: Sequence[measures.Headlines], names: Sequence[str]) -> str:
    words = []
    accurate = [(h.accuracy, n) for h, n in zip(heads, names, strict=True)
                if not math.isnan(h.accuracy)]  # fmt: skip
    fast = [(h.queries / h.seconds, n) for h, n in zip(heads, names, strict=True)
            if h.seconds and h.queries]  # fmt: skip
    if accurate:
        most = max(accurate)[0]
        best = [name for accuracy, name in accurate if accuracy == most]
        words.append(Markup("most accurate: <b>{}</b> ({:.1%})").format(_joined(best), most))
    if fast:
        rate, name = max(fast)
        words.append(Markup("fastest: <b>{}</b> ({:.3g} queries a second)").format(name, rate))
    return _sentence(words)


def _overlaid(runs: Sequence[RunRecord], names: Sequence[str]) -> Iterator[_Part]:
    figures_: list[Element] = []
    for key, label in (("loss", "training loss"), ("accuracy", "test accuracy")):
        series = []
        for number, (run, name) in enumerate(zip(runs, names, strict=True)):
            wanted = {key: (name, number % plots.COLOURS, number >= plots.COLOURS)}
            series += _curves(run, wanted)
        if series:
            is_share = key == "accuracy"
            ends = (None, 1.02) if is_share else None
            figures_.append(plots.lines(series, "epoch", label, percent=is_share, y_range=ends,
                                        half=True))  # fmt: skip
    if figures_:
        yield _Part("Loss and accuracy, overlaid", "Runs can be hidden in the legend.", figures_)


def _stage_bars(runs: Sequence[RunRecord], names: Sequence[str]) -> Iterator[_Part]:
    shown = [(n, r) for n, r in zip(names, runs, strict=True) if r.batches is not None]
    if not shown:
        return
    seconds = [measures.stage_seconds(run) for _, run in shown]
    queries = [max(measures.headlines(run).queries, 1) for _, run in shown]
    each = {
        stage: [1000 * s[stage] / q for s, q in zip(seconds, queries, strict=True)]
        for stage in STAGES
    }
    shares = {stage: [s[stage] / (sum(s.values()) or 1.0) for s in seconds] for stage in STAGES}
    labels = [name for name, _ in shown]
    yield _Part(
        "Stages, side by side",
        "Milliseconds of each stage for one query, and each stage's share.",
        [
            plots.bars(labels, each, "milliseconds a query", stacked=True, half=True,
                       colours=_STAGE_COLOURS),
            plots.bars(labels, shares, "share", stacked=True, percent=True, half=True,
                       colours=_STAGE_COLOURS),
        ],
    )  # fmt: skip


# -- words -----------------------------------------------------------------------------


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(widths: Sequence[object]) -> str:
    """Return the widths of fragments, of many the first ones."""
    shown = ", ".join(str(width) for width in list(widths)[:8])
    return f"{shown}, …" if len(widths) > 8 else shown


def _joined(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1] if words else ""]))


def _sentence(words: Sequence[str]) -> str:
    """Return clauses as one sentence, markup kept."""
    if not words:
        return ""
    told = Markup("; ").join(words)
    return Markup("{}{}.").format(told[:1].upper(), told[1:])
