"""Forecast of a plan on calibrated pilots together, and of shapes that nobody has built yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pilotcut.backends.statevector_plan import MEMORY_BYTES
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.search import FragmentShape
from pilotcut.execution.device_assignment import Share
from pilotcut.options import USUAL_ENGINE, EngineOptions
from pilotcut.perfmodel.calibration import Calibration, observation
from pilotcut.perfmodel.circuit_load import FUSED_QUBITS, packs
from pilotcut.perfmodel.costmodel import Costs, Prediction, amounts_of, predict
from pilotcut.perfmodel.load import COUNTS, STATES
from pilotcut.perfmodel.resources import Resources, readable_bytes
from pilotcut.perfmodel.statevector_load import FAR_COPY
from pilotcut.perfmodel.workload import Work, work_of
from pilotcut.pilots.description import PilotDescription


@dataclass(frozen=True)
class CalibratedPilot:
    """Pilot with its calibration.

    Parameters
    ----------
    description
        None for this process.
    resources
        What a slot can use.
    calibration
        What was measured on such a pilot.
    """

    description: PilotDescription | None
    resources: Resources
    calibration: Calibration

    @property
    def name(self) -> str:
        """The pilot's name; "here" for this process."""
        return "here" if self.description is None else self.description.name

    def lack(self, work: Work) -> str | None:
        """Return why a slot cannot hold the largest state of some work, None if it can."""
        size = readable_bytes(work.memory_bytes)
        if work.mode != "counts" and work.memory_bytes > MEMORY_BYTES:
            return (
                f"needs {size} for one parameter set, the exact engine takes "
                f"{readable_bytes(MEMORY_BYTES)}"
            )
        limit = self.resources.slot_bytes
        if limit is not None and work.memory_bytes > limit:
            has = readable_bytes(limit)
            return f"needs {size} for a state, a worker of '{self.name}' has {has}"
        return None


@dataclass(frozen=True)
class Outlook:
    """Forecast of a plan on pilots: time and noise, or why it cannot run.

    Parameters
    ----------
    prediction
        Seconds of all batches, None where it cannot run.
    lacks
        Why it cannot run; () if it can.
    noise
        Probability that something goes wrong in a shot of all fragments; 0 without devices.
    shares
        What each device runs of a batch; () without devices.
    """

    prediction: Prediction | None
    lacks: tuple[str, ...]
    noise: float = 0.0
    shares: tuple[Share, ...] = ()


@dataclass
class Forecaster:
    """Forecasts of plans on pilots together, as the task manager would use them.

    Parameters
    ----------
    pilots
        At least one.
    mode, shots, engine
        As in `CutEstimator`.
    """

    pilots: Sequence[CalibratedPilot]
    mode: str
    shots: int
    engine: EngineOptions = USUAL_ENGINE
    _records: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """Number of slots of all pilots."""
        return sum(view.resources.slots for view in self.pilots)

    @property
    def costs(self) -> Costs:
        """Costs of the pilot that has most slots, with calls at the mean rate of all slots."""
        first = max(self.pilots, key=lambda view: view.resources.slots)
        costs = first.calibration.costs(self.mode)
        if len({view.calibration.key for view in self.pilots}) == 1:
            return costs
        slots = [view.resources.slots for view in self.pilots]
        every = [view.calibration.costs(self.mode) for view in self.pilots]
        call, slope = (
            tuple(np.average(some, axis=0, weights=slots).tolist())
            for some in ([one.call for one in every], [one.slope for one in every])
        )
        return replace(costs, call=call, slope=slope, spread=max(one.spread for one in every))

    def outlook(self, plan: CutPlan, work: Work, batches: float) -> Outlook:
        """Return what so many batches of a plan take."""
        lacks = tuple(lack for view in self.pilots if (lack := view.lack(work)))
        return Outlook(predict(self._done(work), self.costs, self.slots, batches), lacks)

    def batch_s(self, work: Work) -> float:
        """Return what one batch takes, compilation apart."""
        amounts = amounts_of(self._done(work), self.costs, self.slots)
        return float(amounts @ np.asarray(self.costs.batch))

    def _done(self, work: Work) -> Work:
        """Return what is done of some work: in this process, what a pull-back needs is kept."""
        here = all(view.description is None for view in self.pilots)
        return replace(work, loads=()) if here and work.slopes and work.mode == "exact" else work

    def record(self, plan: CutPlan, rows: int) -> dict[str, Any]:
        """Return what is predicted of a batch, and its work, from which calibrations learn."""
        key = (plan.fingerprint, rows)
        if key not in self._records:
            work = work_of(plan, self.mode, rows, self.shots, engine=self.engine)
            seen = observation("", work, 0.0)
            kinds = {view.calibration.key for view in self.pilots}
            kept = {"calls": seen.calls, "amounts": seen.amounts, "key": "+".join(sorted(kinds))}
            self._records[key] = {"predicted_s": self.batch_s(work), "work": kept}
            if any(load.stage for load in work.loads):
                # Calls that wait for each other, with shots as senders find: nothing to fit to.
                del self._records[key]["work"]
        return self._records[key]

    def shape_s(self, shape: FragmentShape, rows: int) -> float:
        """Return roughly what one fragment of a batch takes, from its shape alone."""
        amounts = _of_shape(shape, self.mode, rows, self.shots)
        names = COUNTS if self.mode == "counts" else STATES
        costs = dict(zip(names, self.costs.call, strict=False))  # of exact engines: states
        return 1e-6 + sum(costs[name] * amount for name, amount in amounts.items()) / self.slots


def _of_shape(shape: FragmentShape, mode: str, rows: int, shots: int) -> dict[str, float]:
    """Return the amounts that decide, of a fragment that nobody has built yet."""
    if mode != "counts":
        states = float(rows) * shape.branches * 2.0**shape.width
        far = states * 16 > 2**21
        return {
            "calls": 1.0,
            "operations": float(shape.gates),
            "far_products" if far else "near_products": 4 * states * shape.gates / 2,
            "copies": states * shape.gates * (FAR_COPY if far else 1.0),
            "gram_products": states * shape.branches,
        }
    qubits = shape.width + shape.sites // 2
    total = dict.fromkeys(COUNTS, 0.0)
    for copies, runs in packs(rows * shape.variants, qubits):
        gates = float(shape.gates + shape.sites)
        wide = qubits * copies > FUSED_QUBITS
        amplitudes = runs * 2.0 ** (qubits * copies)
        total["runs"] += runs
        total["run_gates"] += runs * copies * gates
        total["amplitude_passes"] += amplitudes * gates * wide
        total["amplitude_gates"] += amplitudes * copies * gates * (not wide)
        total["shots"] += runs * shots
        total["shot_bits"] += runs * shots * copies * qubits
        total["outcomes"] += runs * min(shots, 2.0 ** (copies * qubits))
    total["circuits"] = 2.0 ** min(shape.sites, 20)
    total["circuit_gates"] = total["circuits"] * shape.gates
    return total
