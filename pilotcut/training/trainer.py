"""Trainer of any torch module: epochs, optimisers by name, early stopping, checkpoints, callbacks.

Owns the order of things in an epoch. A pass over the samples is `pilotcut.training.passes`', what
a checkpoint holds `pilotcut.training.checkpoint`'s, its file that of
`pilotcut.training.trainer_directory`. Nothing here knows of circuits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isnan
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pilotcut.errors import RunDirectoryError, UsageError, UserError, unwrapped
from pilotcut.io.jsonl import JsonLines
from pilotcut.options import check_seed
from pilotcut.training.callbacks import Callback, TensorBoard
from pilotcut.training.checkpoint import Best, FitState, faults_of, restore, state_of
from pilotcut.training.checks import require
from pilotcut.training.config import EPOCHS, GRADIENT_FREE, LEARNING_RATES, PATIENCE
from pilotcut.training.history import Epoch, History
from pilotcut.training.losses import Loss, Scores, find_loss
from pilotcut.training.optimisers import (
    LearningRateSchedule,
    as_point,
    assign,
    check_optimizer,
    search,
    torch_optimizer,
    torch_schedule,
)
from pilotcut.training.passes import Loader, OnBatch, evaluate, train_pass
from pilotcut.training.trainer_directory import TrainerDirectory


class _Ended(Exception):  # noqa: N818  no error: the way out of an optimiser's own loop
    """Raised where a gradient-free optimiser asks for more after the last epoch."""


class Trainer:
    """Trains a torch module.

    Parameters
    ----------
    model
        Any module: a ``TorchConnector``, `pilotcut.cut_qnn`, a network of which they are a part.
    optimizer
        "adam", "sgd", "lbfgs"; "cobyla", "spsa" (of Qiskit Machine Learning); or a torch
        optimiser of the model's parameters.
    learning_rate
        None is 0.1 for adam and sgd, 1 for lbfgs, spsa and cobyla (the radius of its first trust
        region); see ``pilotcut.training.optimisers``.
    loss
        "mse", "hinge" and "bce" for one output and targets -1.0 or 1.0 ("bce" takes the output
        for a logit), "cross_entropy" for logits and class indices; or any function of outputs
        and targets.
    schedule
        Of the learning rate: "constant", "cosine", "step", "exponential", "plateau", or a
        function from a torch optimiser to its scheduler, which steps after every epoch.
    patience
        End after so many epochs without a lower validation loss, and keep the best weights.
    callbacks
        Called in this order; see `pilotcut.training.callbacks.Callback`.
    seed
        Decides what the trainer draws, and what a loader or the model draw from torch's global
        generator, which is left as it was found.
    directory
        Where metrics.jsonl, a checkpoint after every epoch and the weights go; None keeps none.
    tensorboard
        Write logs for TensorBoard, into the directory.

    Attributes
    ----------
    stop
        Set it to end the training with the epoch that is going on, or the first.
    epochs
        The last one that was asked for.

    Notes
    -----
    COBYLA and SPSA see values of the loss alone: an epoch is one evaluation over all training
    samples. They keep no state that could be saved, so a resumed training tells them the values
    on record again, which brings them to where they were. What they ask for is a search, not a
    path, so the model ends with the weights of the lowest loss (of the validation samples, where
    there are any). The accuracy is the share of samples for which the output has the target's
    sign (targets ±1) or the largest output is the target's (class indices).

    Examples
    --------
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> x = torch.linspace(-1, 1, 8).reshape(-1, 1)
    >>> loader = DataLoader(TensorDataset(x, torch.sign(x[:, 0])), batch_size=4, shuffle=True)
    >>> history = Trainer(torch.nn.Linear(1, 1)).fit(loader, epochs=20)
    >>> history.epochs[-1].train_accuracy
    1.0
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        optimizer: str | torch.optim.Optimizer = "adam",
        learning_rate: float | None = None,
        loss: str | Loss = "mse",
        schedule: str | Callable[[torch.optim.Optimizer], LearningRateSchedule] = "constant",
        patience: int | None = None,
        callbacks: Sequence[Callback] = (),
        seed: int = 0,
        directory: str | Path | None = None,
        tensorboard: bool = False,
    ) -> None:
        given = isinstance(optimizer, torch.optim.Optimizer)
        check_optimizer("adam" if given else str(optimizer), learning_rate, schedule)
        if given and learning_rate is not None:
            raise UserError(
                f"learning_rate is {learning_rate} beside an optimiser of yours, expected None; "
                f"give it to the optimiser"
            )
        if patience is not None:
            require("patience", patience, PATIENCE)
        check_seed(seed)
        if tensorboard and directory is None:
            raise UserError(
                "tensorboard is asked for without a directory, expected one for its files; give "
                "directory, or pass TensorBoard('somewhere') among the callbacks"
            )
        self.model = model
        self.loss = find_loss(loss)
        self.stop = False
        self.epochs = 0
        self._optimizer = optimizer
        self._name = "" if given else str(optimizer).lower()
        self._rate = learning_rate or LEARNING_RATES.get(self._name, 0.0)
        self._schedule, self._patience, self._seed = schedule, patience, seed
        self._run = None if directory is None else TrainerDirectory(Path(directory))
        self.callbacks = list(callbacks)
        if tensorboard and self._run is not None:
            self.callbacks.append(TensorBoard(self._run.tensorboard))
        self._fit: FitState | None = None
        self._metrics = JsonLines()
        self._reason = ""

    @property
    def history(self) -> list[Epoch]:
        """Epochs so far."""
        return list(self._fit.history) if self._fit else []

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The torch optimiser of the training that is going on, None for a gradient-free one."""
        return self._fit.optimizer if self._fit else None

    def fit(
        self,
        loader: Loader,
        validation: Loader | None = None,
        *,
        epochs: int,
        test: Loader | None = None,
        resume: bool = False,
    ) -> History:
        """Train to the last epoch, or until the callbacks or the patience end it.

        Parameters
        ----------
        loader
            Batches of inputs and targets, such as a torch DataLoader.
        validation
            Evaluated after every epoch: what `patience` and "plateau" watch.
        epochs
            The last one, counted from the first also where the training is resumed.
        test
            Evaluated after every epoch, for the record alone.
        resume
            Continue from the checkpoint in the directory, if there is one yet.

        Raises
        ------
        UserError
            For what makes no sense together, or a directory that holds a training already.
        """
        self._check(epochs, validation, resume)
        self.epochs, self.stop, self._reason = epochs, False, ""
        self._fit = fit = self._begin(loader, validation, test)
        if resume:
            self._restore(fit)
        with self._recording(resume) as self._metrics:
            try:
                for callback in self.callbacks:
                    callback.on_fit_begin(self)
                if not self._is_over(fit):
                    with self._within_usage(fit), unwrapped():
                        (self._search if fit.optimizer is None else self._descend)(fit)
            finally:
                for callback in self.callbacks:
                    callback.on_fit_end(self)
        return self._end(fit)

    def evaluate(self, loader: Loader) -> Scores:
        """Return loss and accuracy on some samples."""
        return evaluate(self.model, self.loss, loader)

    # -- before and after ----------------------------------------------------------

    def _check(self, epochs: int, validation: Loader | None, resume: bool) -> None:
        fault = EPOCHS.fault("epochs", epochs)
        faults = [fault] if fault else []
        if self._patience is not None and validation is None:
            faults.append(
                f"patience is {self._patience} without validation samples, expected some to "
                f"watch; give fit a second loader"
            )
        if resume and self._run is None:
            faults.append(
                "resume is asked for without a directory, expected that of the training to "
                "continue; give the trainer a directory"
            )
        if faults:
            raise UserError(faults)
        if self._run is not None and not resume and self._run.checkpoint.exists():
            raise RunDirectoryError(
                f"directory '{self._run.path}' already holds a training, expected a new or empty "
                f"one; resume it, or give another directory"
            )

    def _begin(self, loader: Loader, validation: Loader | None, test: Loader | None) -> FitState:
        optimizer: torch.optim.Optimizer | None
        if isinstance(self._optimizer, torch.optim.Optimizer):
            optimizer = self._optimizer
        elif self._name in GRADIENT_FREE:
            optimizer = None
        else:
            optimizer = torch_optimizer(self._name, self._trained(), self._rate)
        schedule = None
        if optimizer is not None:
            schedule = torch_schedule(self._schedule, optimizer, self.epochs)
        start = as_point(self._trained()) if optimizer is None else None
        name = self._name or type(optimizer).__name__
        asked = {"optimizer": name, "learning_rate": self._rate, "seed": self._seed}
        return FitState(loader, validation, test, optimizer, schedule, asked, start)

    def _trained(self) -> list[torch.nn.Parameter]:
        found = [p for p in self.model.parameters() if p.requires_grad]
        if not found:
            raise UserError("the model has no parameters to train, expected at least one")
        return found

    def _restore(self, fit: FitState) -> None:
        """Go to where the checkpoint was written, if there is one."""
        assert self._run is not None
        state = self._run.load_checkpoint()
        if state is None:
            return
        where, cosine = f"the training in '{self._run.path}'", self._schedule == "cosine"
        if faults := faults_of(state, fit, self.epochs, cosine=cosine, where=where):
            raise RunDirectoryError(faults)
        try:
            restore(state, fit, self.model)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise self._run.damaged_checkpoint(f"{reason:.100}") from error

    @contextmanager
    def _recording(self, resume: bool) -> Iterator[JsonLines]:
        """Open the records of epochs."""
        if self._run is None:
            yield JsonLines()
            return
        self._run.make()
        self._run.forget_metrics_after(self._fit.done if self._fit and resume else 0)
        with JsonLines(self._run.metrics) as lines:
            yield lines

    def _end(self, fit: FitState) -> History:
        """Give the model the weights that are kept, and write them."""
        kept, best = fit.history[-1], fit.best
        if best is not None and (self._patience is not None or fit.optimizer is None):
            self.model.load_state_dict(best.weights)
            kept = next(epoch for epoch in fit.history if epoch.epoch == best.epoch)
        if self._run is not None:
            self._run.save_weights(self.model.state_dict())
        early = fit.done < self.epochs
        return History(tuple(fit.history), kept, fit.seconds, early, self._reason)

    @contextmanager
    def _within_usage(self, fit: FitState) -> Iterator[None]:
        """End the training after its last whole epoch where devices may be used no longer."""
        try:
            yield
        except UsageError as error:
            if not fit.history:  # nothing was trained
                raise
            self._reason = str(error)
            state = self._run.load_checkpoint() if self._run is not None else None
            if state is not None:  # steps of an epoch that is not whole are no result
                restore(state, fit, self.model)

    # -- the loop ------------------------------------------------------------------

    def _descend(self, fit: FitState) -> None:
        """Train by gradients."""
        while not self._is_over(fit):
            self._epoch(fit, self._descend_once)

    def _search(self, fit: FitState) -> None:
        """Train by values of the loss: those on record first, then one an epoch."""
        known = iter([epoch.loss for epoch in fit.history])
        weights = self._trained()

        def objective(point: np.ndarray) -> float:
            if (value := next(known, None)) is not None:
                return value
            if self._is_over(fit):
                raise _Ended
            assign(weights, point)
            return self._epoch(fit, self._evaluate).loss

        assert fit.start is not None
        with suppress(_Ended):
            search(self._name, objective, fit.start.numpy(), self._rate, self._seed)

    def _is_over(self, fit: FitState) -> bool:
        waited = fit.done - fit.best.epoch if fit.best else 0
        impatient = self._patience is not None and waited >= self._patience
        return bool(fit.history) and (self.stop or impatient or fit.done >= self.epochs)

    def _descend_once(self, fit: FitState) -> Scores:
        assert fit.optimizer is not None
        return train_pass(self.model, self.loss, fit.optimizer, fit.loader, self._notifier(fit))

    def _evaluate(self, fit: FitState) -> Scores:
        return evaluate(self.model, self.loss, fit.loader, self._notifier(fit))

    def _notifier(self, fit: FitState) -> OnBatch:
        """Return what calls the callbacks after a batch."""

        def on_batch(batch: int, batches: int, loss: float) -> None:
            for callback in self.callbacks:
                callback.on_batch_end(self, fit.done + 1, batch, batches, loss)

        return on_batch

    def _epoch(self, fit: FitState, train: Callable[[FitState], Scores]) -> Epoch:
        """Train for an epoch, record it, and call the callbacks."""
        started, number = perf_counter(), fit.done + 1
        rate = None if fit.optimizer is None else float(fit.optimizer.param_groups[0]["lr"])
        with _drawing(self._seed, number):
            train_scores = train(fit)
            watched = None if fit.validation is None else self.evaluate(fit.validation)
            test = None if fit.test is None else self.evaluate(fit.test)
        epoch = Epoch(
            epoch=number,
            loss=train_scores.loss,
            train_accuracy=train_scores.accuracy,
            accuracy=test.accuracy if test else None,
            seconds=perf_counter() - started,
            learning_rate=rate,
            val_loss=watched.loss if watched else None,
            val_accuracy=watched.accuracy if watched else None,
        )
        self._record(fit, epoch)
        for callback in self.callbacks:
            callback.on_epoch_end(self, epoch)
        return epoch

    def _record(self, fit: FitState, epoch: Epoch) -> None:
        """Take a step of the schedule, remember the best weights, and write a checkpoint."""
        value = epoch.loss if epoch.val_loss is None else epoch.val_loss
        if isinstance(fit.schedule, ReduceLROnPlateau):
            fit.schedule.step(value)
        elif fit.schedule is not None:
            fit.schedule.step()
        # Nothing is lower than NaN: a first epoch that ends in one would stay the best for ever.
        # The weights are copied, since a state dict holds the tensors that the next step changes.
        if fit.best is None or value < fit.best.value or isnan(fit.best.value):
            fit.best = Best(epoch.epoch, value, copy.deepcopy(self.model.state_dict()))
        fit.history.append(epoch)
        fit.seconds = fit.before + perf_counter() - fit.since
        # The record before the checkpoint: a kill between the two leaves a record that no
        # checkpoint knows, which a resumed training drops. Else one would be missing.
        self._metrics.write(epoch.metrics)
        if self._run is not None:
            self._run.save_checkpoint(state_of(fit, self.model))


@contextmanager
def _drawing(seed: int, epoch: int) -> Iterator[None]:
    """Seed torch's global generator for an epoch, and leave it afterwards as it was.

    A loader that shuffles without a generator of its own, and dropout, draw from it. Since its
    seed depends on the epoch alone, a checkpoint needs nothing of it.
    """
    with torch.random.fork_rng(devices=[]):
        (drawn,) = np.random.SeedSequence((seed, epoch)).generate_state(1)
        # Not torch.manual_seed, which also seeds GPUs, whose generators are not put back here.
        torch.default_generator.manual_seed(int(drawn))
        yield
