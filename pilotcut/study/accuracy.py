"""Accuracy (RQ4): what is learned with cuts and without, and what the paper leaves open.

Learning curves in sampled mode, which draws from the distribution of noiseless counts: as many
shots a subexperiment as in counts mode, without simulating circuits. Same seed: same split, same
first weights, same order of samples at every number of cuts. The extensions (more classes, deeper
ansatz, more qubits, other batches) are trained in exact mode.

Each cell is one task on a pilot, which trains in the worker's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.io.jsonl import read_jsonl
from pilotcut.options import STATEVECTOR
from pilotcut.study import published
from pilotcut.study.cells import Cell, save_result
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
from pilotcut.study.profiles import Profile
from pilotcut.study.trainings import common_settings, train
from pilotcut.study.trend import Trend, trend

NAME, TITLE = "rq4", "RQ4: do cuts change what is learned?"

#: The kind of the cells that repeat the paper; the others name what they vary.
CURVE = "curve"


def cells(profile: Profile) -> list[Cell]:
    """Return the learning curves, then the extensions."""
    return [*curves(profile), *_extensions(profile)]


def curves(profile: Profile) -> list[Cell]:
    """Return a training for every data set, number of cuts and seed."""
    return [
        Cell(
            NAME,
            f"{dataset}-cuts{cuts}-seed{seed}",
            common_settings(profile, dataset)
            | {"kind": CURVE, "mode": "sampled", "cuts": cuts, "seed": seed}
            | {"samples": profile.samples, "epochs": profile.epochs},
        )
        for seed in profile.seeds
        for dataset in profile.datasets
        for cuts in profile.cuts
    ]


def _extensions(profile: Profile) -> list[Cell]:
    budget = {"samples": profile.extended_samples, "epochs": profile.extended_epochs}
    return [
        Cell(
            NAME,
            f"{_name_of(changes)}-cuts{cuts}-seed{seed}",
            common_settings(profile, changes["dataset"])
            | budget
            | changes
            | {"mode": "exact", "engine": STATEVECTOR, "cuts": cuts, "seed": seed},
        )
        for seed in profile.extended_seeds
        for changes in _changes(profile)
        for cuts in _cuts_of(changes)
    ]


def _changes(profile: Profile) -> Iterator[dict[str, Any]]:
    """Yield what the extensions change, one thing at a time."""
    image = "digits" if "digits" in profile.datasets else profile.datasets[-1]
    yield {"kind": "classes", "dataset": "iris", "classes": 3}
    if image != "iris":
        yield {"kind": "classes", "dataset": image, "classes": 4}
    for reps in profile.extended_reps:
        yield {"kind": "reps", "dataset": "iris", "reps": reps}
    for qubits in profile.extended_qubits:
        yield {"kind": "qubits", "dataset": image, "qubits": qubits}
    for size in profile.extended_batches:
        yield {"kind": "batch_size", "dataset": "iris", "batch_size": size}


def _cuts_of(changes: dict[str, Any]) -> tuple[int, int]:
    """Return no cut, and two, or where every layer crosses the middle, one a layer."""
    return 0, changes.get("reps", 2)


def _name_of(changes: dict[str, Any]) -> str:
    return f"{changes['dataset']}-{changes['kind']}{changes[changes['kind']]}"


def work(cell: Cell, run_dir: Path, place: Path) -> None:
    """Train a cell, from its last checkpoint where there is one, and write its result."""
    training, summary = train(cell.settings, run_dir)
    epochs = read_jsonl(training.run.metrics)
    values = {
        "loss": [epoch["loss"] for epoch in epochs],
        "train_accuracy": [epoch["train_accuracy"] for epoch in epochs],
        "accuracy": [epoch["accuracy"] for epoch in epochs],
        "epoch_s": [epoch["seconds"] for epoch in epochs],
        "fragments": summary["fragments"],
        "widths": list(training.plan.widths),
        "weights": len(training.model.weights),
        "training_samples": len(training.data.y_train),
        "test_samples": len(training.data.y_test),
    }
    save_result(place, cell, values)


def last(result: CellResult) -> float:
    """Return the test accuracy after the last epoch."""
    return float(result["accuracy"][-1])


def findings(results: Sequence[CellResult]) -> Findings:
    """Return what trainings say of learning with cuts."""
    curve = chosen(results, kind=CURVE)
    tables = [_table(curve)]
    extended = [result for result in results if result["kind"] != CURVE]
    if extended:
        tables.append(_extended_table(extended))
    return Findings(
        question=NAME,
        title=TITLE,
        mode="sampled mode for the learning curves; exact mode for the extensions",
        answer=_answer(curve),
        published=published.LEARNING,
        verdicts=_verdicts(curve),
        tables=tables,
        plots=_plots(curve),
    )


def _trends(curve: Sequence[CellResult]) -> dict[str, Trend | None]:
    """Return the trend of the final accuracy over cuts, for each data set."""
    return {
        dataset: trend(
            [r["cuts"] for r in some], [last(r) for r in some], [r["seed"] for r in some]
        )
        for (dataset,), some in grouped(curve, "dataset").items()
    }


def _difference(curve: Sequence[CellResult]) -> float:
    """Return the largest difference between numbers of cuts, of any seed."""
    seeds = [[last(r) for r in some] for some in grouped(curve, "dataset", "seed").values()]
    return max((max(some) - min(some) for some in seeds), default=float("nan"))


def _answer(curve: Sequence[CellResult]) -> str:
    parts = []
    for (dataset,), some in grouped(curve, "dataset").items():
        by_cuts = grouped(some, "cuts")
        accuracies = ", ".join(f"{np.mean([last(r) for r in rs]):.1%}" for rs in by_cuts.values())
        counts = ", ".join(str(cuts) for (cuts,) in by_cuts)
        found = _trends(some)[dataset]
        slope = f", slope {found.text()}" if found is not None else ""
        parts.append(f"{dataset}: test accuracy {accuracies} at {counts} cuts{slope}")
    return "; ".join(parts) + "." if parts else "Not answered yet: trainings are missing."


def _verdicts(curve: Sequence[CellResult]) -> list[Verdict]:
    verdicts = []
    for dataset, found in _trends(curve).items():
        some = chosen(curve, dataset=dataset)
        if dataset == "iris":
            difference = _difference(some)
            verdicts.append(
                Verdict(
                    "iris: the same test accuracy at every number of cuts, for every seed",
                    f"largest difference {difference:.1%} of {some[0]['test_samples']} samples",
                    difference == 0,
                )
            )
        if found is not None:
            claim = f"{dataset}: no trend of the test accuracy over cuts (5 % level)"
            verdicts.append(Verdict(claim, found.text(), not found.exists))
    return verdicts


def _table(curve: Sequence[CellResult]) -> Table:
    columns = ["data set", "cuts", "seeds", "test accuracy", "least", "most", "loss", "epoch s"]
    rows = []
    for (dataset, cuts), some in grouped(curve, "dataset", "cuts").items():
        accuracies = [last(r) for r in some]
        rows.append(
            [
                dataset,
                cuts,
                len(some),
                float(np.mean(accuracies)),
                min(accuracies),
                max(accuracies),
                float(np.mean([r["loss"][-1] for r in some])),
                median(some, lambda r: float(np.median(r["epoch_s"]))),
            ]
        )
    formats = dict.fromkeys(("test accuracy", "least", "most"), ".1%")
    note = "Means over seeds after the last epoch; seconds are of two trainings side by side."
    return Table(
        "accuracy",
        "Learning with cuts",
        columns,
        rows,
        formats | {"loss": ".3f", "epoch s": ".2f"},
        note,
    )


def _extended_table(extended: Sequence[CellResult]) -> Table:
    columns = ["data set", "varied", "value", "cuts", "widths", "seeds", "test accuracy", "loss"]
    rows = []
    for (dataset, kind, cuts), some in grouped(extended, "dataset", "kind", "cuts").items():
        for (value,), same in grouped(some, kind).items():
            rows.append(
                [
                    dataset,
                    kind,
                    value,
                    cuts,
                    "+".join(map(str, same[0]["widths"])),
                    len(same),
                    float(np.mean([last(r) for r in same])),
                    float(np.mean([r["loss"][-1] for r in same])),
                    median(same, lambda r: float(np.median(r["epoch_s"]))),
                ]
            )
    rows.sort(key=lambda row: (row[1], row[0], row[2], row[3]))
    return Table(
        "extensions",
        "What the paper leaves open (exact mode)",
        [*columns, "epoch s"],
        rows,
        {"test accuracy": ".1%", "loss": ".3f", "epoch s": ".2f"},
        "Two classes, reps 1, 4 qubits and the usual batch where nothing else is said. In exact "
        "mode cut and uncut networks are one function: equal columns are the expected result.",
    )


def _plots(curve: Sequence[CellResult]) -> list[Plot]:
    plots = []
    for (dataset,), some in grouped(curve, "dataset").items():
        for value, label in (("loss", "training loss"), ("accuracy", "test accuracy")):
            series = [
                _mean_curve(f"{cuts} cuts", same, value)
                for (cuts,), same in grouped(some, "cuts").items()
            ]
            title = f"{dataset}: {label}"
            plots.append(Plot(f"{dataset}_{value}", title, "epoch", label, series))
    return plots


def _mean_curve(name: str, some: Sequence[CellResult], value: str) -> PlotSeries:
    """Return the mean over seeds, epoch by epoch, between the least and the greatest."""
    values = np.array([result[value] for result in some])
    epochs = list(range(1, values.shape[1] + 1))
    return PlotSeries(
        name, epochs, *(f(values, axis=0).tolist() for f in (np.mean, np.min, np.max))
    )
