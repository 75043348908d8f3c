"""Schedules of inference: which device of a fleet runs how many shots of which task.

A *task* here is an input whose expectation is wanted. Two ways to deal tasks to devices, as
compared by ArbiterQ (Chu et al., DAC 2025; no public code): batch-based, where a device has
whole tasks, and shot-oriented, where a torus of unlike devices shares the shots of each of its
tasks, and hard tasks go to accurate tori. Which tasks are hard is known from a warm-up: any
schedule of few shots, whose estimates `difficulty` ranks.

Pure functions of arrays. Nothing is run here and no clock is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotcut.errors import UserError
from pilotcut.fleet.shot_schedule import ShotSchedule, check_finite, check_rates
from pilotcut.fleet.torus import Torus
from pilotcut.options import counted

Online = Sequence[int] | Sequence[bool] | np.ndarray


def batch_based(tasks: int, shots: int, online: Online, devices: int) -> ShotSchedule:
    """Return the schedule of equal batches: every task wholly on one device.

    Batches are of neighbouring tasks, in the order of the online devices' numbers; their sizes
    differ by one task at most and the first are the larger ones.

    Parameters
    ----------
    tasks, shots
        Number of tasks, and shots of each.
    online
        Which devices take part: their numbers, or true and false for each.
    devices
        Number of devices, online or not.

    Raises
    ------
    UserError
        If no device is online, or if it names a device that there is not.

    Examples
    --------
    >>> batch_based(4, 100, [0, 2], devices=3).shots
    array([[100,   0,   0],
           [100,   0,   0],
           [  0,   0, 100],
           [  0,   0, 100]])
    """
    _check_shots(tasks, shots)
    there = np.flatnonzero(_mask(online, devices))
    table = np.zeros((tasks, devices), dtype=np.int64)
    for device, batch in zip(there, np.array_split(np.arange(tasks), len(there)), strict=True):
        table[batch, device] = shots
    return ShotSchedule(table)


def shot_oriented(
    tori: Sequence[Torus],
    difficulty: np.ndarray,
    accuracy: np.ndarray,
    throughput: np.ndarray,
    shots: int,
    online: Online,
) -> ShotSchedule:
    """Return the schedule of tori: the hardest tasks on the most accurate torus, shots shared.

    What the accuracy of a torus is and how many tasks it has is our choice, not taken from
    the paper: its accuracy is the mean over its online devices weighted by throughput, as are
    its shots, and it has tasks in proportion to its online throughput. Proportions are rounded
    by largest remainder. A torus with nobody online has no tasks; of equally accurate tori the
    first named has the harder tasks, and of equally hard tasks the first.

    Each device of a torus has its proportion of every task's shots to less than one shot. So
    for equal circuits and tori of rates R_k, with t tasks of n shots, the makespan exceeds the
    shortest possible, ``t n / sum R``, by less than ``max_k (n / R_k + t_k / r_k)``, with t_k
    the tasks of torus k and r_k its slowest device's rate: one task more than its proportion,
    and a shot of each task. No schedule, batch-based or other, is shorter than that shortest
    one.

    Parameters
    ----------
    tori
        Every device in exactly one.
    difficulty
        (tasks,), larger is harder.
    accuracy
        (devices,), larger is better; offline devices may have any.
    throughput
        (devices,) in shots a second; offline devices may have any.
    shots
        Shots of each task.
    online
        Which devices take part: their numbers, or true and false for each.

    Raises
    ------
    UserError
        If no device is online, tori are no partition of the devices, or a number that is
        needed is missing.

    Examples
    --------
    >>> pairs = (Torus((0, 1)), Torus((2, 3)))
    >>> shot_oriented(
    ...     pairs, difficulty=[0.1, 0.9], accuracy=[0.7, 0.7, 0.9, 0.9],
    ...     throughput=[1, 3, 2, 2], shots=100, online=[0, 1, 2, 3],
    ... ).shots
    array([[25, 75,  0,  0],
           [ 0,  0, 50, 50]])
    """
    difficulty, accuracy, throughput = (
        np.asarray(a, dtype=float) for a in (difficulty, accuracy, throughput)
    )
    _check_tasks("difficulty", difficulty)
    _check_shots(len(difficulty), shots)
    devices = sum(len(torus.devices) for torus in tori)
    mask = _mask(online, devices)
    _check_fleet(tori, accuracy, throughput, mask)
    here = [[d for d in torus.devices if mask[d]] for torus in tori]
    here = [members for members in here if members]
    # The sort keeps the order of equals.
    here.sort(key=lambda m: -np.average(accuracy[m], weights=throughput[m]))
    sizes = _apportion(len(difficulty), np.array([throughput[m].sum() for m in here]))
    hardest = np.argsort(-difficulty, kind="stable")
    table = np.zeros((len(difficulty), devices), dtype=np.int64)
    for members, own in zip(here, np.split(hardest, np.cumsum(sizes)[:-1]), strict=True):
        parts = _shared(len(own), shots, throughput[members])
        table[np.ix_(own, np.array(members))] = parts
    return ShotSchedule(table)


def difficulty(expectations: np.ndarray) -> np.ndarray:
    """Return how hard tasks are, ``1 - |f|`` from 0 to 1: near the decision boundary is hard.

    The formula is our choice, not taken from the paper: it is that of a classifier that
    decides by the sign of f. Estimates beyond 1, which cut circuits have at few shots, count
    as 1.

    Parameters
    ----------
    expectations
        f of each task by the warm-up, (tasks,).

    Raises
    ------
    UserError
        If one is missing.

    Examples
    --------
    >>> difficulty([-0.75, 0.0, 1.25])
    array([0.25, 1.  , 0.  ])
    """
    f = np.asarray(expectations, dtype=float)
    _check_tasks("expectations", f)
    return 1.0 - np.minimum(1.0, np.abs(f))


# -- rounding ----------------------------------------------------------------------------


def _apportion(whole: int, weights: np.ndarray) -> np.ndarray:
    """Return whole numbers in proportion to weights that sum to `whole`, by largest remainder."""
    quotas = whole * (weights / weights.sum())
    parts = np.floor(quotas).astype(np.int64)
    parts[np.argsort(parts - quotas, kind="stable")[: whole - parts.sum()]] += 1
    return parts


def _shared(tasks: int, shots: int, weights: np.ndarray) -> np.ndarray:
    """Return shots (tasks, devices) in proportion to weights; every row sums to `shots`.

    By largest remainder, where what is left over from a task counts for the next: with few
    shots the same device would otherwise have the odd shot of every task. In 4,000 random
    fleets of up to 30 devices and 300 tasks none was off its proportion by a whole shot at the
    end; proven is only that no task adds one.
    """
    quotas = shots * (weights / weights.sum())
    parts = np.tile(np.floor(quotas).astype(np.int64), (tasks, 1))
    odd = shots - int(parts[:1].sum()) if tasks else 0
    remainders = quotas - np.floor(quotas)
    # A whole quota is met exactly: such a device never has an odd shot.
    owed = np.where(remainders > 0, 0.0, -np.inf)
    for row in parts:
        owed += remainders
        chosen = np.argsort(-owed, kind="stable")[:odd]
        row[chosen] += 1
        owed[chosen] -= 1
    return parts


# -- checks ------------------------------------------------------------------------------


def _mask(online: Online, devices: int) -> np.ndarray:
    """Return who is online as an array of truths, (devices,), of which one at least is true."""
    given = np.asarray(online)
    if given.dtype == bool and given.shape != (devices,):
        raise UserError(
            f"online: has shape {given.shape}, expected ({devices},); give true or false for "
            f"each device"
        )
    named = np.flatnonzero(given) if given.dtype == bool else given
    if not named.size:
        raise UserError(
            f"online: none of {counted(devices, 'device')} is, expected at least one; wait until a "
            "device "
            f"is back"
        )
    if named.dtype.kind not in "iu" or named.min() < 0 or named.max() >= devices:
        raise UserError(
            f"online is {named.tolist()}, expected whole numbers from 0 to {devices - 1}; name "
            f"devices of this fleet"
        )
    mask = np.zeros(devices, dtype=bool)
    mask[named] = True
    return mask


def _check_shots(tasks: int, shots: int) -> None:
    if tasks < 0 or shots < 1 or int(shots) != shots:
        raise UserError(
            f"shots is {shots} for {counted(tasks, 'task')}, expected a whole number of at least "
            "1; give "
            f"the shots of each task"
        )


def _check_fleet(
    tori: Sequence[Torus], accuracy: np.ndarray, throughput: np.ndarray, mask: np.ndarray
) -> None:
    devices = len(mask)
    if sorted(d for torus in tori for d in torus.devices) != list(range(devices)):
        raise UserError(
            f"tori: hold the devices {[list(t.devices) for t in tori]}, expected each of 0 to "
            f"{devices - 1} once; build them for this fleet"
        )
    for name, values in (("accuracy", accuracy), ("throughput", throughput)):
        if values.shape != (devices,):
            raise UserError(
                f"{name}: has shape {values.shape}, expected ({devices},), one number for each "
                f"device of the tori; give both for the same fleet"
            )
    check_finite("accuracy", accuracy[None], mask[None])
    check_rates("throughput", throughput[None], mask[None])


def _check_tasks(name: str, values: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if values.ndim != 1 or len(bad):
        found = f"of task {bad[0]} is {values.flat[bad[0]]}" if len(bad) else f"is {values.ndim}-D"
        raise UserError(
            f"{name}: {found}, expected a finite number for each task; warm up every task"
        )
