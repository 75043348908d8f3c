"""Robustness of cut networks (RQ5) beside that of uncut ones.

The networks of RQ4, on test samples with Gaussian noise and under FGSM, all in sampled mode:
the attacker too sees gradients with shot noise. Magnitudes are shares of the features' range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotcut.study import accuracy as rq4
from pilotcut.study import published
from pilotcut.study.cells import Cell, save_result
from pilotcut.study.findings import (
    CellResult,
    Findings,
    Plot,
    PlotSeries,
    Table,
    Verdict,
    grouped,
)
from pilotcut.study.profiles import Profile
from pilotcut.study.trend import Trend, trend
from pilotcut.training.data import FEATURE_MAX
from pilotcut.training.loaders import tensors
from pilotcut.training.losses import aligned
from pilotcut.training.robustness import gaussian_noise, input_gradient, moved
from pilotcut.training.trained import trained

NAME, TITLE = "rq5", "RQ5: are cut networks as robust as uncut ones?"

KINDS = {"noise": "Gaussian noise", "attacks": "FGSM"}


def cells(profile: Profile) -> list[Cell]:
    """Return an evaluation of every network that RQ4 has trained."""
    return [
        Cell(
            NAME,
            curve.name,
            {
                "dataset": curve.settings["dataset"],
                "cuts": curve.settings["cuts"],
                "seed": curve.settings["seed"],
                "noise": list(profile.noise),
                "attacks": list(profile.attacks),
                "draws": profile.draws,
            },
        )
        for curve in rq4.curves(profile)
    ]


def work(cell: Cell, run_dir: Path, place: Path) -> None:
    """Evaluate the network of RQ4's cell of the same name, and write the result."""
    trained_in = run_dir.parent.parent / rq4.NAME / cell.name
    save_result(place, cell, evaluate(cell, trained_in))


def evaluate(cell: Cell, trained_in: Path) -> dict[str, Any]:
    """Return test accuracies under noise and under attack, one for each magnitude."""
    settings = cell.settings
    found = trained(trained_in, input_gradients=True)
    x, y = tensors(found.data.x_test, found.data.y_test)
    bounds = (0.0, FEATURE_MAX)
    # By the seed alone: networks of all numbers of cuts meet the same noise.
    generator = torch.Generator().manual_seed(int(settings["seed"]))

    def accuracy(inputs: torch.Tensor) -> float:
        return found.evaluate(inputs.numpy(), found.data.y_test).accuracy or 0.0

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return found.loss(aligned(outputs, targets), targets)

    noisy = [
        [
            accuracy(gaussian_noise(x, sigma * FEATURE_MAX, generator, bounds))
            for _ in range(settings["draws"])
        ]
        for sigma in settings["noise"]
    ]
    # FGSM moves by the sign of the gradient at the clean sample: one serves all magnitudes.
    gradient = input_gradient(found.network, loss, x, y)
    attacked = [
        accuracy(moved(x, gradient, size * FEATURE_MAX, bounds)) for size in settings["attacks"]
    ]
    return {"under_noise": [float(np.mean(some)) for some in noisy], "under_attacks": attacked}


def findings(results: Sequence[CellResult]) -> Findings:
    """Return what the evaluations say of robustness with cuts."""
    return Findings(
        question=NAME,
        title=TITLE,
        mode="sampled mode, the networks of RQ4",
        answer=_answer(results),
        published=published.ROBUSTNESS,
        verdicts=_verdicts(results),
        tables=[_table(results, kind) for kind in KINDS] if results else [],
        plots=_plots(results),
    )


def _mean_loss(result: CellResult, kind: str) -> float:
    """Return the accuracy lost to perturbations, the mean over magnitudes above 0."""
    accuracies, sizes = result[f"under_{kind}"], result[kind]
    clean = next((a for a, size in zip(accuracies, sizes, strict=True) if size == 0), None)
    hurt = [a for a, size in zip(accuracies, sizes, strict=True) if size > 0]
    return (accuracies[0] if clean is None else clean) - float(np.mean(hurt))


def _trends(results: Sequence[CellResult]) -> dict[tuple[str, str], Trend | None]:
    """Return the trend over cuts of the accuracy under perturbation, by data set and kind."""
    found = {}
    for (dataset,), some in grouped(results, "dataset").items():
        for kind in KINDS:
            y = [_mean_perturbed(r, kind) for r in some]
            found[dataset, kind] = trend([r["cuts"] for r in some], y, [r["seed"] for r in some])
    return found


def _mean_perturbed(result: CellResult, kind: str) -> float:
    """Return the mean accuracy over magnitudes above 0."""
    pairs = zip(result[f"under_{kind}"], result[kind], strict=True)
    return float(np.mean([accuracy for accuracy, size in pairs if size > 0]))


def _answer(results: Sequence[CellResult]) -> str:
    parts = []
    for (dataset, kind), found in _trends(results).items():
        some = [r for r in results if r["dataset"] == dataset]
        uncut = [_mean_loss(r, kind) for r in some if r["cuts"] == 0]
        most = max(r["cuts"] for r in some)
        cut = [_mean_loss(r, kind) for r in some if r["cuts"] == most]
        slope = f" (accuracy's slope {found.text()})" if found is not None else ""
        parts.append(
            f"{dataset} under {KINDS[kind]}: accuracy {-100 * float(np.mean(uncut)):+.1f} points "
            f"uncut and {-100 * float(np.mean(cut)):+.1f} at {most} cuts{slope}"
        )
    return "; ".join(parts) + "." if parts else "Not answered yet: evaluations are missing."


def _verdicts(results: Sequence[CellResult]) -> list[Verdict]:
    return [
        Verdict(
            f"{dataset}, {KINDS[kind]}: no trend of the accuracy over cuts (5 % level)",
            found.text(),
            not found.exists,
        )
        for (dataset, kind), found in _trends(results).items()
        if found is not None
    ]


def _table(results: Sequence[CellResult], kind: str) -> Table:
    sizes = results[0][kind]
    columns = ["data set", "cuts", "seeds", *(f"{size:g}" for size in sizes)]
    rows = []
    for (dataset, cuts), some in grouped(results, "dataset", "cuts").items():
        means = np.mean([r[f"under_{kind}"] for r in some], axis=0)
        rows.append([dataset, cuts, len(some), *map(float, means)])
    formats = dict.fromkeys(columns[3:], ".1%")
    note = "Mean test accuracy over seeds, by magnitude as a share of the features' range."
    return Table(f"accuracy_{kind}", f"Under {KINDS[kind]}", columns, rows, formats, note)


def _plots(results: Sequence[CellResult]) -> list[Plot]:
    plots = []
    for (dataset,), some in grouped(results, "dataset").items():
        for kind, label in KINDS.items():
            series = []
            for (cuts,), same in grouped(some, "cuts").items():
                values = np.array([r[f"under_{kind}"] for r in same])
                series.append(
                    PlotSeries(
                        f"{cuts} cuts",
                        list(same[0][kind]),
                        *(f(values, axis=0).tolist() for f in (np.mean, np.min, np.max)),
                    )
                )
            title = f"{dataset}: {label}"
            axis = "magnitude, share of the features' range"
            plots.append(Plot(f"{dataset}_{kind}", title, axis, "test accuracy", series))
    return plots
