"""Recommendation: its lines, the chosen one, and the reason in a sentence.

What a user is handed, and its form in JSON. How lines are found is `recommend`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import hypot
from typing import Any

from pilotcut.cutting.placement import Placement
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.device_assignment import Share
from pilotcut.io.large_numbers import in_json
from pilotcut.options import counted
from pilotcut.perfmodel.costmodel import Prediction
from pilotcut.perfmodel.device_forecast import DeviceForecaster
from pilotcut.perfmodel.forecast import Forecaster
from pilotcut.perfmodel.options import Options
from pilotcut.perfmodel.rank_forecast import RankForecast
from pilotcut.perfmodel.workload import Work


@dataclass(frozen=True)
class RecommendationLine:
    """Candidate of a recommendation: where it cuts, and what is predicted of it.

    Parameters
    ----------
    cuts
        Number of cuts; 0 is the circuit as it is.
    placement
        Where they are.
    widths
        Wires of each fragment.
    variants, overhead
        Of the plan; overhead is gamma^2.
    memory_bytes
        Of the largest state of one worker.
    shots
        Of each subexperiment, 0 in exact mode.
    error
        Upper estimate of the standard error, 0 in exact mode.
    prediction
        Of all queries; None where it cannot run, or the plan is not even built.
    plan
        Fragments and bonds; None where it is not built.
    work
        Of one batch, None likewise.
    lacks
        For each pilot that cannot run it, why; () if it is feasible.
    noise
        How far the noise of the pilots' devices moves a value of size 1: the probability that
        something goes wrong in a shot of all fragments, ``1 - prod(1 - error of each)``, times
        the observable's norm. Approximate: what went wrong is taken to leave a random outcome, so
        that a value shrinks by this share, and errors to come one by one. 0 without devices.
    shares
        What each device runs of a batch.
    """

    cuts: int
    placement: Placement
    widths: tuple[int, ...]
    variants: int
    overhead: float
    memory_bytes: float
    shots: int = 0
    error: float = 0.0
    prediction: Prediction | None = None
    plan: CutPlan | None = field(default=None, repr=False, compare=False)
    work: Work | None = None
    lacks: tuple[str, ...] = ()
    noise: float = 0.0
    shares: tuple[Share, ...] = ()

    @property
    def way(self) -> str:
        """How exact mode computes it, in words; "" in other modes, and where it is not built."""
        return self.work.way if self.work else ""

    @property
    def value_error(self) -> float:
        """Predicted error of a value, ``sqrt(noise^2 + error^2)``; infinite if not feasible."""
        return hypot(self.noise, self.error) if self.feasible else float("inf")

    def target(self, objective: str) -> float:
        """Return what an objective wants to be small."""
        return self.value_error if objective == "error" else self.seconds

    @property
    def feasible(self) -> bool:
        """Whether all pilots can run it."""
        return not self.lacks and self.prediction is not None

    @property
    def seconds(self) -> float:
        """Predicted seconds, infinite if it is not feasible."""
        return self.prediction.seconds if self.prediction and self.feasible else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Return the line in the words of JSON."""
        prediction = self.prediction
        return {
            "cuts": self.cuts,
            **self.placement.to_dict(),
            "widths": list(self.widths),
            "variants": in_json(self.variants),
            "sampling_overhead": in_json(self.overhead),
            "shots": self.shots,
            "standard_error": self.error,
            "noise": self.noise,
            "value_error": self.value_error if self.feasible else None,
            "devices": [asdict(share) for share in self.shares],
            "engine": self.way or None,
            "memory_bytes": self.memory_bytes,
            "seconds": prediction.seconds if prediction else None,
            "low_s": prediction.low_s if prediction else None,
            "high_s": prediction.high_s if prediction else None,
            "stage_seconds": prediction.stages if prediction else None,
            "feasible": self.feasible,
            "lacks": list(self.lacks),
        }


