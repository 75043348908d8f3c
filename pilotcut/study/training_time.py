"""Training time (RQ1) at 0 to 3 cuts.

In counts mode on the pilots, where every subexperiment is a circuit with shots, and in exact
mode in this process. The yardstick of counts mode is the number of circuits: cutting cannot do
with fewer than the variants of all fragments, shifts included, so more than their ratio is
overhead of the system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotcut.io.jsonl import read_jsonl
from pilotcut.options import STATEVECTOR
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
    median,
)
from pilotcut.study.pilots import StudyPilots
from pilotcut.study.profiles import Profile
from pilotcut.study.trainings import common_settings, training_run

NAME, TITLE = "rq1", "RQ1: what does training take at 0 to 3 cuts?"

#: Most that 3 cuts may cost over none in exact mode.
EXACT_RATIO = 1.5


def cells(profile: Profile) -> list[Cell]:
    """Return a training of every data set, mode and number of cuts, seed by seed."""
    return [
        Cell(
            NAME,
            f"{dataset}-{mode}-cuts{cuts}-seed{seed}",
            _settings(profile, dataset, mode, cuts, seed),
        )
        for seed in profile.timed_seeds
        for dataset in profile.datasets
        for mode in ("counts", "exact")
        for cuts in profile.cuts
    ]


def _settings(profile: Profile, dataset: str, mode: str, cuts: int, seed: int) -> dict[str, Any]:
    # It is cuts that are timed: the exact mode may do without them.
    varied = {"mode": mode, "cuts": cuts, "seed": seed, "engine": STATEVECTOR}
    epochs = profile.timed_exact_epochs if mode == "exact" else profile.timed_epochs
    budget = {"samples": profile.timed_samples, "epochs": epochs}
    return common_settings(profile, dataset) | varied | budget


def run(cell: Cell, study: StudyDirectory, pilots: StudyPilots) -> dict[str, Any]:
    """Train from the start, whatever an interrupted try has left, and return its times."""
    tasks = pilots.tasks() if cell.settings["mode"] == "counts" else None
    training = training_run(cell.settings, study.fresh_run_dir(cell), tasks)
    summary = training.train()
    seconds = [record["seconds"] for record in read_jsonl(training.run.metrics)]
    return {
        "epoch_s": seconds,
        "circuits": summary["subexperiments"] / len(seconds),
        "fragments": summary["fragments"],
        "variants": training.plan.num_variants,
        "accuracy": summary["accuracy"],
        "training_samples": len(training.data.y_train),
        "test_samples": len(training.data.y_test),
        "weights": len(training.model.weights),
        "workers": pilots.workers if tasks else 0,
    }


def findings(results: Sequence[CellResult], addon: Sequence[CellResult]) -> Findings:
    """Return what trainings say of the price of cuts."""
    rows = [
        _row(some, results, addon) for some in grouped(results, "dataset", "mode", "cuts").values()
    ]
    return Findings(
        question=NAME,
        title=TITLE,
        mode="counts mode, times of epochs on the pilots; exact mode in one process beside it",
        answer=_answer(rows),
        published=published.TIME,
        verdicts=_verdicts(rows),
        tables=[_table(rows, bool(addon))],
        plots=_plots(rows),
    )


def _row(
    some: Sequence[CellResult], results: Sequence[CellResult], addon: Sequence[CellResult]
) -> dict[str, Any]:
    """Return what one number of cuts comes to, medians over seeds and epochs."""
    one = some[0]
    uncut = chosen(results, dataset=one["dataset"], mode=one["mode"], cuts=0)
    times = [s for result in some for s in result["epoch_s"]]
    epoch_s, reference_s = float(np.median(times)), median(uncut, _epoch_s)
    return {
        "dataset": one["dataset"],
        "mode": one["mode"],
        "cuts": one["cuts"],
        "fragments": one["fragments"],
        "variants": one["variants"],
        "epoch_s": epoch_s,
        "low_s": min(times),
        "high_s": max(times),
        "ratio": epoch_s / reference_s,
        "circuits_ratio": one["circuits"] / median(uncut, "circuits"),
        "addon_s": baseline.epoch_s(addon, one) if one["mode"] == "counts" else None,
    }


def _epoch_s(result: CellResult) -> float:
    return float(np.median(result["epoch_s"]))


def _worst(rows: Sequence[dict[str, Any]], mode: str) -> dict[str, Any] | None:
    """Return the row of a mode with most cuts that is furthest from its yardstick."""
    most = max((row["cuts"] for row in rows), default=0)
    some = [row for row in rows if row["mode"] == mode and row["cuts"] == most > 0]
    limit = (lambda row: row["circuits_ratio"]) if mode == "counts" else (lambda row: EXACT_RATIO)
    return max(some, key=lambda row: row["ratio"] / limit(row), default=None)


def _answer(rows: Sequence[dict[str, Any]]) -> str:
    counts, exact = _worst(rows, "counts"), _worst(rows, "exact")
    if counts is None or exact is None:
        return "Not answered yet: trainings with cuts are missing."
    is_faster = min(counts["ratio"], exact["ratio"]) > 1
    ending = "; at this size the uncut circuit is the faster one" if is_faster else ""
    return (
        f"Training with {counts['cuts']} cuts takes {counts['ratio']:.1f} times as long as uncut "
        f"in counts mode on {counts['dataset']}, where it runs {counts['circuits_ratio']:.1f} "
        f"times as many circuits, and {exact['ratio']:.2f} times as long in exact mode on "
        f"{exact['dataset']}{ending}."
    )


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    verdicts = []
    if (row := _worst(rows, "counts")) is not None:
        verdicts.append(
            Verdict(
                f"counts mode: {row['cuts']} cuts over none at most the ratio of circuits",
                f"{row['ratio']:.2f} of {row['circuits_ratio']:.2f} ({row['dataset']})",
                row["ratio"] <= row["circuits_ratio"],
            )
        )
    if (row := _worst(rows, "exact")) is not None:
        verdicts.append(
            Verdict(
                f"exact mode: {row['cuts']} cuts over none at most {EXACT_RATIO}",
                f"{row['ratio']:.2f} ({row['dataset']})",
                row["ratio"] <= EXACT_RATIO,
            )
        )
    return verdicts


def _table(rows: Sequence[dict[str, Any]], has_addon: bool) -> Table:
    columns = {
        "data set": "dataset",
        "mode": "mode",
        "cuts": "cuts",
        "fragments": "fragments",
        "variants": "variants",
        "s an epoch": "epoch_s",
        "least s": "low_s",
        "most s": "high_s",
        "over uncut": "ratio",
        "circuits over uncut": "circuits_ratio",
    }
    columns |= {"addon, s an epoch": "addon_s"} if has_addon else {}
    spec = {"s an epoch": ".3f", "least s": ".3f", "most s": ".3f", "addon, s an epoch": ",.0f"}
    return Table(
        "training_time",
        "Training time",
        list(columns),
        [[row[key] for key in columns.values()] for row in rows],
        spec | {"over uncut": ".2f", "circuits over uncut": ".2f"},
        "Medians over seeds and epochs. " + (baseline.NOTE if has_addon else ""),
    )


def _plots(rows: Sequence[dict[str, Any]]) -> list[Plot]:
    series = []
    for dataset, mode in dict.fromkeys((row["dataset"], row["mode"]) for row in rows):
        some = [row for row in rows if (row["dataset"], row["mode"]) == (dataset, mode)]
        cuts = [row["cuts"] for row in some]
        series.append(
            PlotSeries(
                f"{dataset}, {mode}",
                cuts,
                [row["epoch_s"] for row in some],
                [row["low_s"] for row in some],
                [row["high_s"] for row in some],
            )
        )
        priced = [row for row in some if row["addon_s"] is not None]
        if priced:
            name = f"{dataset}, addon's pipeline"
            series.append(
                PlotSeries(
                    name, [row["cuts"] for row in priced], [row["addon_s"] for row in priced]
                )
            )
    title = "Seconds an epoch over cuts"
    return [Plot("training_time", title, "cuts", "s an epoch", series, log_y=True)]
