"""Schedule of shots: how many of each task each device runs, how long that takes, what it gives.

A *task* here is an input whose expectation is wanted. Who should run what is decided in
`pilotcut.fleet.inference_schedule`. Pure functions of arrays: nothing is run here and no clock is
read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotcut.errors import UserError

#: Halvings until the scale of a schedule is as fine as a floating-point number.
HALVINGS = 60

#: Shots of a schedule that can still be counted in floating point.
MOST_SHOTS = 2**53

#: Shots that are nothing but the rounding of a product.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ShotSchedule:
    """Shots of each task on each device.

    Parameters
    ----------
    shots
        Integer array (tasks, devices).
    """

    shots: np.ndarray

    def __post_init__(self) -> None:
        shots = np.asarray(self.shots)
        if shots.ndim != 2 or shots.dtype.kind not in "iu" or np.any(shots < 0):
            raise UserError(
                f"shots: is an array of {shots.dtype} of shape {shots.shape}, expected whole "
                f"numbers from 0 of shape (tasks, devices)"
            )
        object.__setattr__(self, "shots", shots)

    @property
    def shots_of_task(self) -> np.ndarray:
        """Shots of each task on all devices, (tasks,)."""
        return self.shots.sum(axis=1)

    def device_s(self, shot_s: np.ndarray) -> np.ndarray:
        """Return the seconds for which each device is busy, (devices,).

        Parameters
        ----------
        shot_s
            Seconds of one shot, (devices,) or (tasks, devices). What is not run may be of
            unknown duration: NaN or infinite.
        """
        used = self.shots > 0
        shot_s = np.asarray(shot_s, dtype=float)
        if shot_s.shape not in (used.shape, used.shape[1:]):
            raise UserError(
                f"shot_s: has shape {shot_s.shape}, expected {used.shape[1:]} or {used.shape}; "
                f"give one number for each device, or for each task and device"
            )
        shot_s = np.broadcast_to(shot_s, used.shape)
        check_rates("shot_s", shot_s, used)
        return np.where(used, self.shots * np.where(used, shot_s, 0.0), 0.0).sum(axis=0)

    def makespan_s(self, shot_s: np.ndarray) -> float:
        """Return the seconds until the last device is done, if all start at once."""
        return float(self.device_s(shot_s).max(initial=0.0))


def equal_time(schedule: ShotSchedule, shot_s: np.ndarray, makespan_s: float) -> ShotSchedule:
    """Return the schedule scaled, up or down, to take as long as given and no longer.

    All shots are multiplied by one factor and rounded down, but to 1 where a device runs any
    of a task. So schedules can be compared at the same time instead of the same shots.

    Parameters
    ----------
    schedule
        What is scaled.
    shot_s
        Seconds of one shot, (devices,) or (tasks, devices).
    makespan_s
        The most seconds that it may take.

    Raises
    ------
    UserError
        If one shot of each takes longer already, or the time is not finite.

    Examples
    --------
    >>> slow = ShotSchedule(np.array([[100, 100], [50, 0]]))
    >>> equal_time(slow, np.array([0.1, 0.1]), makespan_s=3.0).shots
    array([[20, 20],
           [10,  0]])
    """

    def scaled(factor: float) -> ShotSchedule:
        fewest = (schedule.shots > 0).astype(np.int64)
        # A little more, lest three times 5 shots are 14 by rounding; the time is checked.
        shots = np.floor(schedule.shots * factor + ROUNDING).astype(np.int64)
        return ShotSchedule(np.maximum(fewest, shots))

    now_s = schedule.makespan_s(shot_s)
    if now_s == 0:
        return schedule
    least_s = scaled(0.0).makespan_s(shot_s)
    most_s = now_s * (MOST_SHOTS / int(schedule.shots.sum()))
    if not least_s <= makespan_s <= most_s:
        raise UserError(
            f"makespan_s is {makespan_s:g}, expected from {least_s:g}, which is what one shot of "
            f"every task on each of its devices takes, to {most_s:g}; give a time in that range"
        )
    factor, low = makespan_s / now_s, 0.0
    if scaled(factor).makespan_s(shot_s) <= makespan_s:
        return scaled(factor)
    # The single shots that are not rounded away cost time: look for the largest factor below.
    for _ in range(HALVINGS):
        middle = (low + factor) / 2
        if scaled(middle).makespan_s(shot_s) <= makespan_s:
            low = middle
        else:
            factor = middle
    return scaled(low)


def combine(schedule: ShotSchedule, means: np.ndarray) -> np.ndarray:
    """Return the mean of each task over all its shots, (tasks,).

    Parameters
    ----------
    schedule
        Who ran how many.
    means
        (tasks, devices): the mean on each device; what it holds where nothing was run, NaN
        for one, is ignored.

    Raises
    ------
    UserError
        If a mean is missing where shots were run, or a task has no shots.

    Examples
    --------
    >>> shots = ShotSchedule(np.array([[30, 10, 0]]))
    >>> combine(shots, np.array([[1.0, 0.0, np.nan]]))
    array([0.75])
    """
    shots, means = schedule.shots, np.asarray(means, dtype=float)
    if means.shape != shots.shape:
        raise UserError(
            f"means: has shape {means.shape}, expected that of the schedule, {shots.shape}; give "
            f"one mean for each task and device"
        )
    check_finite("means", means, shots > 0)
    total = schedule.shots_of_task
    if not total.all():
        raise UserError(
            f"schedule: task {np.argmin(total)} has no shots, expected at least 1; leave the "
            f"task out"
        )
    return np.where(shots > 0, shots * np.where(shots > 0, means, 0.0), 0.0).sum(axis=1) / total


def check_finite(name: str, values: np.ndarray, used: np.ndarray) -> None:
    """Raise unless the numbers (tasks, devices) that are used are finite."""
    _refuse(name, values, used & ~np.isfinite(values), "a finite number")


def check_rates(name: str, values: np.ndarray, used: np.ndarray) -> None:
    """Raise unless the numbers (tasks, devices) that are used are finite and above 0."""
    _refuse(name, values, used & ~(np.isfinite(values) & (values > 0)), "a finite number above 0")


def _refuse(name: str, values: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    """Refuse numbers (tasks, devices) that are needed and wrong, naming the first device."""
    if wrong.any():
        device = int(np.argmax(wrong.any(axis=0)))
        value = values[np.argmax(wrong[:, device]), device]
        raise UserError(
            f"{name}: is {value:g} for device {device}, which takes part, expected {expected}; "
            f"measure it, or leave that device out"
        )
