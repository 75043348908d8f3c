"""Upkeep of a fleet's models: which devices have moved, and from whose model they go on.

After HeteroQNN (TCAD 2026): when a calibration has changed a device, its behavioural vector tells
so, and its model is retuned from that of the device that was trained for the nearest vector. Knows
vectors and weights; who computes what when is the trainer's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.drift import Drift
from pilotcut.fleet.fleet import facts_of
from pilotcut.fleet.similarity import similarity
from pilotcut.fleet.strategies import FleetFacts

#: A device has moved if its vector is less similar than this to that for which it was trained.
STILL = 0.9


class Upkeep:
    """What is known of a fleet's calibrations.

    Parameters
    ----------
    jobs
        The devices as described.
    config
        Drift, and κ of similarities.

    Attributes
    ----------
    noticed, from_near
        Whether calibrations are seen, and models go on from near ones.
    tuned
        The behavioural vector for which each device's model was trained last, (devices, len).
    """

    def __init__(self, jobs: Sequence[Job], config: FleetConfig) -> None:
        self._jobs, self._kappa = tuple(jobs), config.kappa
        self._drift = Drift(config.drift, config.calibrate_every, config.seed)
        self.noticed = config.upkeep != "ignore"
        self.from_near = config.upkeep == "retune"
        self.tuned = np.stack([job.prepared.vector for job in jobs])

    def job(self, device: int, epoch: int) -> Job:
        """Return the work of a device as it is in an epoch."""
        return self._drift.job(self._jobs[device], device, epoch)

    def facts(self, jobs: Sequence[Job]) -> FleetFacts:
        """Return what strategies may know of the devices as they are now."""
        return facts_of(jobs, self._kappa)

    def likeness(self, device: int, job: Job) -> float:
        """Return how similar a device is to what its model was trained for, in [0, 1]."""
        pair = np.stack([self.tuned[device], job.prepared.vector])
        return float(similarity(pair, self._kappa)[0, 1])

    def has_moved(self, device: int, job: Job) -> bool:
        """Return whether a device's model was trained for another behaviour."""
        return self.likeness(device, job) < STILL

    def nearest(self, device: int, job: Job) -> int:
        """Return the device whose model was trained for the behaviour nearest to this one's."""
        apart = np.linalg.norm(self.tuned - job.prepared.vector, axis=1)
        return int(np.argmin(apart))

    def trained(self, device: int, job: Job) -> None:
        """Take that a device's model has been trained for what the device is now."""
        self.tuned[device] = job.prepared.vector
