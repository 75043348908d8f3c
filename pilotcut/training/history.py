"""Record of an epoch, and history of a training.

The same for all trainers: `pilotcut.Trainer`, `pilotcut.DataParallel`, and that of a fleet, which
adds what each device came to (`pilotcut.fleet.epochs`). Knows no file: a run directory writes
`Epoch.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What metrics.jsonl has of an epoch, in this order, and a checkpoint as columns of its history.
METRICS = (
    "epoch",
    "loss",
    "train_accuracy",
    "accuracy",
    "seconds",
    "learning_rate",
    "val_loss",
    "val_accuracy",
)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training; what its trainer does not measure is None or empty.

    Attributes
    ----------
    epoch
        Its number, from 1; a second `fit` of a `DataParallel` goes on counting.
    loss, train_accuracy
        Means over the training samples, each at the weights before its step: for `DataParallel`
        those that its gradient was computed from.
    accuracy
        On the test samples, where there are any.
    seconds
        Wall time.
    learning_rate
        During this epoch; None where there is none.
    val_loss, val_accuracy
        On the validation samples at its end, where there are any.
    staleness
        Of replicas: for each update, the updates between the weights of its gradient and those
        that it changed.
    bytes_sent, bytes_received
        Of replicas, arrays that travelled: weights, moments and row numbers; gradients, or
        weights and moments. Without the data set, which travels once to each worker.
    """

    epoch: int
    loss: float
    train_accuracy: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    learning_rate: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    staleness: tuple[int, ...] = ()
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def metrics(self) -> dict[str, Any]:
        """What a run directory keeps of it."""
        return {name: getattr(self, name) for name in METRICS}


@dataclass(frozen=True)
class History:
    """The epochs of a training.

    Attributes
    ----------
    epochs
        In order.
    kept
        The epoch whose weights the model has now.
    seconds
        Wall time of all of it, also where it was resumed.
    stopped_early
        Whether it ended before the last epoch that was asked for.
    reason
        What ended it, if that was neither the callbacks nor the patience.
    """

    epochs: tuple[Epoch, ...]
    kept: Epoch
    seconds: float
    stopped_early: bool = False
    reason: str = ""

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch."""
        return tuple(epoch.loss for epoch in self.epochs)

    @property
    def staleness(self) -> tuple[int, ...]:
        """Staleness of all updates, in order."""
        return tuple(updates for epoch in self.epochs for updates in epoch.staleness)
