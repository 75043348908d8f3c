"""Jobs of a device: values and gradients of a model's loss, as tasks.

A `Job` says which model runs on which device, and how; it is small and travels with every task,
and what is compiled for it stays in the process that runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from pilotcut.backends.known_backends import refresh
from pilotcut.backends.noise_model import Device
from pilotcut.backends.qpu_target import device_of
from pilotcut.fleet.damped_expectations import DampedExpectations
from pilotcut.fleet.device_features import device_features, success
from pilotcut.fleet.engines import CountedCircuits, DrawnExpectations, Engine, Shots
from pilotcut.fleet.models import model, observed_qubits
from pilotcut.fleet.noisy_expectations import NoisyExpectations
from pilotcut.fleet.placement import error_of, placed
from pilotcut.fleet.shifts import Shifts
from pilotcut.fleet.transpile import Compilation
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.training.model import Model

#: What an expectation may be beyond 1 by rounding.
_ROUNDING = 1e-9


class GarbageError(ValueError):
    """A device has returned what no device that works would."""


@dataclass(frozen=True)
class Job:
    """A model on a device.

    Parameters
    ----------
    device, qpu
        The device, and its name for messages.
    model, qubits
        Name of the model, see `pilotcut.fleet.models`, and its number of qubits.
    engine
        ``"law"`` draws shots from the exact distribution of the noisy device, fast and for
        simulated devices alone; ``"damped"`` takes all random errors for one depolarisation, for
        models too large for that; ``"counts"`` runs the circuits.
    layers
        How often the model's ansatz is repeated.
    calibration
        Another number for another calibration of a device that runs circuits itself, which is
        read anew.
    """

    device: str
    qpu: QpuDescription
    model: str
    qubits: int
    engine: str = "law"
    layers: int = 1
    calibration: int = 0

    @property
    def prepared(self) -> Prepared:
        """What is compiled for it, once a process."""
        return _prepared(self)


@dataclass(frozen=True)
class DeviceGradient:
    """A device's estimate of the loss on some samples, and of its gradient.

    Parameters
    ----------
    loss
        Mean over the samples of ((f − y) / 2)², f the expectation and y the label, -1 or +1.
    gradient
        d loss / d weights, (weights,).
    values
        The expectations at the weights, (samples,).
    """

    loss: float
    gradient: np.ndarray
    values: np.ndarray


class Prepared:
    """A model compiled for a device, with what runs it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model: Model = model(job.model, job.qubits, job.layers)
        if job.calibration and job.qpu.like is not None:
            refresh(job.device, job.qpu.like)
        self.device: Device = device_of(job.device, job.qpu)
        self.compilation: Compilation = placed(
            self.model.circuit, self.device.target, observed_qubits(self.model)
        )
        self.shifts = Shifts.of(self.model)

    @cached_property
    def engine(self) -> Engine:
        """What runs the circuits."""
        if self.job.engine == "damped":
            return DrawnExpectations(DampedExpectations(self.model, self.compilation, self.device))
        if self.job.engine == "law":
            return DrawnExpectations(NoisyExpectations(self.model, self.compilation, self.device))
        return CountedCircuits(self.model, self.compilation, self.device)

    @cached_property
    def vector(self) -> np.ndarray:
        """The behavioural vector, (2·gates,)."""
        return device_features(self.compilation, self.device.target).vector

    @cached_property
    def success(self) -> float:
        """The probability that a run of the circuit has no error."""
        return success(self.compilation, self.device.target)

    @cached_property
    def error(self) -> float:
        """The predicted error of the circuit with its readout, as estimators predict it."""
        return error_of(self.compilation, self.device.target, observed_qubits(self.model))

    @cached_property
    def shot_s(self) -> float:
        """Seconds of one shot on the device."""
        return self.device.shot_s(self.compilation.circuit)


@lru_cache(maxsize=256)
def _prepared(job: Job) -> Prepared:
    return Prepared(job)


def mean_loss(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of ((f − y) / 2)², in [0, 1]."""
    return float(np.mean((values - labels) ** 2) / 4.0)


def gradient(
    job: Job, weights: np.ndarray, samples: np.ndarray, labels: np.ndarray, shots: int, seed: int
) -> DeviceGradient:
    """Return a device's estimate of the loss and its gradient, by parameter shifts.

    Parameters
    ----------
    job
        The model and the device.
    weights
        (weights,), in radians.
    samples, labels
        (samples, qubits) in radians, (samples,) of -1 and +1.
    shots
        Of every circuit; 0 with engine ``law`` for none, exact.
    seed
        The same seed gives the same numbers.

    Raises
    ------
    GarbageError
        If what the device returns cannot be expectations.
    """
    prepared = job.prepared
    found = prepared.engine.shifted(weights, samples, shots, seed)
    estimates = _checked(found, (prepared.shifts.circuits, len(samples)))
    values = estimates[0]
    # The values come from a circuit of their own, so their shot noise is independent of the slopes'
    # and the product of both, from d((f - y)/2)^2 = (f - y)/2 df, is unbiased.
    slopes = prepared.shifts.coefficients.T @ estimates
    return DeviceGradient(
        mean_loss(values, labels), slopes @ (values - labels) / (2 * len(labels)), values
    )


def values(
    job: Job, weights: np.ndarray, samples: np.ndarray, shots: Shots, seed: int
) -> np.ndarray:
    """Return a device's estimates of the samples' expectations, (samples,); see `gradient`."""
    return _checked(job.prepared.engine.values(weights, samples, shots, seed), (len(samples),))


def _checked(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a device has found if it can be expectations."""
    if np.shape(found) != shape:
        raise GarbageError(f"its expectations have shape {np.shape(found)}, expected {shape}")
    if not (np.abs(found) <= 1.0 + _ROUNDING).all():  # nor is NaN
        raise GarbageError("its expectations are not between -1 and 1")
    return found
