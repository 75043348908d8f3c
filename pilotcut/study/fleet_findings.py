"""Findings about strategies of training on a fleet, in the form of ArbiterQ's tables I and IV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pilotcut.study import published
from pilotcut.study.findings import CellResult, Findings, Plot, PlotSeries, Table, Verdict, grouped
from pilotcut.study.fleet import ERRORS, NAME, TABLE_I, TITLE

#: Converged is what has come so close to the lowest loss of all strategies, as a share of the way
#: from the start.
CLOSE = 0.05

#: Epochs at the end whose mean is the converged loss.
LAST = 5


def findings(results: Sequence[CellResult]) -> Findings:
    """Return what the trainings say of the strategies."""
    rows = list(_rows(results))
    best = list(_best(rows))
    common = list(_at_common_rate(rows, best))
    return Findings(
        question=NAME,
        title=TITLE,
        mode="shots drawn from the exact distribution of noisy devices, as Aer's counts",
        answer=_answer(best, common),
        published=published.FLEET,
        verdicts=_verdicts(best, common),
        tables=_tables(rows, best) if results else [],
        plots=_plots(results),
    )


def _rows(results: Sequence[CellResult]) -> Iterator[dict[str, Any]]:
    """Yield what each training came to: one row for each seed, variant and rate."""
    for key, some in grouped(results, "dataset", "model", "errors", "seed").items():
        start = float(np.mean([r["train"][0][0] for r in some]))
        reached = [np.mean(curve[-LAST:]) for r in some for curve in r["train"]]
        lowest = float(np.min(reached))
        target = lowest + CLOSE * (start - lowest)
        for r in some:
            for k, rate in enumerate(r["rates"]):
                yield {
                    **dict(zip(("dataset", "model", "errors", "seed"), key, strict=True)),
                    "variant": r["variant"],
                    "rate": rate,
                    "epochs": crossing(r["train"][k], target),
                    "most": r["epochs"],
                    "seconds": _at(r["modelled_s"][k], crossing(r["train"][k], target)),
                    "train": float(np.mean(r["train"][k][-LAST:])),
                    "test": float(np.mean(r["test"][k][-LAST:])),
                    "accuracy": float(np.mean(r["accuracy"][k][-LAST:])),
                    "inference": r["inference"][k] if r["variant"] == "arbiterq" else None,
                }


def crossing(curve: Sequence[float], target: float) -> float:
    """Return when a curve first falls to a target, in epochs, linear between them; else infinity.

    Examples
    --------
    >>> crossing([1.0, 0.5, 0.1], 0.3)
    1.5
    """
    below = np.flatnonzero(np.asarray(curve) <= target)
    if not len(below):
        return float("inf")
    last = int(below[0])
    if last == 0:
        return 0.0
    high, low = curve[last - 1], curve[last]
    return last - 1 + (high - target) / (high - low)


def _at(seconds: Sequence[float], epochs: float) -> float:
    """Return the modelled seconds at a fraction of epochs."""
    if not np.isfinite(epochs):
        return float("inf")
    return float(np.interp(epochs, range(len(seconds)), seconds))


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one row for all seeds: who has not arrived counts as one epoch late."""
    late = [min(row["epochs"], row["most"] + 1) for row in rows]
    return {
        **{name: rows[0][name] for name in ("dataset", "model", "errors", "variant", "rate")},
        "seeds": len(rows),
        "arrived": sum(np.isfinite(row["epochs"]) for row in rows),
        "epochs": float(np.mean(late)),
        "seconds": float(np.median([row["seconds"] for row in rows])),
        "train": float(np.mean([row["train"] for row in rows])),
        "test": float(np.mean([row["test"] for row in rows])),
        "spread": float(np.std([row["test"] for row in rows])),
        "accuracy": float(np.mean([row["accuracy"] for row in rows])),
        "inference": [row["inference"] for row in rows],
    }


_CASE = ("dataset", "model", "errors")


