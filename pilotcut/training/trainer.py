"""Training a cut classifier: a plain torch loop over a Qiskit Machine Learning network.

The loop is what anybody would write by hand; around it stand the run directory, the
checkpoints and the progress calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN

from pilotcut.estimator import CutEstimator
from pilotcut.gradient import CutGradient
from pilotcut.stored import FOLDER
from pilotcut.tasks import TaskManager
from pilotcut.trace import JsonLines, read_jsonl
from pilotcut.training.config import TrainingConfig
from pilotcut.training.data import Dataset, load_dataset
from pilotcut.training.model import Model, classifier
from pilotcut.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    epoch: int
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class _Learner:
    """What changes from batch to batch: weights, moments, and the order of samples."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    shuffle: torch.Generator


#: Called with (epoch, batch, batches, loss) after every batch.
Progress = Callable[[int, int, int, float], None]


class Trainer:
    """Trains one classifier on one data set.

    Parameters
    ----------
    config
        What to train; checked here.
    run
        The run's files; created or resumed by `train`.
    tasks
        Where circuits run; None for this process. May be given later, by `use`.
    """

    def __init__(
        self, config: TrainingConfig, run: RunDirectory, tasks: TaskManager | None = None
    ) -> None:
        config.check()
        self.config = config
        self.run = run
        self.data: Dataset = load_dataset(
            config.dataset, config.qubits, data_dir=config.data_dir, seed=config.seed
        )
        self.model: Model = classifier(config.qubits)
        placement = run.recommended() if config.cuts == "auto" else None
        automatic = config.cuts == "auto" and placement is None
        self.estimator = CutEstimator(
            tasks,
            cuts=None if placement else config.cuts,
            labels=placement or config.labels,
            auto=self._wanted() if automatic else None,
            mode=config.mode,
            shots=config.shots,
            seed=config.seed,
            reconstruction=config.reconstruction,
            store=run.path / FOLDER if config.store else None,
        )
        # Compiled before anything is written, so that a plan that cannot be made leaves no run.
        self.plan = self.estimator.compile_for(self.model.circuit, self.model.observable).plan

    def _wanted(self) -> dict[str, Any]:
        """Return what a recommendation has to know: where, how much, in what batches."""
        config = self.config
        queries = config.epochs * (len(self.data.x_train) + len(self.data.x_test))
        return {"pilots": config.pilots, "batch": config.batch_size, "queries": queries}

    def use(self, tasks: TaskManager | None) -> None:
        """Run circuits through `tasks` from now on."""
        self.estimator.use(tasks)

    def train(self, *, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
        """Train to the last epoch and return a summary.

        Parameters
        ----------
        resume
            Continue the run in the directory from its last checkpoint.
        progress
            Called after every batch.

        Returns
        -------
        dict
            What the whole run came to, also where it was resumed; of work that was
            lost with an interrupted epoch it knows nothing.
        """
        started = perf_counter()
        config = asdict(self.config)
        state = self.run.resume(config) if resume else None
        if not resume:
            self.run.create(config)
        try:
            if self.estimator.recommendation is not None:
                self.run.save_recommendation(self.estimator.recommendation.to_dict())
            with JsonLines(self.run.trace) as trace, JsonLines(self.run.metrics) as metrics:
                done = state["epoch"] if state else 0
                if resume and done < self.config.epochs:
                    trace.write({"kind": "resume", "epoch": done + 1})
                if done < self.config.epochs:
                    self.estimator.stages.attach(trace)
                return self._fit(state, metrics, progress, started)
        except Exception:
            # Nothing that a resumed run could use: do not stand in the way of the next try.
            if not resume and not self.run.checkpoint.exists():
                self.run.discard()
            raise

    def _fit(
        self,
        state: dict[str, Any] | None,
        metrics: JsonLines,
        progress: Progress | None,
        started: float,
    ) -> dict[str, Any]:
        learner = self._fresh()
        first, seconds, last = 1, 0.0, None
        if state is not None:
            last, seconds = self._restore(state, learner)
            first = last.epoch + 1
        started -= seconds
        for epoch in range(first, self.config.epochs + 1):
            last = self._epoch(epoch, learner, progress)
            metrics.write(asdict(last))
            seconds = perf_counter() - started
            self.run.save_checkpoint(self._state(last, learner, seconds))
        assert last is not None, "a checked configuration has at least one epoch"
        self.run.save_weights(learner.network.state_dict())
        return self._summary(last, seconds)

    def _state(self, last: Epoch, learner: _Learner, seconds: float) -> dict[str, Any]:
        return {
            "epoch": last.epoch,
            "last": asdict(last),
            "network": learner.network.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "shuffle": learner.shuffle.get_state(),
            "stages": self.estimator.stages.state_dict(),
            "seconds": seconds,
        }

    def _restore(self, state: Mapping[str, Any], learner: _Learner) -> tuple[Epoch, float]:
        """Load a checkpoint; return its last epoch and the seconds spent up to there."""
        try:
            learner.network.load_state_dict(state["network"])
            learner.optimizer.load_state_dict(state["optimizer"])
            learner.shuffle.set_state(state["shuffle"])
            self.estimator.stages.load_state_dict(state["stages"])
            return Epoch(**state["last"]), float(state["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise self.run.damaged_checkpoint(f"{reason:.100}") from error

    def _fresh(self) -> _Learner:
        """Return an untrained network, its optimizer, and the order of samples, by seed."""
        weights = np.random.default_rng(self.config.seed).uniform(
            -np.pi / 2, np.pi / 2, len(self.model.weights)
        )
        qnn = EstimatorQNN(
            circuit=self.model.circuit,
            estimator=self.estimator,
            observables=self.model.observable,
            input_params=self.model.inputs,
            weight_params=self.model.weights,
            gradient=CutGradient(self.estimator),
            default_precision=None,  # type: ignore[arg-type]  # else it would override shots
        )
        network = TorchConnector(qnn, initial_weights=weights)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.config.learning_rate)
        return _Learner(network, optimizer, torch.Generator().manual_seed(self.config.seed))

    def _epoch(self, epoch: int, learner: _Learner, progress: Progress | None) -> Epoch:
        network, optimizer = learner.network, learner.optimizer
        started = perf_counter()
        x = torch.tensor(self.data.x_train, dtype=torch.float32)
        y = torch.tensor(self.data.y_train, dtype=torch.float32)
        batches = torch.randperm(len(x), generator=learner.shuffle).split(self.config.batch_size)
        total, right = 0.0, 0
        for number, rows in enumerate(batches, start=1):
            optimizer.zero_grad()
            output = network(x[rows]).reshape(-1)
            loss = torch.nn.functional.mse_loss(output, y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(rows)
            right += int((output.detach() * y[rows] > 0).sum())
            if progress is not None:
                progress(epoch, number, len(batches), float(loss.detach()))
        return Epoch(
            epoch=epoch,
            loss=total / len(x),
            train_accuracy=right / len(x),
            accuracy=self._test_accuracy(network),
            seconds=perf_counter() - started,
        )

    def _test_accuracy(self, network: torch.nn.Module) -> float:
        x = torch.tensor(self.data.x_test, dtype=torch.float32)
        with torch.no_grad():
            output = network(x).reshape(-1).numpy()
        return float(np.mean(output * self.data.y_test > 0))

    def _summary(self, last: Epoch, seconds: float) -> dict[str, Any]:
        return {
            "dataset": self.config.dataset,
            "qubits": self.config.qubits,
            "cuts": self.plan.num_cuts,
            "fragments": len(self.plan.fragments),
            "mode": self.config.mode,
            "shots": self.estimator.shots,  # none in the exact mode
            "accuracy": last.accuracy,
            "loss": last.loss,
            "seconds": seconds,
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


def default_run_directory(dataset: str, now: str) -> Path:
    """Return runs/DATASET-TIME, with a number behind it where that is taken."""
    base = Path("runs") / f"{dataset}-{now}"
    candidate, number = base, 2
    while candidate.exists():
        candidate = base.with_name(f"{base.name}-{number}")
        number += 1
    return candidate
