"""Share of reconstruction in a query (RQ2), and the speed-up by more workers.

Batches of queries in counts mode on 1, 2, 4, … workers, round by round over all conditions, so
that a drift of the machine's speed meets all of them. Turning counts into expectations counts as
reconstruction, though it happens on the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotcut.io.jsonl import JsonLines, read_jsonl
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.study import baseline, published
from pilotcut.study.cells import Cell, StudyDirectory
from pilotcut.study.findings import (
    CellResult,
    Findings,
    Plot,
    PlotSeries,
    Table,
    Verdict,
    chosen,
    grouped,
)
from pilotcut.study.pilots import StudyPilots
from pilotcut.study.profiles import Profile
from pilotcut.training.model import classifier

NAME, TITLE = "rq2", "RQ2: which share is reconstruction, and do more workers help?"

#: Most that reconstruction may take of a query.
SHARE = 0.05


def cells(profile: Profile, workers: Sequence[int]) -> list[Cell]:
    """Return some batches for every number of cuts and of workers, round by round."""
    return [
        Cell(
            NAME,
            f"cuts{cuts}-workers{count}-round{number}",
            {
                "cuts": cuts,
                "workers": count,
                "round": number,
                "qubits": profile.qubits,
                "shots": profile.shots,
                "batch_size": profile.batch_size,
                "batches": profile.batches,
            },
        )
        for number in range(profile.rounds)
        for cuts in profile.cuts
        for count in workers
    ]


def run(cell: Cell, study: StudyDirectory, pilots: StudyPilots) -> dict[str, Any]:
    """Run the batches, after one that is not counted, and return times and shares of each."""
    settings = cell.settings
    model = classifier(settings["qubits"])
    tasks = pilots.tasks(settings["workers"])
    estimator = CutEstimator(
        tasks, cuts=settings["cuts"], shots=settings["shots"], seed=settings["round"]
    )
    shape = (settings["batch_size"], model.circuit.num_parameters)
    values = np.random.default_rng(settings["round"]).uniform(0, np.pi / 2, shape)
    pub = (model.circuit, [model.observables[0]], values)
    place = study.fresh_run_dir(cell)
    place.mkdir(parents=True)
    with JsonLines(place / "trace.jsonl") as trace:
        estimator.run([pub]).result()  # compiles, and translates templates on the workers
        estimator.stages.attach(trace)
        for _ in range(settings["batches"]):
            estimator.run([pub]).result()
    batches = [r for r in read_jsonl(place / "trace.jsonl") if r["kind"] == "query_batch"]
    batches = batches[-settings["batches"] :]
    return {
        "wall_s": [batch["wall_s"] for batch in batches],
        "shares": [_share(batch["stage_seconds"]) for batch in batches],
        "waits": [batch["waits_s"] / batch["wall_s"] for batch in batches],
        "subexperiments": batches[-1]["subexperiments"],
    }


def _share(stages: dict[str, float]) -> float:
    return stages["reconstruct"] / sum(stages.values())


def findings(results: Sequence[CellResult], addon: Sequence[CellResult]) -> Findings:
    """Return what batches say of reconstruction and of scaling."""
    rows = [_row(some, results, addon) for some in grouped(results, "cuts", "workers").values()]
    rows.sort(key=lambda row: (row["cuts"], row["workers"]))
    most = max((row["workers"] for row in rows), default=1)
    return Findings(
        question=NAME,
        title=TITLE,
        mode="counts mode, batches of queries on the pilots",
        answer=_answer(rows, most),
        published=published.SCALING,
        verdicts=_verdicts(rows),
        tables=[_table(rows, bool(addon))],
        plots=_plots(rows, addon, most),
    )


def _row(
    some: Sequence[CellResult], results: Sequence[CellResult], addon: Sequence[CellResult]
) -> dict[str, Any]:
    """Return what one number of cuts and of workers comes to, over rounds and batches."""
    cuts, workers = some[0]["cuts"], some[0]["workers"]
    shares = np.concatenate([result["shares"] for result in some])
    waits = np.concatenate([result["waits"] for result in some])
    queries = some[0]["batch_size"]
    wall_s = np.concatenate([result["wall_s"] for result in some])
    ratios = _speed_ups(some, chosen(results, cuts=cuts, workers=1))
    return {
        "cuts": cuts,
        "workers": workers,
        "query_ms": 1e3 * float(np.median(wall_s)) / queries,
        "low_ms": 1e3 * float(wall_s.min()) / queries,
        "high_ms": 1e3 * float(wall_s.max()) / queries,
        "share": float(np.median(shares)),
        "share_p95": float(np.quantile(shares, 0.95)),
        "waits": float(np.median(waits)),
        "speed_up": float(np.median(ratios)) if ratios else float("nan"),
        "speed_low": min(ratios, default=float("nan")),
        "speed_high": max(ratios, default=float("nan")),
        "published": published.RECONSTRUCTION_SHARE.get(cuts),
        "addon_share": baseline.reconstruction_share(addon, cuts),
        "addon_ms": _milliseconds(baseline.query_s(addon, cuts)),
    }


def _speed_ups(some: Sequence[CellResult], alone: Sequence[CellResult]) -> list[float]:
    """Return how much faster than one worker, round by round."""
    one = {result["round"]: float(np.median(result["wall_s"])) for result in alone}
    return [
        one[result["round"]] / float(np.median(result["wall_s"]))
        for result in some
        if result["round"] in one
    ]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _answer(rows: Sequence[dict[str, Any]], most: int) -> str:
    cut = [row for row in rows if row["cuts"] > 0 and row["workers"] == most]
    if not cut:
        return "Not answered yet: batches with cuts are missing."
    shares = ", ".join(f"{row['share']:.1%}" for row in cut)
    counts = ", ".join(str(row["cuts"]) for row in cut)
    best = max(cut, key=lambda row: row["speed_up"])
    return (
        f"Reconstruction takes {shares} of a query at {counts} cuts (published 43, 49 and 53 %), "
        f"and {most} workers are up to {best['speed_up']:.2f} times as fast as one (at "
        f"{best['cuts']} cuts)."
    )


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    cut = [row for row in rows if row["cuts"] > 0]
    if not cut:
        return []
    worst = max(cut, key=lambda row: row["share"])
    return [
        Verdict(
            f"reconstruction under {SHARE:.0%} of a query, median, at every number of cuts",
            f"at most {worst['share']:.1%} ({worst['cuts']} cuts, {worst['workers']} workers)",
            worst["share"] < SHARE,
        )
    ]


def _table(rows: Sequence[dict[str, Any]], has_addon: bool) -> Table:
    columns = {
        "cuts": ("cuts", ""),
        "workers": ("workers", ""),
        "ms a query": ("query_ms", ".2f"),
        "least ms": ("low_ms", ".2f"),
        "most ms": ("high_ms", ".2f"),
        "reconstruction": ("share", ".1%"),
        "p95": ("share_p95", ".1%"),
        "published": ("published", ".0%"),
        "waited for it": ("waits", ".1%"),
        "speed-up": ("speed_up", ".2f"),
        "least": ("speed_low", ".2f"),
        "most": ("speed_high", ".2f"),
    }
    if has_addon:
        columns |= {"addon, ms": ("addon_ms", ",.1f"), "addon, reconstr.": ("addon_share", ".1%")}
    return Table(
        "reconstruction_share",
        "Reconstruction and speed-up",
        list(columns),
        [[row[key] for key, _ in columns.values()] for row in rows],
        {name: spec for name, (_, spec) in columns.items()},
        "Shares over batches; speed-ups are medians over rounds, each against one worker of the "
        "same round. 'Waited for it': the part of a query in which nothing else went on, since "
        "most of the reconstruction happens while workers run other bundles.",
    )


def _plots(rows: Sequence[dict[str, Any]], addon: Sequence[CellResult], most: int) -> list[Plot]:
    widest = [row for row in rows if row["workers"] == most]
    names = [f"{row['cuts']} cuts" for row in widest]
    shares = [PlotSeries("pilotcut", names, [100 * row["share"] for row in widest])]
    said = [row for row in widest if row["published"] is not None]
    if said:
        values = [100 * row["published"] for row in said]
        shares.append(PlotSeries("published", [f"{row['cuts']} cuts" for row in said], values))
    priced = [row for row in widest if row["cuts"] and row["addon_share"] is not None]
    if priced:
        values = [100 * row["addon_share"] for row in priced]
        shares.append(PlotSeries("addon", [f"{row['cuts']} cuts" for row in priced], values))
    speed = []
    for (cuts,), some in grouped(rows, "cuts").items():
        speed.append(
            PlotSeries(
                f"{cuts} cuts",
                [row["workers"] for row in some],
                [row["speed_up"] for row in some],
                [row["speed_low"] for row in some],
                [row["speed_high"] for row in some],
            )
        )
    return [
        Plot(
            "reconstruction_share",
            "Reconstruction's share of a query",
            "",
            "% of a query",
            shares,
            kind="bars",
            references={f"{SHARE:.0%}": 100 * SHARE},
        ),
        Plot("speed_up", "Speed-up over one worker", "workers", "times", speed),
    ]