def _best(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for every case and variant its sum over seeds, at its best rates.

    Epochs at the rate with the fewest; losses and inference at that with the lowest converged
    training loss, `calm`.
    """
    for some in grouped(rows, *_CASE, "variant").values():
        rates = [_summed(same) for same in grouped(some, "rate").values()]
        fast = min(rates, key=lambda row: (row["epochs"], row["train"]))
        calm = min(rates, key=lambda row: row["train"])
        losses = {name: calm[name] for name in ("train", "test", "spread", "accuracy", "inference")}
        yield fast | losses | {"calm": calm["rate"]}


def _at_common_rate(
    rows: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield for every case and variant its sum over seeds, at the rate that is best for single."""
    rates = {_case(row): row["rate"] for row in best if row["variant"] == "single"}
    same = [row for row in rows if row["rate"] == rates.get(_case(row))]
    for some in grouped(same, *_CASE, "variant").values():
        yield _summed(some)


def _case(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _CASE)


def _ratios(rows: Sequence[dict[str, Any]], errors: str, value: str) -> list[float]:
    """Return eqc over arbiterq of a value, one for each data set and model."""
    found = []
    for some in grouped([row for row in rows if row["errors"] == errors], *_CASE).values():
        by_name = {row["variant"]: row for row in some}
        if {"eqc", "arbiterq"} <= by_name.keys():
            found.append(by_name["eqc"][value] / by_name["arbiterq"][value])
    return found


def _gains(best: Sequence[dict[str, Any]], errors: str, way: str) -> dict[int, float]:
    """Return by how much of the batch-based loss a schedule is lower, by shots of a sample."""
    found: dict[int, list[float]] = {}
    for row in best:
        if row["variant"] == "arbiterq" and row["errors"] == errors:
            for one in row["inference"]:
                for shots, ways in one.items():
                    gain = 1.0 - ways[way] / ways["batch"]
                    found.setdefault(int(shots), []).append(gain)
    return {shots: float(np.mean(gains)) for shots, gains in sorted(found.items())}


def _answer(best: Sequence[dict[str, Any]], common: Sequence[dict[str, Any]]) -> str:
    parts = [_answer_of(errors, best, common) for errors in ERRORS]
    return (
        "; ".join(filter(None, parts)) + "."
        if any(parts)
        else ("Not answered yet: trainings are missing.")
    )


def _answer_of(
    errors: str, best: Sequence[dict[str, Any]], common: Sequence[dict[str, Any]]
) -> str:
    speed, loss = _ratios(best, errors, "epochs"), _ratios(best, errors, "test")
    if not speed:
        return ""
    text = (
        f"with {errors} errors arbiterq converges {np.mean(speed):.2f} times as fast as eqc where "
        f"each has its best step size, to {_less(loss)} loss"
    )
    if same := _ratios(common, errors, "epochs"):
        text += f", and {np.mean(same):.1f} times as fast where both have that of a single device"
    gains = _by_shots(_gains(best, errors, "same time"))
    return f"{text}; shot-oriented inference has {gains} less loss at the same time"


def _less(ratios: Sequence[float]) -> str:
    """Return how much less a loss is, from what the other one is times as large."""
    less = 100.0 * (1.0 - 1.0 / float(np.mean(ratios)))
    return f"{abs(less):.1f} % {'less' if less >= 0 else 'more'}"


def _by_shots(gains: Mapping[int, float]) -> str:
    return ", ".join(f"{100 * gain:+.1f} % ({shots} shots)" for shots, gain in gains.items())


def _verdicts(best: Sequence[dict[str, Any]], common: Sequence[dict[str, Any]]) -> list[Verdict]:
    verdicts = []
    for errors in ERRORS:
        for rows, steps in ((best, "each at its best rate"), (common, "at a single device's rate")):
            speed, loss = _ratios(rows, errors, "epochs"), _ratios(rows, errors, "test")
            if not speed:
                continue
            verdicts += [
                Verdict(
                    f"{errors} errors, {steps}: arbiterq converges at least 2 times as fast as eqc",
                    f"{np.mean(speed):.2f} times ({min(speed):.2f} to {max(speed):.2f})",
                    float(np.mean(speed)) >= 2.0,
                ),
                Verdict(
                    f"{errors} errors, {steps}: arbiterq has a lower converged loss than eqc",
                    f"{_less(loss)} test loss",
                    float(np.mean(loss)) > 1.0,
                ),
            ]
        for way in ("same shots", "same time"):
            gains = _gains(best, errors, way)
            if gains:
                verdicts.append(
                    Verdict(
                        f"{errors} errors, {way}: shot-oriented inference has at least 10 % less "
                        f"loss than batch-based",
                        _by_shots(gains),
                        float(np.mean(list(gains.values()))) >= 0.10,
                    )
                )
    return verdicts


def _tables(rows: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]]) -> list[Table]:
    by_rate = [_summed(same) for same in grouped(rows, *_CASE, "variant", "rate").values()]
    return [
        _training_table([row for row in best if row["variant"] in TABLE_I]),
        _rates_table(by_rate),
        _inference_table(best),
    ]


