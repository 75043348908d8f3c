"""Usage of a batch: what it took of devices, and what it may take.

Seconds are those that jobs tell; of jobs that tell none they are predicted, shots times the seconds
of a shot, and are called so. Refuses to know how jobs run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol

from pilotcut.backends.base import Measurement
from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.backends.outcomes import Tally
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.shift_rules import shifts_of
from pilotcut.errors import UsageError
from pilotcut.execution.devices import DevicePilot
from pilotcut.execution.work_units import CircuitUnit, Request, WorkUnit


class UsageAccount(Protocol):
    """What knows how much has been used of devices."""

    usage: Usage


def usage_of(unit: WorkUnit, request: Request, measured: Measurement | Tally) -> Usage:
    """Return what a unit took of its device; nothing where Aer plays that."""
    if unit.device is None or not unit.device.runs_itself:
        return NOTHING
    factors = _factors(unit) if isinstance(unit, CircuitUnit) else (1,)
    return with_cost(replace(measured.usage, units=1), unit.device, request.fragment, factors)


def with_cost(
    usage: Usage, device: DevicePilot, fragment: Fragment, factors: tuple[int, ...] = (1,)
) -> Usage:
    """Return usage by a fragment's circuits with what it costs, untold seconds predicted.

    `factors` are those of its noise that the circuits ran at.
    """
    if usage.told != usage.jobs:
        untold = (usage.jobs - usage.told) / usage.jobs
        shot_s = device.shot_s(fragment, factors)
        usage = replace(usage, predicted_s=untold * usage.shots * shot_s)
    price = device.qpu.price
    cost = price.second * usage.seconds + price.shot * usage.shots + price.job * usage.jobs
    return replace(usage, cost=cost)


@dataclass(frozen=True)
class _Step:
    """Derivatives that follow values: by which slots, and whether values are taken again."""

    slots: Set[int]
    again: bool

    def times(self, fragment: Fragment) -> int:
        """Return how many times as many circuits of a fragment the whole step has."""
        return 1 + int(self.again) + shifts_of(fragment, self.slots)


_STEP: ContextVar[_Step | None] = ContextVar("step", default=None)


@contextmanager
def stepping(slots: Set[int], *, again: bool = False) -> Iterator[None]:
    """Have budgets count with values what their derivatives by some slots will take.

    So a step of a training that cannot end is not begun. `again` says that derivatives take the
    values anew.
    """
    token = _STEP.set(_Step(slots, again))
    try:
        yield
    finally:
        _STEP.reset(token)


@dataclass(frozen=True)
class UsageBudget:
    """Seconds of devices that may be used.

    Parameters
    ----------
    most_s
        So many; None for any number.
    account
        Has those that were.
    """

    most_s: float | None
    account: UsageAccount

    def require(
        self, units: Iterable[CircuitUnit], requests: Sequence[Request], more_s: float = 0.0
    ) -> None:
        """Raise if units, and seconds beside them, are predicted to take more than is left.

        Raises
        ------
        UsageError
            With both numbers.
        """
        if self.most_s is None:
            return
        step = _STEP.get()
        predicted = more_s
        for unit in units:
            request = requests[unit.request]
            times = 1 if step is None else step.times(request.fragment)
            predicted += times * predicted_s(unit, request)
        spent = self.account.usage.seconds
        if predicted and spent + predicted > self.most_s:
            so_far = f"{spent:.3g} s of devices are used, and " if spent else ""
            what = "batch is" if step is None else "step, with its derivatives, is"
            raise UsageError(
                f"max_usage is {self.most_s:g} s, {so_far}the next {what} predicted to take "
                f"{predicted:.3g} s; expected at least {spent + predicted:.3g}, or fewer shots, "
                f"parameter sets or cuts"
            )


def predicted_s(unit: CircuitUnit, request: Request) -> float:
    """Return the predicted seconds of a unit's device, 0 where Aer plays that."""
    if unit.device is None or not unit.device.runs_itself:
        return 0.0
    _, shots = unit.size
    return float(shots * unit.device.shot_s(request.fragment, _factors(unit)))


def _factors(unit: CircuitUnit) -> tuple[int, ...]:
    return (1,) if unit.correction is None else unit.correction.factors
