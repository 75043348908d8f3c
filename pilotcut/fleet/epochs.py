"""Record of an epoch of a training on a fleet: what each device came to, and who was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotcut.training.history import Epoch


@dataclass(frozen=True)
class Event:
    """A device left, came back, was fenced off or calibrated, and why."""

    epoch: int
    device: str
    what: str
    why: str


@dataclass(frozen=True, kw_only=True, eq=False)
class FleetEpoch(Epoch):
    """One epoch of a training on a fleet; number 0 is before the first step.

    `loss` and `accuracy` are means over the devices that are there: the loss of the training
    samples, the accuracy of the test samples.

    Attributes
    ----------
    losses, accuracies
        Of each device's model on that device, over the test samples, without shots where the
        engine can do without; NaN of a device that is away; (devices,).
    train_losses
        The same over the training samples.
    modelled_s
        Seconds that the fleet would have taken since the start.
    circuits
        Circuits that were run since the start, by all devices, without those of these losses.
    online
        Names of the devices that are there at its end.
    events
        What happened in the epoch.
    clocks_s
        When each device's last step was done, in modelled seconds since the start, (devices,).
    """

    losses: np.ndarray
    accuracies: np.ndarray
    train_losses: np.ndarray
    modelled_s: float
    circuits: int
    online: tuple[str, ...]
    events: tuple[Event, ...] = ()
    clocks_s: tuple[float, ...] = ()

    @property
    def test_loss(self) -> float:
        """Mean loss of the test samples, over the devices that are there."""
        return float(np.nanmean(self.losses))

    def record(self, devices: Sequence[str]) -> dict[str, Any]:
        """Return what fleet.jsonl keeps of it, whose `loss` is that of the test samples."""
        return {
            "epoch": self.epoch,
            "loss": self.test_loss,
            "accuracy": self.accuracy,
            "train_loss": self.loss,
            "losses": dict(zip(devices, map(_number, self.losses), strict=True)),
            "accuracies": dict(zip(devices, map(_number, self.accuracies), strict=True)),
            "modelled_s": self.modelled_s,
            "circuits": self.circuits,
            "online": list(self.online),
            "events": [vars(event) for event in self.events],
        }


def _number(value: float) -> float | None:
    """Return a number that JSON has; NaN is None."""
    return float(value) if np.isfinite(value) else None
