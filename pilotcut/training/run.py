"""Training run as `pilotcut train` makes it: configuration, data, network, a trainer.

Owns how a configuration becomes a network, and the run directory beyond the trainer's own files:
settings, the trace, where the circuit is cut. The loop is the trainer's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from torch.utils.data import DataLoader, TensorDataset

from pilotcut.errors import LongCallWarning, PilotError, TaskError, UserError
from pilotcut.execution.devices import fleet_of
from pilotcut.execution.query_store import FOLDER
from pilotcut.execution.usage import stepping
from pilotcut.io.jsonl import JsonLines, read_jsonl
from pilotcut.pilots.registry import lent
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.gradient import CutGradient
from pilotcut.tasks import TaskManager
from pilotcut.training.callbacks import Callback, TensorBoard, Training
from pilotcut.training.config import GRADIENT_FREE, TrainingConfig
from pilotcut.training.data import Dataset, load_dataset
from pilotcut.training.history import History
from pilotcut.training.loaders import Shuffled, one_batch, tensors
from pilotcut.training.losses import Loss, find_loss, scaled
from pilotcut.training.model import Model, classifier
from pilotcut.training.outlook import Steps, outlook
from pilotcut.training.run_directory import RunDirectory
from pilotcut.training.trainer import Trainer

#: Called with (epoch, batch, batches, loss) after every batch.
Progress = Callable[[int, int, int, float], None]


#: Errors of where a run is, after which it may go on: a full disk, workers that died.
_OF_THE_PLACE = (UserError, TaskError, PilotError, OSError)


class TrainingRun:
    """Trains one classifier on one data set.

    Parameters
    ----------
    config
        What to train; checked here.
    run
        The run's directory; created or resumed by `train`.
    tasks
        Where circuits run; None for this process. May be given later, by `use`.

    Attributes
    ----------
    data, model, estimator, plan
        What the configuration comes to.
    """

    def __init__(
        self,
        config: TrainingConfig,
        run: RunDirectory | str | Path,
        tasks: TaskManager | None = None,
    ) -> None:
        config.check()
        self.config = config
        self.run = run if isinstance(run, RunDirectory) else RunDirectory(Path(run))
        self.data: Dataset = _data(config)
        self.model: Model = classifier(config.qubits, reps=config.reps, classes=config.classes)
        # Made now, so that a missing package is told before anything is compiled.
        self._tensorboard = [TensorBoard(self.run.tensorboard)] if config.tensorboard else []
        placement = self.run.recommended() if config.cuts == "auto" else None
        automatic = config.cuts == "auto" and placement is None
        self.estimator = CutEstimator(
            tasks,
            cuts=None if placement else config.cuts,
            labels=placement or config.labels,
            auto=self._wanted() if automatic else None,
            joint_cuts=config.joint_cuts,
            wires=config.wires,
            engine=config.engine,
            dtype=config.dtype,
            mode=config.mode,
            shots=config.shots,
            seed=config.seed,
            error_tolerance=config.error_tolerance,
            mitigation=config.mitigation,
            reconstruction=config.reconstruction,
            max_seconds=config.max_seconds,
            max_usage=config.max_usage,
            store=self.run.path / FOLDER if config.store else None,
        )
        # Compiled before anything is written, so that a plan that cannot be made leaves no run.
        self.plan = self.estimator.compile_for(
            self.model.circuit, self.model.observables
        ).named_plan

    def _wanted(self) -> dict[str, Any]:
        """Return what a recommendation has to know: where, how much, in what batches."""
        config, data = self.config, self.data
        samples = len(data.x_train) + len(data.x_val) + len(data.x_test)
        queries = config.epochs * samples
        running = lent(config.pilots) if config.pilots is not None else None
        pilots = config.pilots if running is None else running
        asked = {"pilots": pilots, "batch": config.batch_size, "queries": queries}
        if config.optimizer in GRADIENT_FREE:
            return asked
        return asked | {"gradients": [weight.name for weight in self.model.weights]}

    def use(self, tasks: TaskManager | None) -> None:
        """Run circuits through `tasks` from now on."""
        self.estimator.use(tasks)

    @property
    def loss(self) -> Loss:
        """The loss of the network's outputs; for cross entropies they are scaled to logits."""
        name = self.config.chosen_loss
        loss = find_loss(name)
        return scaled(loss) if name in ("bce", "cross_entropy") else loss

    def network(self, *, input_gradients: bool = False) -> TorchConnector:
        """Return an untrained network by seed, expectations (samples, observables) of inputs.

        Parameters
        ----------
        input_gradients
            Whether a backward pass reaches the inputs.
        """
        weights = np.random.default_rng(self.config.seed).uniform(
            -np.pi / 2, np.pi / 2, len(self.model.weights)
        )
        qnn = EstimatorQNN(
            circuit=self.model.circuit,
            estimator=self.estimator,
            observables=self.model.observables,
            input_params=self.model.inputs,
            weight_params=self.model.weights,
            gradient=CutGradient(self.estimator),
            input_gradients=input_gradients,
            default_precision=None,  # type: ignore[arg-type]  # else it would override shots
        )
        return TorchConnector(qnn, initial_weights=weights)

    def train(
        self,
        *,
        resume: bool = False,
        progress: Progress | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> dict[str, Any]:
        """Train to the last epoch and return a summary.

        Parameters
        ----------
        resume
            Continue the run in the directory from its last checkpoint.
        progress
            Called after every batch.
        callbacks
            See `Trainer`.

        Returns
        -------
        dict
            What the whole run came to, also where it was resumed; of work that was
            lost with an interrupted epoch it knows nothing. Loss and accuracies are those of the
            epoch whose weights are kept.
        """
        self._say_how_long()
        config = asdict(self.config)
        state = self.run.resume(config) if resume else None
        if not resume:
            self.run.create(config)
        try:
            if self.estimator.recommendation is not None:
                self.run.save_recommendation(self.estimator.recommendation.to_dict())
            with JsonLines(self.run.trace) as trace:
                done = state["epoch"] if state else 0
                if resume and done < self.config.epochs:
                    trace.write({"kind": "resume", "epoch": done + 1})
                if done < self.config.epochs:
                    self.estimator.stages.attach(trace)
                watching = [_Progress(progress)] if progress else []
                return self._summary(self._fit([*self._tensorboard, *watching, *callbacks], resume))
        except Exception as error:
            # Nothing was trained: do not stand in the way of the next try, resumed or not.
            if not resume and not self.run.checkpoint.exists():
                self.run.discard(resumable=isinstance(error, _OF_THE_PLACE))
            raise

    def _say_how_long(self) -> None:
        """Say how long all epochs will take, where that is a minute or more."""
        config, data = self.config, self.data
        tasks = self.estimator.runner.executor.tasks
        if fleet_of(tasks, config.mode).devices:
            return  # they take the time that they take
        steps = Steps(
            epochs=config.epochs,
            batch_size=config.batch_size,
            trained=len(data.x_train),
            watched=len(data.x_val) + len(data.x_test),
            gradient=config.optimizer.lower() not in GRADIENT_FREE,
        )
        weights = sorted(self._trained_slots())
        workers = self.estimator.runner.executor.workers
        text = outlook(self.plan, config.mode, config.shots, steps, weights, workers)
        if text:
            warnings.warn(text, LongCallWarning, stacklevel=3)

    def _trained_slots(self) -> frozenset[int]:
        return self.plan.binding.slots_moved_by([weight.name for weight in self.model.weights])

    def _stepping(self, network: TorchConnector) -> TorchConnector:
        """Have a network's steps counted as a whole against what devices may be used."""
        slots = self._trained_slots()
        entered = ExitStack()

        def before(module: torch.nn.Module, _: object) -> None:
            if module.training and torch.is_grad_enabled():
                entered.enter_context(stepping(slots, again=True))

        network.register_forward_pre_hook(before)
        network.register_forward_hook(lambda *_: entered.close(), always_call=True)
        return network

    def _fit(self, callbacks: Sequence[Callback], resume: bool) -> History:
        config, data = self.config, self.data
        gradient = config.optimizer.lower() not in GRADIENT_FREE
        counted = config.max_usage is not None and gradient
        trainer = Trainer(
            self._stepping(self.network()) if counted else self.network(),
            optimizer=config.optimizer,
            learning_rate=config.learning_rate,
            loss=self.loss,
            schedule=config.schedule,
            patience=config.patience,
            callbacks=callbacks,
            seed=config.seed,
            directory=self.run.path,
        )
        x, y = tensors(data.x_train, data.y_train)
        loader = DataLoader(
            TensorDataset(x, y),
            batch_size=config.batch_size,
            sampler=Shuffled(len(x), config.seed),
        )
        return trainer.fit(
            loader,
            one_batch(data.x_val, data.y_val) if len(data.x_val) else None,
            epochs=config.epochs,
            test=one_batch(data.x_test, data.y_test),
            resume=resume,
        )

    def _summary(self, history: History) -> dict[str, Any]:
        kept = history.kept
        return {
            "dataset": self.config.dataset,
            "classes": self.config.classes,
            "qubits": self.config.qubits,
            "reps": self.config.reps,
            "cuts": self.plan.num_cuts,
            "fragments": len(self.plan.fragments),
            "mode": self.config.mode,
            "shots": self.estimator.shots,  # none in the exact mode
            "optimizer": self.config.optimizer.lower(),
            "epochs": history.epochs[-1].epoch,
            "best_epoch": kept.epoch,
            "stopped_early": history.stopped_early,
            "reason": history.reason,
            "accuracy": kept.accuracy,
            "loss": kept.loss,
            "train_accuracy": kept.train_accuracy,
            "val_accuracy": kept.val_accuracy,
            "val_loss": kept.val_loss,
            "seconds": history.seconds,
            "stage_seconds": dict(self.estimator.stages.seconds),
            "queries": self.estimator.stages.queries,
            "subexperiments": self.estimator.stages.subexperiments,
            "predicted": self._predicted(),
            "run_dir": str(self.run.path),
        }

    def _predicted(self) -> dict[str, Any] | None:
        """Return the seconds of batches beside what was predicted of them, None if nothing was."""
        records = read_jsonl(self.run.trace) if self.config.cuts == "auto" else []
        pairs = [(r["predicted_s"], r["wall_s"]) for r in records if "predicted_s" in r]
        if not pairs:
            return None
        predicted, measured = (sum(some) for some in zip(*pairs, strict=True))
        return {"batches": len(pairs), "predicted_s": predicted, "measured_s": measured}


def _data(config: TrainingConfig) -> Dataset:
    limit: dict[str, Any] = {} if config.samples is None else {"max_samples": config.samples}
    return load_dataset(
        config.dataset,
        config.qubits,
        classes=config.classes,
        data_dir=config.data_dir,
        seed=config.seed,
        validation=config.validation,
        **limit,
    )


class _Progress(Callback):
    """Callback that calls a function after every batch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_batch_end(
        self, trainer: Training, epoch: int, batch: int, batches: int, loss: float
    ) -> None:
        """Call it."""
        self._progress(epoch, batch, batches, loss)
