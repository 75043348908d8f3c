"""Usage of devices: jobs, shots and seconds that a work unit has taken of one.

A meter counts what this thread runs meanwhile, so that no backend passes it through its calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What was taken of a device.

    Parameters
    ----------
    jobs
        Jobs whose results were taken.
    fetched
        Those of them that an earlier process had submitted.
    shots
        Of all their circuits.
    device_s
        Seconds of the device, of the jobs that tell them.
    told
        Jobs that tell their seconds.
    predicted_s
        Predicted seconds of the device, of the jobs that do not.
    units
        Work units on devices that run circuits themselves, also those that a store had already.
    cost
        In the currency of the descriptions.
    """

    jobs: int = 0
    fetched: int = 0
    shots: int = 0
    device_s: float = 0.0
    told: int = 0
    predicted_s: float = 0.0
    units: int = 0
    cost: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the device, told or predicted."""
        return self.device_s + self.predicted_s

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.jobs + other.jobs,
            self.fetched + other.fetched,
            self.shots + other.shots,
            self.device_s + other.device_s,
            self.told + other.told,
            self.predicted_s + other.predicted_s,
            self.units + other.units,
            self.cost + other.cost,
        )


NOTHING = Usage()


@dataclass
class Meter:
    """Adds up usage.

    Attributes
    ----------
    usage
        So far.
    """

    usage: Usage = NOTHING

    def add(self, usage: Usage) -> None:
        """Take note of some."""
        self.usage += usage


_CURRENT: ContextVar[Meter | None] = ContextVar("job_meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """Yield a meter of what this thread runs on devices meanwhile."""
    meter = Meter()
    token = _CURRENT.set(meter)
    try:
        yield meter
    finally:
        _CURRENT.reset(token)


_STAYS: ContextVar[bool] = ContextVar("job_stays", default=False)


@contextmanager
def staying(stays: bool) -> Iterator[None]:
    """Have jobs of this thread stay in their queue meanwhile, however long that is, or not."""
    token = _STAYS.set(stays)
    try:
        yield
    finally:
        _STAYS.reset(token)


def stays_in_queue() -> bool:
    """Return whether jobs of this thread stay in their queue, however long that is."""
    return _STAYS.get()


def nothing_is_paid() -> bool:
    """Return whether no job of what this thread runs has ended yet."""
    return not current_meter().usage.jobs


def current_meter() -> Meter:
    """Return the meter of what this thread runs, one that nobody reads without one."""
    return _CURRENT.get() or Meter()
