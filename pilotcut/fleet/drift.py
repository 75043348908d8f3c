"""Calibrations that move: what a device is in an epoch of a training.

A QPU that is described in numbers follows the calibrations of its description, and beyond them a
drift. With each calibration its gates' turns too far take a step of a random walk, as control
electronics drift; T1, T2 and readout errors are drawn anew about their values, as they come and go
by themselves. One that runs circuits itself is asked anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pilotcut.fleet.device_jobs import Job
from pilotcut.pilots.description.qpu import QpuDescription

#: Standard deviation of the logarithm of T1, T2 and readout error between calibrations.
SCATTER = 0.2

#: Kinds of gates, with the most infidelity that one may have.
_KINDS = {"1q": 0.5, "2q": 0.75}


@dataclass(frozen=True)
class Drift:
    """Drift of a fleet.

    Parameters
    ----------
    size
        Standard deviation of a step of the turns, where 1 is the turn that alone makes the
        infidelity that is described; 0 for no drift.
    every
        Epochs between two calibrations; 0 for none, and devices that run circuits themselves
        are not asked anew.
    seed
        Decides the walks.
    """

    size: float = 0.0
    every: int = 0
    seed: int = 0

    def job(self, job: Job, device: int, epoch: int) -> Job:
        """Return the work of a device, which has a number in its fleet, as it is in an epoch."""
        qpu = job.qpu.at(epoch)
        calibration = epoch // self.every if self.every else 0
        if qpu.runs_itself:
            return replace(job, calibration=calibration)
        if self.size and calibration and qpu.qubits is not None:
            rng = np.random.default_rng([self.seed, device, 1])
            steps = rng.normal(size=(calibration, 5))
            qpu = moved(qpu, self.size * steps[:, :2].sum(axis=0), SCATTER * steps[-1, 2:])
        return job if qpu is job.qpu else replace(job, qpu=qpu)


def moved(qpu: QpuDescription, turns: np.ndarray, scatter: np.ndarray) -> QpuDescription:
    """Return a QPU whose gates turn further, and whose times and readout are others.

    Parameters
    ----------
    qpu
        Described in numbers.
    turns
        By how much the gates of one and of two qubits turn further, where 1 is the turn that alone
        makes the infidelity that is described.
    scatter
        Logarithms of what T1, T2 and the readout error are multiplied by.
    """
    said = qpu.model_dump(exclude_unset=True)
    for (kind, most), turn in zip(_KINDS.items(), turns, strict=True):
        infidelity = getattr(qpu, f"infidelity_{kind}")
        share = getattr(qpu, f"coherent_{kind}")
        # An infidelity by a small turn grows as its square.
        amplitude = math.copysign(math.sqrt(abs(share)), share) + turn
        coherent, rest = infidelity * amplitude**2, infidelity * (1.0 - abs(share))
        said[f"infidelity_{kind}"] = min(coherent + rest, most)
        if infidelity:
            said[f"coherent_{kind}"] = math.copysign(coherent / (coherent + rest), amplitude)
    t1, t2, readout = np.exp(scatter)
    said["t1_us"] = float(qpu.t1_us * t1)
    # Pure dephasing cannot be less than none.
    said["t2_us"] = float(min(qpu.t2_us * t2, 2 * said["t1_us"]))
    said["readout_error"] = float(min(qpu.readout_error * readout, 0.5))
    return QpuDescription(**said)
