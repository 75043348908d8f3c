"""Inference on a fleet: shot-oriented or batch-based, over trained models.

warm-up (few shots of every sample) ─► difficulty ─┐
behavioural vectors, weights ─► tori ──────────────┴─► schedule ─► shots on devices ─► values

The shots of a device that fails, or returns garbage, are run again by the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pilotcut.errors import UserError
from pilotcut.fleet import device_jobs
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.engines import seed_of
from pilotcut.fleet.inference_schedule import batch_based, difficulty, shot_oriented
from pilotcut.fleet.shot_schedule import ShotSchedule, combine, equal_time
from pilotcut.fleet.submission import PendingResult, Submit, here, one_line, submitted
from pilotcut.fleet.torus import Torus, tori
from pilotcut.options import check_seed

SCHEDULES = ("shot-oriented", "batch")


@dataclass(frozen=True)
class Inference:
    """Result of an inference, and the time that it took.

    Parameters
    ----------
    values
        Expectations, (samples,).
    schedule
        Who was to run how many shots, the warm-up included.
    makespan_s
        Modelled seconds until the last device has ended, the warm-up included.
    """

    values: np.ndarray
    schedule: ShotSchedule
    makespan_s: float


class TrainedFleet:
    """Trained models on their devices.

    Parameters
    ----------
    jobs
        One for each device.
    weights
        (devices, weights).
    submit
        Starts work on a device's pilot; None does it here.
    online
        True for the devices that are there; None for all.

    Attributes
    ----------
    lost
        Why a device was left out, by its name.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        weights: np.ndarray,
        submit: Submit | None = None,
        online: Sequence[bool] | None = None,
    ) -> None:
        self.jobs, self.weights = jobs, weights
        self.online = np.array([True] * len(jobs) if online is None else online, dtype=bool)
        self.lost: dict[str, str] = {}
        self._submit = submit or here

    @cached_property
    def shot_s(self) -> np.ndarray:
        """Seconds of a shot on each device, (devices,)."""
        return np.array([job.prepared.shot_s for job in self.jobs])

    @cached_property
    def tori(self) -> tuple[Torus, ...]:
        """The tori of the devices."""
        vectors = np.stack([job.prepared.vector for job in self.jobs])
        return tori(vectors, self.weights)

    def batch_based(self, samples: np.ndarray, shots: int, seed: int) -> Inference:
        """Return the values of whole samples on one device each."""
        check_seed(seed)
        schedule = batch_based(len(samples), shots, self.online, len(self.jobs))
        return self._run(schedule, samples, seed)

    def shot_oriented(
        self,
        samples: np.ndarray,
        shots: int,
        seed: int,
        *,
        warm_up: float = 0.1,
        makespan_s: float | None = None,
    ) -> Inference:
        """Return the values of samples whose shots are shared by tori, after a warm-up.

        The warm-up is shared by tori too, when no sample is known to be hard yet, and its shots
        count in the values.

        Parameters
        ----------
        samples
            (samples, qubits) in radians.
        shots
            Of every sample, those of the warm-up included.
        seed
            The same seed gives the same values.
        warm_up
            Share of the shots, and so of the time, that goes into finding hard samples.
        makespan_s
            Modelled seconds that it may take in all: shots are scaled up or down to fill them.
        """
        check_seed(seed)
        first = max(1, round(shots * warm_up))
        if first >= shots:
            raise UserError(
                f"shots is {shots}, of which the warm-up takes {first}, expected more than that"
            )
        probe = self._by_tori(np.zeros(len(samples)), first)
        found = self._run(probe, samples, seed)
        schedule = self._by_tori(difficulty(found.values), shots - first)
        if makespan_s is not None:
            schedule = equal_time(schedule, self.shot_s, makespan_s - found.makespan_s)
        main = self._run(schedule, samples, seed + 1)
        shares = schedule.shots_of_task / (schedule.shots_of_task + first)
        return Inference(
            shares * main.values + (1.0 - shares) * found.values,
            ShotSchedule(probe.shots + schedule.shots),
            found.makespan_s + main.makespan_s,
        )

    def _by_tori(self, difficulty: np.ndarray, shots: int) -> ShotSchedule:
        accuracy = np.array([job.prepared.success for job in self.jobs])
        return shot_oriented(self.tori, difficulty, accuracy, 1.0 / self.shot_s, shots, self.online)

    def _run(
        self, schedule: ShotSchedule, samples: np.ndarray, seed: int, attempt: int = 0
    ) -> Inference:
        """Run a schedule and pool what comes back; the shots of who fails are run by others."""
        means = self._means(schedule, samples, seed, attempt)
        seconds = schedule.makespan_s(self.shot_s)
        ran = np.where(np.isnan(means), 0, schedule.shots)
        lost = (schedule.shots - ran).sum(axis=1)
        again = lost > 0
        if not again.any():
            return Inference(combine(schedule, means), schedule, seconds)
        repeat = self._run(self._dealt(lost[again]), samples[again], seed, attempt + 1)
        others = np.full(len(samples), np.nan)
        others[again] = repeat.values
        pooled = ShotSchedule(np.column_stack([ran, lost]))
        values = combine(pooled, np.column_stack([means, others]))
        return Inference(values, schedule, seconds + repeat.makespan_s)

    def _means(
        self, schedule: ShotSchedule, samples: np.ndarray, seed: int, attempt: int
    ) -> np.ndarray:
        """Return the means of a task for each device, (samples, devices); NaN where none are."""
        shots = schedule.shots
        pending: dict[int, PendingResult] = {}
        for k in np.flatnonzero(shots.any(axis=0)).tolist():
            # What is run again draws anew: it is pooled with the shots that came back before.
            own = seed_of(seed, k, attempt)
            pending[k] = self._ask(k, samples[shots[:, k] > 0], shots[shots[:, k] > 0, k], own)
        means = np.full(shots.shape, np.nan)
        for k, result in pending.items():
            rows = shots[:, k] > 0
            try:
                means[rows, k] = result.result()
            except Exception as error:
                self._lose(k, error)
        return means

    def _ask(self, k: int, samples: np.ndarray, shots: np.ndarray, seed: int) -> PendingResult:
        job = self.jobs[k]
        arguments = (job, self.weights[k], samples, shots, seed)
        return submitted(self._submit, job.device, device_jobs.values, *arguments)

    def _lose(self, k: int, error: Exception) -> None:
        self.online[k] = False
        self.lost[self.jobs[k].device] = one_line(error)

    def _dealt(self, shots: np.ndarray) -> ShotSchedule:
        """Return the schedule of tasks, each with shots of its own, on one device each."""
        if not self.online.any():
            reasons = "; ".join(f"'{device}': {why}" for device, why in self.lost.items())
            raise UserError(f"no device is left, expected one at least ({reasons}); bring one back")
        whole = batch_based(len(shots), 1, self.online, len(self.jobs))
        return ShotSchedule(whole.shots * shots[:, None])
