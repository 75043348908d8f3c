"""Callbacks of a training: progress bar, TensorBoard, anybody's own.

What a callback may know of its trainer is the protocol `Training`, so this imports no trainer.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pilotcut.errors import UserError
from pilotcut.io.jsonl import unwritten
from pilotcut.training.history import Epoch

#: Between two lines about epochs in a log.
_LINE_S = 10.0


class Training(Protocol):
    """Training that is going on, as its callbacks see it; a `pilotcut.Trainer` is one.

    Attributes
    ----------
    model
        What is trained.
    epochs
        The last epoch that was asked for.
    stop
        Set it to end the training with the epoch that is going on, or the first.
    """

    model: torch.nn.Module
    epochs: int
    stop: bool

    @property
    def history(self) -> list[Epoch]:
        """Epochs so far."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The torch optimiser, None for a gradient-free one."""
        ...


class Callback:
    """Observer of a training; override what is of interest.

    Setting ``trainer.stop = True`` ends the training with the epoch that is going on.
    """

    def on_fit_begin(self, trainer: Training) -> None:
        """Before the first epoch; `trainer.history` has those before a resumed one."""

    def on_batch_end(
        self, trainer: Training, epoch: int, batch: int, batches: int, loss: float
    ) -> None:
        """After a batch, counted from 1, with its loss; `batches` is 0 if nobody knows."""

    def on_epoch_end(self, trainer: Training, epoch: Epoch) -> None:
        """After an epoch has been recorded."""

    def on_fit_end(self, trainer: Training) -> None:
        """At the end, also where an error ends the training."""


class ProgressBar(Callback):
    """Shows a bar over all batches, with the loss of the last one and the time left.

    Where output is no terminal, such as the log of a job, a bar appears at the end only; until
    then an epoch is a line, one in ten seconds at most.

    Parameters
    ----------
    console
        Where; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console or Console(stderr=True))
        self._task = self._bar.add_task("training", total=None, loss=0.0)
        self._said = -math.inf  # when the last line was printed

    def __reduce__(self) -> tuple[type[ProgressBar], tuple[()]]:
        return type(self), ()  # a copy shows a bar of its own, on standard error

    def on_batch_end(
        self, trainer: Training, epoch: int, batch: int, batches: int, loss: float
    ) -> None:
        """Move on."""
        if not self._bar.live.is_started:  # not before: a run that cannot start shows no bar
            self._bar.start()
            done = (epoch - 1) * batches  # of a run that is resumed: no work, no speed
            self._bar.reset(self._task, completed=done, loss=loss)
        self._bar.update(
            self._task,
            description=f"epoch {epoch}/{trainer.epochs}",
            total=trainer.epochs * batches if batches else None,
            completed=(epoch - 1) * batches + batch,
            loss=loss,
        )

    def on_epoch_end(self, trainer: Training, epoch: Epoch) -> None:
        """Print a line where there is no bar to see."""
        now = time.monotonic()
        if self._bar.console.is_terminal or now - self._said < _LINE_S:
            return
        self._said = now
        line = f"epoch {epoch.epoch}/{trainer.epochs}: loss {epoch.loss:.3f}, {epoch.seconds:.1f} s"
        self._bar.console.print(line, soft_wrap=True, highlight=False)

    def on_fit_end(self, trainer: Training) -> None:
        """Leave the bar as it is."""
        if self._bar.live.is_started:
            self._bar.stop()


class TensorBoard(Callback):
    """Writes losses, accuracies and the learning rate of each epoch for TensorBoard.

    Parameters
    ----------
    directory
        Where, as in ``tensorboard --logdir``.

    Raises
    ------
    UserError
        If its package is missing.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._writer: Any = None
        self._make = _summary_writer()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_writer": None}  # a copy opens a file of its own

    def on_epoch_end(self, trainer: Training, epoch: Epoch) -> None:
        """Write one point of each curve."""
        try:
            self._write(epoch)
        except OSError as error:
            raise unwritten(self._directory, error) from error

    def _write(self, epoch: Epoch) -> None:
        if self._writer is None:
            # Not before: a training that fails in its first epoch leaves nothing. Points of
            # epochs that a kill has undone are dropped.
            self._writer = self._make(str(self._directory), purge_step=epoch.epoch)
        points = {
            "loss/train": epoch.loss,
            "loss/validation": epoch.val_loss,
            "accuracy/train": epoch.train_accuracy,
            "accuracy/validation": epoch.val_accuracy,
            "accuracy/test": epoch.accuracy,
            "learning_rate": epoch.learning_rate,
        }
        for name, value in points.items():
            if value is not None:
                self._writer.add_scalar(name, value, epoch.epoch)
        self._writer.flush()

    def on_fit_end(self, trainer: Training) -> None:
        """Close the file."""
        if self._writer is not None:
            with suppress(OSError):  # all points are written: each epoch flushes them
                self._writer.close()
            self._writer = None


def _summary_writer() -> Any:
    """Return torch's writer for TensorBoard."""
    try:
        return import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise UserError(
            f"tensorboard is asked for and its package is missing ({error}), expected it beside "
            f"torch; run: pip install 'pilotcut[tensorboard]', or leave tensorboard out"
        ) from None
