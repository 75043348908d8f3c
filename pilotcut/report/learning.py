"""Section about learning: losses, accuracies, epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from pilotcut.report import plots
from pilotcut.report.numbers import number_in
from pilotcut.report.page import Element, Section, table
from pilotcut.report.plots import Series
from pilotcut.report.run_record import RunRecord
from pilotcut.report.words import readable_s, sentence

_LOSSES = {"loss": ("training", 0, False), "val_loss": ("validation", 1, False)}
_ACCURACIES = {
    "train_accuracy": ("training", 0, False),
    "val_accuracy": ("validation", 1, False),
    "accuracy": ("test", 2, False),
}


def learning(run: RunRecord) -> Section | None:
    """Return the section about loss and accuracy, None without epochs."""
    if not run.epochs:
        return None
    losses = curves(run, _LOSSES)
    accuracies = curves(run, _ACCURACIES)
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
    rates = curves(run, {"learning_rate": ("learning rate", 3, False)})
    if rates and len({y for y in rates[0].y if y is not None}) > 1:
        elements.append(plots.lines(rates, "epoch", "learning rate", height=180))
    elements.append(_epoch_table(run))
    return Section("Loss and accuracy", _learned(run), elements)


def curves(run: RunRecord, wanted: Mapping[str, tuple[str, int, bool]]) -> list[Series]:
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
        clause = Markup("the test accuracy is <b>{:.1%}</b>").format(accuracies[-1])
        if accuracies[best] > accuracies[-1]:
            clause += f", its best {accuracies[best]:.1%} after epoch {run.epochs[best]['epoch']}"
        words.append(clause)
    return sentence(words)


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
