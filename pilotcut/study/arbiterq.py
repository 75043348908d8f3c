"""Readings of ArbiterQ's table I: under which of its open choices its order comes out.

The paper does not say its learning rate, whether gradients of similar devices are added or
averaged, how wide groups are, and what an epoch of EQC is. A `Reading` settles these; its trainings
are the same but for that. Each strategy is also trained at ten times the rate, which tells a
strategy's gain from that of a longer step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.run import dataset_of, trainer_of
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.study import published
from pilotcut.study.findings import Table, Value
from pilotcut.study.fleet_findings import CLOSE, LAST, crossing

#: Samples of the paper's table II.
SAMPLES = {"iris": 100, "wine": 114, "digits": 100}

#: How a strategy is run: its name, and what is not as by default. With kappa 0 all devices are
#: alike, so that a group has ten.
VARIANTS: dict[str, dict[str, Any]] = {
    "single": {"strategy": "single"},
    "all-sharing": {"strategy": "all-sharing"},
    "eqc": {"strategy": "eqc"},
    "eqc, dealt": {"strategy": "eqc", "dealt": True},
    "arbiterq": {"strategy": "arbiterq"},
    "arbiterq, sum": {"strategy": "arbiterq", "combine": "sum"},
    "arbiterq, wide": {"strategy": "arbiterq", "kappa": 0.0},
    "arbiterq, wide sum": {"strategy": "arbiterq", "kappa": 0.0, "combine": "sum"},
}

#: Those of the readings that are furthest apart, where time is short.
FEW = ("single", "all-sharing", "eqc, dealt", "arbiterq", "arbiterq, wide sum")

#: Columns of table I.
STRATEGIES = ("single", "all-sharing", "EQC", "ArbiterQ")

#: Strategies that are trained at ten times the rate too.
LONGER = ("single", "all-sharing", "eqc, dealt")


@dataclass(frozen=True)
class Reading:
    """A way to read the paper: which variants EQC and ArbiterQ are."""

    title: str
    eqc: str
    arbiterq: str

    @property
    def variants(self) -> tuple[str, str, str, str]:
        """The variants of table I's columns."""
        return "single", "all-sharing", self.eqc, self.arbiterq


READINGS = (
    Reading("every device passes, mean, groups by κ", "eqc", "arbiterq"),
    Reading("EQC's fleet passes once, mean, groups by κ", "eqc, dealt", "arbiterq"),
    Reading("EQC's fleet passes once, sum, groups by κ", "eqc, dealt", "arbiterq, sum"),
    Reading("EQC's fleet passes once, mean, groups of ten", "eqc, dealt", "arbiterq, wide"),
    Reading("EQC's fleet passes once, sum, groups of ten", "eqc, dealt", "arbiterq, wide sum"),
    Reading("every device passes, sum, groups of ten", "eqc", "arbiterq, wide sum"),
)


