"""One training on a fleet, from its settings to trained weights, with its files.

config.yaml      what was asked
fleet.jsonl      one record an epoch: loss of every device, who was there, what happened
events.jsonl     what pilots and tasks did
checkpoint.pkl   what a resumed run goes on from
weights.npz      the weights of every device, with behavioural vectors, once it is done
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pilotcut.errors import RunDirectoryError
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.fleet import OnPilots, facts_of, jobs_of, load_fleet
from pilotcut.fleet.sharing import Settings, strategy
from pilotcut.fleet.trainer import Epoch, FleetTrainer, Plan
from pilotcut.fleet.work import Job
from pilotcut.trace import JsonLines, mend
from pilotcut.training.data import Dataset, load_dataset

#: Settings that may differ when a run is resumed.
FREE_ON_RESUME = frozenset({"epochs", "fleet"})

#: Features are rotation angles: [0, π] turns |0> into |1>.
FEATURE_MAX = float(np.pi)


def dataset_of(config: FleetConfig) -> Dataset:
    """Return the samples, 80 % for training."""
    return load_dataset(
        config.dataset,
        config.qubits,
        seed=config.seed,
        test_fraction=0.2,
        feature_max=FEATURE_MAX,
    )


def trainer_of(
    config: FleetConfig, jobs: Sequence[Job], data: Dataset, on: OnPilots | None = None
) -> FleetTrainer:
    """Return the trainer of a configuration; its work is done here without pilots."""
    weights = len(jobs[0].prepared.model.weights)
    start = np.random.default_rng(config.seed).uniform(0.0, 2.0 * np.pi, weights)
    settings = Settings(config.learning_rate, config.threshold, config.combine, config.local_steps)
    chosen = strategy(config.strategy, start, facts_of(jobs, config.kappa), settings)
    plan = Plan(config.epochs, config.batch_size, config.shots, config.seed, config.dealt)
    if on is None:
        return FleetTrainer(jobs, chosen, data, plan)
    return FleetTrainer(jobs, chosen, data, plan, on.submit, on.present)


class FleetRun:
    """A training in a directory.

    Parameters
    ----------
    path
        The directory.

    Examples
    --------
    >>> import tempfile
    >>> config = FleetConfig("iris", "pilot_descriptions/qpu_fleet.yaml", epochs=1, batch_size=80)
    >>> run = FleetRun(Path(tempfile.mkdtemp()) / "run")
    >>> run.train(config)["epochs"]
    1
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.records = path / "fleet.jsonl"
        self.checkpoint = path / "checkpoint.pkl"
        self.weights_file = path / "weights.npz"

    def check_new(self) -> None:
        """Raise RunDirectoryError if something is there already."""
        if self.config_file.exists():
            raise RunDirectoryError(
                f"run directory '{self.path}' already holds a run, expected a new or empty one; "
                f"add --resume to continue it, or give another --run-dir"
            )
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(
                f"run directory '{self.path}' is a file, expected a new or empty directory; give "
                f"another --run-dir"
            )

    def resumed(self, given: Mapping[str, Any]) -> FleetConfig:
        """Return the settings of the run that is here, with those that may differ as given."""
        config = self.config()
        for name, value in given.items():
            if value is not None and name not in FREE_ON_RESUME and getattr(config, name) != value:
                raise RunDirectoryError(
                    f"{name} is {value} and the run in '{self.path}' has {getattr(config, name)}, "
                    f"expected the same when it is resumed; leave it out"
                )
        free = {k: v for k, v in given.items() if v is not None and k in FREE_ON_RESUME}
        return replace(config, **free)

    def config(self) -> FleetConfig:
        """Return the settings of the run that is here.

        Raises
        ------
        RunDirectoryError
            If there is none.
        """
        try:
            return FleetConfig.of(yaml.safe_load(self.config_file.read_text(encoding="utf-8")))
        except (OSError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise RunDirectoryError(
                f"run directory '{self.path}' holds no training on a fleet ({error}), expected the "
                f"--run-dir of pilotcut fleet train"
            ) from None

    def train(
        self,
        config: FleetConfig,
        on: OnPilots | None = None,
        tell: Callable[[Epoch], None] | None = None,
        *,
        resume: bool = False,
    ) -> dict[str, Any]:
        """Train, and return the summary.

        Parameters
        ----------
        config
            What to train.
        on
            Where; None for this process.
        tell
            Called after every epoch.
        resume
            Go on after the last epoch that was finished here.
        """
        jobs = jobs_of(load_fleet(config.fleet), config.model, config.qubits, config.engine)
        trainer = trainer_of(config, jobs, dataset_of(config), on)
        if resume and self.checkpoint.exists():
            trainer.restore(pickle.loads(self.checkpoint.read_bytes()))
        self.path.mkdir(parents=True, exist_ok=True)
        self._write(self.config_file, yaml.safe_dump(config.record()).encode())
        mend(self.records)
        epoch = None
        with JsonLines(self.records, append=resume) as records:
            for epoch in trainer.run():
                self._write(self.checkpoint, pickle.dumps(trainer.state()))
                records.write(_record(epoch, jobs))
                if tell is not None:
                    tell(epoch)
        self._write_weights(trainer, jobs)
        return summary_of(config, epoch, jobs) | {"run_dir": str(self.path)}

    def _write_weights(self, trainer: FleetTrainer, jobs: Sequence[Job]) -> None:
        draft = self.weights_file.with_name("weights.tmp.npz")
        np.savez(
            draft,
            devices=[job.device for job in jobs],
            weights=[trainer.strategy.weights_of(k) for k in range(len(jobs))],
            vectors=[job.prepared.vector for job in jobs],
        )
        draft.replace(self.weights_file)

    def _write(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(path)

    def weights(self, jobs: Sequence[Job]) -> np.ndarray:
        """Return the trained weights of each device, (devices, weights).

        Raises
        ------
        RunDirectoryError
            If the training has not ended, or had other devices.
        """
        if not self.weights_file.exists():
            raise RunDirectoryError(
                f"run directory '{self.path}' has no weights yet, expected a finished training; "
                f"continue it with pilotcut fleet train --resume"
            )
        with np.load(self.weights_file) as kept:
            known = dict(zip(kept["devices"].tolist(), kept["weights"], strict=True))
        missing = [job.device for job in jobs if job.device not in known]
        if missing:
            raise RunDirectoryError(
                f"run directory '{self.path}' has no weights of device {', '.join(missing)}, "
                f"expected the fleet that it was trained on: {', '.join(known)}"
            )
        return np.stack([known[job.device] for job in jobs])


def _record(epoch: Epoch, jobs: Sequence[Job]) -> dict[str, Any]:
    names = [job.device for job in jobs]
    return {
        "epoch": epoch.number,
        "loss": float(np.nanmean(epoch.losses)),
        "accuracy": float(np.nanmean(epoch.accuracies)),
        "train_loss": float(np.nanmean(epoch.train_losses)),
        "losses": dict(zip(names, map(_number, epoch.losses), strict=True)),
        "accuracies": dict(zip(names, map(_number, epoch.accuracies), strict=True)),
        "modelled_s": epoch.modelled_s,
        "circuits": epoch.circuits,
        "online": list(epoch.online),
        "events": [vars(event) for event in epoch.events],
    }


def _number(value: float) -> float | None:
    """Return a number that JSON has; NaN is None."""
    return float(value) if np.isfinite(value) else None


def summary_of(config: FleetConfig, epoch: Epoch | None, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return what is worth printing of a training that has ended."""
    about = {name: getattr(config, name) for name in ("dataset", "model", "strategy", "epochs")}
    if epoch is None:  # nothing was left to train
        return about
    record = _record(epoch, jobs)
    kept = ("loss", "accuracy", "train_loss", "losses", "modelled_s", "circuits", "online")
    return about | {name: record[name] for name in kept}