@dataclass(frozen=True)
class Recommendation:
    """Candidates from 0 cuts upward, and the one that is chosen.

    Parameters
    ----------
    lines
        The best candidate of each number of cuts, ascending.
    chosen
        The one of them that is recommended.
    reason
        Why, in one sentence.
    pilots
        Names of the pilots that it is for.
    plan
        The chosen plan.
    options
        What it is for.
    forecaster
        Predicts batches of the plan.
    on_ranks
        The circuit without cuts as one state over the ranks of each MPI pilot.
    """

    lines: tuple[RecommendationLine, ...]
    chosen: RecommendationLine
    reason: str
    pilots: tuple[str, ...]
    plan: CutPlan
    options: Options
    forecaster: Forecaster | DeviceForecaster
    on_ranks: tuple[RankForecast, ...] = ()

    @property
    def on_devices(self) -> bool:
        """Whether it is for pilots with devices: seconds are then those of the devices alone."""
        return isinstance(self.forecaster, DeviceForecaster)

    @property
    def usage(self) -> tuple[float, int, float] | None:
        """Predicted seconds of devices, shots and cost; None without devices.

        Of the values, of derivatives where they are wanted, and of what calibrates.
        """
        if not isinstance(self.forecaster, DeviceForecaster):
            return None
        options, shares = self.options, self.chosen.shares
        batches = options.queries / min(options.batch, options.queries)
        shots = sum(share.shots for share in shares)
        seconds, cost = sum(share.device_s for share in shares), sum(s.cost for s in shares)
        once = self.forecaster.calibration(self.plan, shares)
        return (
            batches * seconds + once[0],
            round(batches * shots) + once[1],
            batches * cost + once[2],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it in the words of JSON."""
        usage = self.usage
        return {
            "mode": self.options.mode,
            "objective": self.options.objective,
            "time": "modelled device time" if self.on_devices else "predicted wall time",
            "queries": self.options.queries,
            "batch": self.options.batch,
            "gradients": bool(self.options.gradients),
            "pilots": [
                {"name": view.name, **view.resources.to_dict()} for view in self.forecaster.pilots
            ],
            "candidates": [line.to_dict() for line in self.lines],
            "chosen": self.chosen.to_dict(),
            "usage": None
            if usage is None
            else dict(zip(("device_s", "shots", "cost"), usage, strict=True)),
            "reason": self.reason,
            "uncut_on_ranks": [asdict(one) for one in self.on_ranks],
        }


# -- the reason --------------------------------------------------------------------------


def reason_of(
    chosen: RecommendationLine, lines: Sequence[RecommendationLine], objective: str, noisy: bool
) -> str:
    """Return in a sentence why a line was chosen; `noisy` if devices say how noisy they are."""
    if objective == "error":
        return _reason_of_error(chosen, lines, noisy)
    return _reason_of_time(chosen, lines)


def _reason_of_error(
    chosen: RecommendationLine, lines: Sequence[RecommendationLine], noisy: bool
) -> str:
    widths = "+".join(map(str, chosen.widths))
    what = f"{counted(chosen.cuts, 'cut')} into {widths} qubits" if chosen.cuts else "do not cut"
    parts = f"noise {chosen.noise:.2g}, standard error {chosen.error:.2g}"
    if not noisy:
        parts = "the standard error alone, for no pilot has a backend.qpu that says its noise"
    text = f"{what}: values are predicted to be wrong by {chosen.value_error:.2g} ({parts})"
    others = [line for line in lines if line is not chosen and line.feasible]
    if not others:
        return f"{text}; no other candidate is feasible"
    next_best = min(others, key=lambda line: line.value_error)
    return f"{text}, with {counted(next_best.cuts, 'cut')} by {next_best.value_error:.2g}"


def _reason_of_time(chosen: RecommendationLine, lines: Sequence[RecommendationLine]) -> str:
    widths = "+".join(map(str, chosen.widths))
    others = [line for line in lines if line is not chosen and line.feasible]
    uncut = lines[0] if lines[0].cuts == 0 else None
    if chosen.cuts == 0:
        if not others:
            return "do not cut: no other candidate is feasible"
        best = min(others, key=lambda line: line.seconds)
        if all("joined" in line.way for line in others):
            way = best.way.removeprefix("joined ")
            return f"do not cut: every other candidate would be run without its cuts, by {way}"
        return (
            f"do not cut: the best with cuts ({best.cuts}) is predicted to take "
            f"{best.seconds / chosen.seconds:.3g} times as long"
        )
    if uncut is not None and uncut.lacks:
        return (
            f"{counted(chosen.cuts, 'cut')} into {widths} qubits: uncut, the circuit "
            f"{uncut.lacks[0]}"
        )
    if uncut is None:
        return f"{counted(chosen.cuts, 'cut')} into {widths} qubits is predicted to be fastest"
    return (
        f"{counted(chosen.cuts, 'cut')} into {widths} qubits is predicted to be "
        f"{uncut.seconds / chosen.seconds:.3g} times as fast as no cut"
    )
