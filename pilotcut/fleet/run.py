"""Run directory of a training on a fleet, from its settings to trained weights, with its files.

config.yaml      what was asked
fleet.jsonl      one record an epoch: loss of every device, who was there, what happened
events.jsonl     what pilots and tasks did
checkpoint.npz   what a resumed run goes on from
weights.npz      the weights of every device, with behavioural vectors, once it is done
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import yaml

from pilotcut.errors import RunDirectoryError, UserError
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.drift import Drift
from pilotcut.fleet.epochs import FleetEpoch
from pilotcut.fleet.fleet import OnPilots, facts_of, jobs_of, load_fleet
from pilotcut.fleet.strategies import Settings, strategy
from pilotcut.fleet.submission import one_line
from pilotcut.fleet.trainer import FleetTrainer
from pilotcut.io.atomic import write_atomically
from pilotcut.io.jsonl import JsonLines, read_jsonl
from pilotcut.io.yaml_reader import load_yaml
from pilotcut.options import counted
from pilotcut.training.data import Dataset, load_dataset
from pilotcut.training.trainer_directory import fault_of_start, make_directory

CHECKPOINT, RECORDS = "checkpoint.npz", "fleet.jsonl"

#: Settings that may differ when a run is resumed.
FREE_ON_RESUME = frozenset({"epochs", "fleet", "service"})

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
        max_samples=config.max_samples,
    )


def trainer_of(
    config: FleetConfig, jobs: Sequence[Job], data: Dataset, on: OnPilots | None = None
) -> FleetTrainer:
    """Return the trainer of a configuration; its work is done here without pilots."""
    weights = len(jobs[0].prepared.model.weights)
    start = np.random.default_rng(config.seed).uniform(0.0, 2.0 * np.pi, weights)
    settings = Settings(config.learning_rate, config.threshold, config.combine, config.local_steps)
    chosen = strategy(config.strategy, start, facts_of(jobs, config.kappa), settings)
    if on is None:
        return FleetTrainer(jobs, chosen, data, config)
    return FleetTrainer(jobs, chosen, data, config, on.submit, on.present)


class FleetRun:
    """A training in a directory.

    Parameters
    ----------
    path
        The directory.

    Examples
    --------
    >>> import tempfile
    >>> config = FleetConfig("iris", "qpu_fleet", epochs=1, batch_size=80)
    >>> run = FleetRun(Path(tempfile.mkdtemp()) / "run")
    >>> run.train(config)["epochs"]
    1
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.records = path / RECORDS
        self.checkpoint = path / CHECKPOINT
        self.weights_file = path / "weights.npz"

    def check_new(self) -> None:
        """Raise RunDirectoryError if something is there already."""
        if fault := fault_of_start(self.path, self.config_file):
            raise self._fault(fault)

    def resumed(self, given: Mapping[str, Any]) -> FleetConfig:
        """Return the settings of the run that is here, with those that may differ as given.

        Raises
        ------
        UserError
            If there is no run, or others are given that differ.
        """
        config = self.config()
        for name, value in given.items():
            if value is not None and name not in FREE_ON_RESUME and getattr(config, name) != value:
                raise RunDirectoryError(
                    f"{name} is {value} and the run in '{self.path}' has {getattr(config, name)}, "
                    f"expected the same when it is resumed; leave it out"
                )
        return FleetConfig.of(asdict(config) | {k: v for k, v in given.items() if v is not None})

    def config(self) -> FleetConfig:
        """Return the settings of the run that is here.

        Raises
        ------
        RunDirectoryError
            If there is none.
        """
        try:
            return FleetConfig.of(load_yaml(self.config_file.read_text(encoding="utf-8")))
        except (OSError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise self._fault(
                f"holds no training on a fleet ({one_line(error)}), expected the --run-dir of "
                f"pilotcut fleet train; give that"
            ) from None

    def train(
        self,
        config: FleetConfig,
        on: OnPilots | None = None,
        tell: Callable[[FleetEpoch], None] | None = None,
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

        Raises
        ------
        UserError
            If the directory cannot be used, or no device is left.
        """
        # Before the directory: what is wrong with the fleet or the data leaves nothing behind.
        jobs = jobs_of(
            load_fleet(config.fleet),
            config.model,
            config.qubits,
            config.engine,
            layers=config.layers,
        )
        trainer = trainer_of(config, jobs, dataset_of(config), on)
        make_directory(self.path)
        records = self._restore(trainer, config) if resume else []
        write_atomically(self.config_file, yaml.safe_dump(asdict(config)).encode())
        write_atomically(self.records, "".join(f"{json.dumps(r)}\n" for r in records).encode())
        with JsonLines(self.records) as kept:
            for epoch in trainer.run():
                # The record before its checkpoint: resuming drops those that no checkpoint knows.
                records.append(epoch.record([job.device for job in jobs]))
                kept.write(records[-1])
                write_atomically(self.checkpoint, _archive(trainer.state()))
                if tell is not None:
                    tell(epoch)
        self._write_weights(trainer, jobs)
        return summary_of(config, records[-1]) | {"run_dir": str(self.path)}

    def _restore(self, trainer: FleetTrainer, config: FleetConfig) -> list[dict[str, Any]]:
        """Have a trainer go on from the checkpoint; return the records of its epochs."""
        if not self.checkpoint.exists():
            return []
        try:
            # Arrays and no pickle: a damaged or foreign file is refused, and runs nothing.
            with np.load(self.checkpoint, allow_pickle=False) as kept:
                # All arrays now: an archive reads each when it is asked for, and is closed behind
                # this.
                state = dict(kept)
            known = {record["epoch"]: record for record in read_jsonl(self.records)}
            records = [known[epoch] for epoch in range(int(state["done"]) + 1)]
            trainer.restore(state)
        except UserError:
            raise
        except Exception as error:  # whatever bytes that are no archive may raise
            raise self._fault(
                f"cannot be resumed: {CHECKPOINT} or {RECORDS} is damaged ({one_line(error)}), "
                f"expected what pilotcut wrote; start again with another --run-dir"
            ) from None
        if config.last < trainer.done:
            given = "epochs and service are" if config.service else "epochs is"
            raise self._fault(
                f"has {counted(trainer.done, 'epoch')}, and {given} {config.last}, expected "
                f"{trainer.done} or more; leave it out"
            )
        return records

    def _write_weights(self, trainer: FleetTrainer, jobs: Sequence[Job]) -> None:
        arrays = {
            "devices": np.array([job.device for job in jobs]),
            "weights": np.stack([trainer.strategy.weights_of(k) for k in range(len(jobs))]),
            "vectors": np.stack([job.prepared.vector for job in trainer.jobs]),
        }
        write_atomically(self.weights_file, _archive(arrays))

    def weights(self, jobs: Sequence[Job]) -> np.ndarray:
        """Return the trained weights of each device, (devices, weights).

        Raises
        ------
        RunDirectoryError
            If the training has not ended, or had other devices, or the file is damaged.
        """
        try:
            with np.load(self.weights_file, allow_pickle=False) as kept:
                known = dict(zip(kept["devices"].tolist(), kept["weights"], strict=True))
            _check_weights(known, len(jobs[0].prepared.model.weights))
        except FileNotFoundError:
            raise self._fault(
                "has no weights yet, expected a finished training; continue it with pilotcut fleet "
                "train --resume"
            ) from None
        except (OSError, EOFError, KeyError, ValueError, zlib.error, BadZipFile) as error:
            raise self._fault(
                f"has damaged weights ({one_line(error)}), expected those that pilotcut wrote; "
                f"write them again with pilotcut fleet train --resume"
            ) from None
        missing = [job.device for job in jobs if job.device not in known]
        if missing:
            raise self._fault(
                f"has no weights of device {', '.join(missing)}, expected the fleet that it was "
                f"trained on: {', '.join(known)}"
            )
        return np.stack([known[job.device] for job in jobs])

    def jobs_at_end(self, jobs: Sequence[Job], config: FleetConfig) -> list[Job]:
        """Return the work of devices that were trained here, as they were calibrated at its end."""
        with np.load(self.weights_file, allow_pickle=False) as kept:
            order = kept["devices"].tolist()
        drift = Drift(config.drift, config.calibrate_every, config.seed)
        return [drift.job(job, order.index(job.device), config.last) for job in jobs]

    def _fault(self, text: str) -> RunDirectoryError:
        return RunDirectoryError(f"run directory '{self.path}' {text}")


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def _check_weights(known: Mapping[str, np.ndarray], weights: int) -> None:
    for device, own in known.items():
        if own.shape != (weights,) or not np.isfinite(own).all():
            raise ValueError(f"those of device {device} are not {weights} numbers")


def summary_of(config: FleetConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is worth printing of a training, from the record of its last epoch."""
    about = {name: getattr(config, name) for name in ("dataset", "model", "strategy")}
    kept = ("loss", "accuracy", "train_loss", "losses", "modelled_s", "circuits", "online")
    return about | {"epochs": record["epoch"]} | {name: record[name] for name in kept}