def _training_table(best: Sequence[dict[str, Any]]) -> Table:
    columns = ["data set", "model", "errors", "strategy", "epochs", "arrived", "device s", "rate"]
    columns += ["train loss", "test loss", "± seeds", "accuracy", "rate "]
    shown = [
        [
            *(row[name] for name in (*_CASE, "variant", "epochs")),
            f"{row['arrived']} of {row['seeds']}",
            *(row[name] for name in ("seconds", "rate", "train", "test", "spread", "accuracy")),
            row["calm"],
        ]
        for row in best
    ]
    formats = {"epochs": ".1f", "device s": ".0f", "train loss": ".4f", "test loss": ".4f"}
    formats |= {"± seeds": ".4f", "accuracy": ".1%", "rate": "g", "rate ": "g"}
    note = (
        f"Means over seeds and devices; epochs at the rate where a strategy is fastest, losses at "
        f"that where its training loss ends lowest. Epochs: until the training loss has come "
        f"within {CLOSE:.0%} of the way to the lowest converged one of all strategies and rates "
        f"of the same seed; who has not arrived counts as one epoch more than were trained. Every "
        f"device runs the same circuits under every strategy. Losses: the last {LAST} epochs."
    )
    return Table("table_i", "Training (table I), same circuits", columns, shown, formats, note)


def _rates_table(by_rate: Sequence[dict[str, Any]]) -> Table:
    """Return epochs at every rate, of the variants too: one row for each case and variant."""
    rates = sorted({row["rate"] for row in by_rate})
    shown: list[list[Any]] = []
    for key, some in grouped(by_rate, *_CASE, "variant").items():
        of_rate = {row["rate"]: row["epochs"] for row in some}
        shown.append([*key, *(of_rate.get(rate) for rate in rates)])
    columns = ["data set", "model", "errors", "strategy", *(f"rate {rate:g}" for rate in rates)]
    note = (
        "Epochs until the same target. 'eqc, dealt' counts epochs as EQC does: the fleet goes "
        "through the samples once, a tenth of the circuits of the other rows on ten devices. "
        "'arbiterq, sum' adds the neighbours' weighted gradients and does not average."
    )
    formats = dict.fromkeys(columns[4:], ".1f")
    return Table("rates", "Epochs at one rate for all", columns, shown, formats, note)


def _inference_table(best: Sequence[dict[str, Any]]) -> Table:
    columns = ["data set", "model", "errors", "shots", "batch-based", "same shots", "less"]
    columns += ["same time", "less ", "s batch-based", "s same shots"]
    shown = []
    for row in best:
        if row["variant"] != "arbiterq":
            continue
        for shots in row["inference"][0]:
            names = row["inference"][0][shots]
            mean = {n: float(np.mean([one[shots][n] for one in row["inference"]])) for n in names}
            batch = mean["batch"]
            losses = [batch]
            for way in ("same shots", "same time"):
                losses += [mean[way], 1.0 - mean[way] / batch]
            case = [row[name] for name in _CASE]
            shown.append([*case, int(shots), *losses, mean["batch, s"], mean["same shots, s"]])
    formats = dict.fromkeys(("batch-based", "same shots", "same time"), ".4f")
    formats |= {"less": "+.1%", "less ": "+.1%", "s batch-based": ".4f", "s same shots": ".4f"}
    note = (
        "Losses of the test samples with arbiterq's models, batch-based beside shot-oriented with "
        "the same shots a sample, and with as many as fit into the same time. Shots and seconds "
        "include the warm-up; seconds are modelled, until the last device has ended."
    )
    return Table("table_iv", "Inference (table IV)", columns, shown, formats, note)


def _plots(results: Sequence[CellResult]) -> list[Plot]:
    plots = []
    for (dataset, model, errors), some in grouped(results, *_CASE).items():
        series = []
        for (variant,), same in grouped(some, "variant").items():
            if variant in TABLE_I:
                curves = np.array([r["train"] for r in same])  # (seeds, rates, epochs)
                rate = int(curves.mean(axis=(0, 2)).argmin())
                mean = curves[:, rate].mean(axis=0).tolist()
                series.append(PlotSeries(variant, list(range(len(mean))), mean))
        title = f"{dataset}, model {model}, {errors} errors"
        name = f"{dataset}_{model}_{errors}".replace("-", "_")
        plots.append(Plot(name, title, "epoch", "training loss", series, log_y=True))
    return plots
