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

from pilotcut.errors import UserError
from pilotcut.estimator import CutEstimator, checked_shots
from pilotcut.gradient import CutGradient
from pilotcut.tasks import TaskManager
from pilotcut.trace import STAGES, JsonLines
from pilotcut.training.data import Dataset, load_dataset
from pilotcut.training.model import Model, classifier
from pilotcut.training.run_directory import RunDirectory


@dataclass(frozen=True)
class TrainingConfig:
    """What `pilotcut train` was asked to do; its defaults stand here and nowhere else."""

    dataset: str
    qubits: int = 4
    cuts: int | None = None
    labels: str | None = None
    mode: str = "counts"
    shots: int = 1024
    epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 0.1
    seed: int = 0
    data_dir: str | None = None
    pilots: str | None = None

    def check(self) -> None:
        """Raise one `UserError` with every setting that makes no sense."""
        faults = [
            f"{name} is {getattr(self, name)}, expected a whole number from {least}"
            for name, least in (("epochs", 1), ("batch_size", 1), ("qubits", 1), ("seed", 0))
            if getattr(self, name) < least
        ]
        if not 0 < self.learning_rate < float("inf"):
            faults.append(f"learning_rate is {self.learning_rate}, expected a number above 0")
        if self.cuts is not None and self.labels is not None:
            faults.append(
                f"cuts is {self.cuts} and labels is '{self.labels}', expected one of the two"
            )
        try:
            checked_shots(self.shots)
        except UserError as error:
            faults.extend(error.faults)
        if faults:
            raise UserError(faults)


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    epoch: int
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float


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
        self.estimator = CutEstimator(
            tasks,
            cuts=config.cuts,
            labels=config.labels,
            mode=config.mode,
            shots=config.shots,
            seed=config.seed,
        )
        # Compiled before anything is written, so that a plan that cannot be made leaves no run.
        self.plan = self.estimator.compile_for(self.model.circuit, self.model.observable).plan

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
        """
        started = perf_counter()
        config = asdict(self.config)
        state = self.run.resume(config) if resume else None
        if not resume:
            self.run.create(config)
        with JsonLines(self.run.trace) as trace, JsonLines(self.run.metrics) as metrics:
            self.estimator.attach(trace)
            last = self._fit(state, trace, metrics, progress)
        return self._summary(last, perf_counter() - started)

    def _fit(
        self,
        state: Mapping[str, Any] | None,
        trace: JsonLines,
        metrics: JsonLines,
        progress: Progress | None,
    ) -> Epoch:
        network, optimizer, shuffle = self._fresh()
        first, last = 1, None
        if state is not None:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            shuffle.set_state(state["shuffle"])
            self.estimator.load_state_dict(state["estimator"])
            first, last = state["epoch"] + 1, Epoch(**state["last"])
            trace.write({"kind": "resume", "epoch": first})
        for epoch in range(first, self.config.epochs + 1):
            last = self._epoch(epoch, network, optimizer, shuffle, progress)
            metrics.write(asdict(last))
            self.run.save_checkpoint(
                {
                    "epoch": epoch,
                    "last": asdict(last),
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "shuffle": shuffle.get_state(),
                    "estimator": self.estimator.state_dict(),
                }
            )
        assert last is not None, "a checked configuration has at least one epoch"
        self.run.save_weights(network.state_dict())
        return last

    def _fresh(self) -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.Generator]:
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
        return network, optimizer, torch.Generator().manual_seed(self.config.seed)

    def _epoch(
        self,
        epoch: int,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        shuffle: torch.Generator,
        progress: Progress | None,
    ) -> Epoch:
        started = perf_counter()
        x = torch.tensor(self.data.x_train, dtype=torch.float32)
        y = torch.tensor(self.data.y_train, dtype=torch.float32)
        batches = torch.randperm(len(x), generator=shuffle).split(self.config.batch_size)
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
            "shots": self.config.shots,
            "accuracy": last.accuracy,
            "loss": last.loss,
            "seconds": seconds,
            "stage_seconds": {stage: self.estimator.stage_seconds[stage] for stage in STAGES},
            "queries": self.estimator.queries,
            "subexperiments": self.estimator.subexperiments,
            "run_dir": str(self.run.path),
        }


def default_run_directory(dataset: str, now: str) -> Path:
    """Return runs/DATASET-TIME, with a number behind it where that is taken."""
    base = Path("runs") / f"{dataset}-{now}"
    candidate, number = base, 2
    while candidate.exists():
        candidate = base.with_name(f"{base.name}-{number}")
        number += 1
    return candidate
