"""Inference on a fleet: shot-oriented or batch-based, over trained models.

warm-up (few shots of every sample) ─► difficulty ─┐
behavioural vectors, weights ─► tori ──────────────┴─► schedule ─► shots on devices ─► values
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.errors import UserError
from pilotcut.fleet import work
from pilotcut.fleet.inference import (
    Schedule,
    batch_based,
    combine,
    difficulty,
    equal_time,
    shot_oriented,
)
from pilotcut.fleet.torus import Torus, tori
from pilotcut.fleet.trainer import Submit, here
from pilotcut.fleet.work import Job

SCHEDULES = ("shot-oriented", "batch")


@dataclass(frozen=True)
class Inference:
    """What an inference found, and what it took.

    Parameters
    ----------
    values
        Expectations, (samples,).
    schedule
        Who ran how many shots, the warm-up included.
    makespan_s
        Modelled seconds until the last device has ended, the warm-up included.
    """

    values: np.ndarray
    schedule: Schedule
    makespan_s: float


class Fleet:
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
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        weights: np.ndarray,
        submit: Submit | None = None,
        online: Sequence[bool] | None = None,
    ) -> None:
        self.jobs, self.weights = jobs, weights
        self.online = np.array([True] * len(jobs) if online is None else online)
        self._submit = submit or here

    @property
    def shot_s(self) -> np.ndarray:
        """Seconds of a shot on each device, (devices,)."""
        return np.array([job.prepared.shot_s for job in self.jobs])

    @property
    def tori(self) -> tuple[Torus, ...]:
        """The tori of the devices."""
        vectors = np.stack([job.prepared.vector for job in self.jobs])
        return tori(vectors, self.weights)

    def batch_based(self, samples: np.ndarray, shots: int, seed: int) -> Inference:
        """Return the values of whole samples on one device each."""
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

        The shots of the warm-up count in the values too.

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
        first = max(1, round(shots * warm_up))
        if first >= shots:
            raise UserError(
                f"shots is {shots}, of which the warm-up takes {first}, expected more than that"
            )
        probe = batch_based(len(samples), first, self.online, len(self.jobs))
        found = self._run(probe, samples, seed)
        schedule = shot_oriented(
            self.tori,
            difficulty(found.values),
            np.array([job.prepared.success for job in self.jobs]),
            1.0 / self.shot_s,
            shots - first,
            self.online,
        )
        if makespan_s is not None:
            schedule = equal_time(schedule, self.shot_s, makespan_s - found.makespan_s)
        main = self._run(schedule, samples, seed + 1)
        shares = schedule.shots_of_task / (schedule.shots_of_task + first)
        return Inference(
            shares * main.values + (1.0 - shares) * found.values,
            Schedule(probe.shots + schedule.shots),
            found.makespan_s + main.makespan_s,
        )

    def _run(self, schedule: Schedule, samples: np.ndarray, seed: int) -> Inference:
        """Run a schedule, a task for each device, and pool what comes back."""
        shots = schedule.shots
        asked = {
            k: self._submit(
                job.device,
                work.values,
                job,
                self.weights[k],
                samples[shots[:, k] > 0],
                shots[shots[:, k] > 0, k],
                int(np.random.SeedSequence([seed, k]).generate_state(1)[0]),
            )
            for k, job in enumerate(self.jobs)
            if shots[:, k].any()
        }
        means = np.full(shots.shape, np.nan)
        for k, pending in asked.items():
            means[shots[:, k] > 0, k] = pending.result()
        values = combine(schedule, means)
        return Inference(values, schedule, schedule.makespan_s(self.shot_s))
