"""Usage of a batch: what it took of devices, and what it may take.

Seconds are those that jobs tell; of jobs that tell none they are predicted, shots times the seconds
of a shot, and are called so. Refuses to know how jobs run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pilotcut.backends.base import Measurement
from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.errors import UsageError
from pilotcut.execution.batch_log import BatchLog
from pilotcut.execution.work_units import CircuitUnit, Request, WorkUnit


def usage_of(unit: WorkUnit, request: Request, measured: Measurement) -> Usage:
    """Return what a unit took of its device; nothing where Aer plays that."""
    if unit.device is None or not unit.device.runs_itself:
        return NOTHING
    found = replace(measured.usage, units=1)
    if found.told != found.jobs:
        untold = (found.jobs - found.told) / found.jobs
        shot_s = unit.device.fit(request.fragment).shot_s
        found = replace(found, predicted_s=untold * found.shots * shot_s)
    price = unit.device.qpu.price
    cost = price.second * found.seconds + price.shot * found.shots + price.job * found.jobs
    return replace(found, cost=cost)


@dataclass(frozen=True)
class UsageBudget:
    """Seconds of devices that may be used.

    Parameters
    ----------
    most_s
        So many; None for any number.
    log
        Has those that were.
    """

    most_s: float | None
    log: BatchLog

    def require(self, units: Iterable[CircuitUnit], requests: Sequence[Request]) -> None:
        """Raise if units are predicted to take more than is left.

        Raises
        ------
        UsageError
            With both numbers.
        """
        if self.most_s is None:
            return
        predicted = sum(predicted_s(unit, requests[unit.request]) for unit in units)
        spent = self.log.usage.seconds
        if predicted and spent + predicted > self.most_s:
            so_far = f"{spent:.3g} s of devices are used, and " if spent else ""
            raise UsageError(
                f"max_usage is {self.most_s:g} s, {so_far}the next batch is predicted to take "
                f"{predicted:.3g} s; expected at least {spent + predicted:.3g}, or fewer shots, "
                f"parameter sets or cuts"
            )


def predicted_s(unit: CircuitUnit, request: Request) -> float:
    """Return the predicted seconds of a unit's device, 0 where Aer plays that."""
    if unit.device is None or not unit.device.runs_itself:
        return 0.0
    _, shots = unit.size
    return float(shots * unit.device.fit(request.fragment).shot_s)