@dataclass(frozen=True)
class StrategyRun:
    """One training of a cell.

    Parameters
    ----------
    dataset, model, variant, rate, seed
        What is trained how.
    epochs
        How long.
    """

    dataset: str
    model: str
    variant: str
    rate: float
    seed: int
    epochs: int

    def curves(self, fleet: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
        """Train, and return test and training loss by epoch, means over devices."""
        config = FleetConfig.of(
            {
                "fleet": "",
                "dataset": self.dataset,
                "model": self.model,
                "learning_rate": self.rate,
                "seed": self.seed,
                "epochs": self.epochs,
                "max_samples": SAMPLES[self.dataset],
                **VARIANTS[self.variant],
            }
        )
        jobs = [
            Job(name, QpuDescription(**qpu), self.model, config.qubits)
            for name, qpu in fleet.items()
        ]
        epochs = list(trainer_of(config, jobs, dataset_of(config)).run())
        return {
            "test": [round(epoch.test_loss, 6) for epoch in epochs],
            "train": [round(epoch.loss, 6) for epoch in epochs],
        }


def trainings(
    dataset: str,
    rate: float,
    seeds: Sequence[int],
    epochs: int,
    variants: Sequence[str] = tuple(VARIANTS),
) -> Iterator[StrategyRun]:
    """Yield all trainings on a data set: variants at the rate, `LONGER` at ten times it."""
    for seed in seeds:
        for name, model in published.ARBITERQ:
            if name != dataset:
                continue
            for variant in variants:
                yield StrategyRun(dataset, model, variant, rate, seed, epochs)
            for variant in LONGER:
                yield StrategyRun(dataset, model, variant, ten_times(rate), seed, epochs)


def own_convergence(curve: Sequence[float]) -> float:
    """Return when a curve has come to its own plateau: epochs until `CLOSE` of the way is left.

    Examples
    --------
    >>> own_convergence([1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]).__round__(3)
    1.9
    """
    end = float(np.mean(curve[-LAST:]))
    return crossing(curve, end + CLOSE * (curve[0] - end))


#: Test losses by epoch of each seed, by (data set, model, variant, rate).
Curves: TypeAlias = Mapping[tuple[str, str, str, float], Sequence[Sequence[float]]]


def readings_table(curves: Curves, rates: Mapping[str, float]) -> Table:
    """Return table I, published and under each reading, at one rate for all of a data set."""
    columns = ["task", "reading", *(f"epochs {name}" for name in STRATEGIES), "ArbiterQ over EQC"]
    columns += [*(f"loss {name}" for name in STRATEGIES), "lower than EQC by"]
    shown: list[list[Value]] = []
    for case, (epochs, losses) in published.ARBITERQ.items():
        task = f"{case[0]} {case[1]}"
        found = {v: curves.get((*case, v, rates.get(case[0], 0.0)), ()) for v in VARIANTS}
        if not found["single"]:
            continue
        ratio, less = epochs[2] / epochs[3], 1.0 - losses[3] / losses[2]
        shown.append([task, "published", *map(str, epochs), ratio, *map(str, losses), less])
        for reading in READINGS:
            some = [found[variant] for variant in reading.variants]
            if not all(some):
                continue
            lasts = [[last_loss(c) for c in one] for one in some]
            less = 1.0 - float(np.median(lasts[3])) / float(np.median(lasts[2]))
            shown.append(
                [
                    task,
                    reading.title,
                    *(spread([own_convergence(c) for c in one], ".1f") for one in some),
                    _ratio(some[2], some[3]),
                    *(spread(last, ".3f") for last in lasts),
                    less,
                ]
            )
    formats = {"ArbiterQ over EQC": ".2f", "lower than EQC by": "+.1%"}
    return Table("readings", "Table I, published and under each reading", columns, shown, formats)


def steps_table(curves: Curves, rates: Mapping[str, float]) -> Table:
    """Return what ArbiterQ with ten gradients added comes to beside ten times the rate."""
    variants = ["arbiterq, wide", "arbiterq, wide sum", *LONGER]
    columns = ["task", "", "ArbiterQ, mean of ten", "ArbiterQ, sum of ten"]
    columns += [f"{name}, ten times the rate" for name in LONGER]
    shown: list[list[Value]] = []
    for case in published.ARBITERQ:
        rate = rates.get(case[0], 0.0)
        longer = (rate, rate, *[ten_times(rate)] * len(LONGER))
        keys = [(*case, v, r) for v, r in zip(variants, longer, strict=True)]
        some = [curves.get(key, ()) for key in keys]
        if not any(some):
            continue
        epochs = [spread([own_convergence(c) for c in one], ".1f") if one else None for one in some]
        losses = [spread([last_loss(c) for c in one], ".3f") if one else None for one in some]
        shown.append([f"{case[0]} {case[1]}", "epochs", *epochs])
        shown.append([f"{case[0]} {case[1]}", "test loss", *losses])
    return Table("steps", "Is it more than a longer step?", columns, shown)


def rates_table(curves: Curves) -> Table:
    """Return how much faster ArbiterQ is than EQC by its own curve, at every rate."""
    rates = sorted({key[3] for key in curves if key[2] == "arbiterq"})
    columns = ["task", "reading", *(f"rate {rate:g}" for rate in rates)]
    shown: list[list[Value]] = []
    for case in published.ARBITERQ:
        for reading in READINGS:
            row: list[Value] = []
            for rate in rates:
                eqc, own = (curves.get((*case, v, rate), ()) for v in reading.variants[2:])
                row.append(_ratio(eqc, own) if eqc and own else None)
            if any(value is not None for value in row):
                shown.append([f"{case[0]} {case[1]}", reading.title, *row])
    formats = dict.fromkeys(columns[2:], ".2f")
    return Table("rates", "ArbiterQ's speed over EQC's, by rate", columns, shown, formats)


def ten_times(rate: float) -> float:
    """Return ten times a rate, as a number that is found again."""
    return round(10 * rate, 9)


def last_loss(curve: Sequence[float]) -> float:
    """Return the mean of a curve's last epochs."""
    return float(np.mean(curve[-LAST:]))


def spread(values: Sequence[float], form: str) -> str:
    """Return the median with the least and the most.

    Examples
    --------
    >>> spread([3.0, 1.0, 2.0], ".0f")
    '2 (1–3)'
    """
    low, middle, high = min(values), float(np.median(values)), max(values)
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def _ratio(eqc: Sequence[Sequence[float]], own: Sequence[Sequence[float]]) -> float:
    medians = [float(np.median([own_convergence(c) for c in one])) for one in (eqc, own)]
    return medians[0] / medians[1]
