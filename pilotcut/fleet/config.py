"""Configuration of a training on a fleet: settings, defaults, checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilotcut.errors import UserError
from pilotcut.fleet import engines
from pilotcut.fleet.models import MODELS, QUBITS
from pilotcut.fleet.strategies import COMBINE, STRATEGIES
from pilotcut.options import MOST_SHOTS
from pilotcut.training import checks
from pilotcut.training.feature_file import FEATURES


@dataclass(frozen=True)
class _Dataset:
    """A data set by name, or a file of features."""

    def fault(self, name: str, value: object) -> str:
        if str(value).endswith(FEATURES):
            return ""
        if fault := checks.Choice(tuple(QUBITS)).fault(name, value):
            return f"{fault}, or a file *{FEATURES} of features and labels"
        return ""


#: What may be done about calibrations that move.
UPKEEP = ("retune", "continue", "ignore")


@dataclass(frozen=True)
class FleetConfig:
    """Settings of a training on a fleet.

    Parameters
    ----------
    dataset, model
        What is learnt by which model of the paper; the data set decides the number of qubits.
    fleet
        The pilot description.
    strategy
        Whose gradients move whose weights.
    epochs
        How often every device goes through the training samples.
    batch_size
        Samples of a gradient.
    shots
        Of every circuit; 0 for none, exact.
    seed
        Decides data, weights, batches and shots.
    dealt
        Deal the training samples evenly to the devices, so that the fleet goes through them once
        an epoch, as EQC counts epochs (arXiv:2111.14940); otherwise every device does.
    learning_rate, threshold, combine, local_steps
        See `pilotcut.fleet.strategies.Settings`.
    qubits
        Of the model, and features of a sample; 0 for the paper's, which for files is 10.
    layers
        How often the model's ansatz is repeated.
    max_samples
        At most so many samples of the data set, training and test.
    drift
        How far devices in numbers move with each calibration, see `pilotcut.fleet.drift.Drift`.
    calibrate_every
        Epochs between two calibrations: of a drift, and of devices that run circuits themselves,
        which are asked anew; 0 for none.
    upkeep
        What is done about a calibration: ``"retune"`` sees what devices have become, and in
        service trains those that have moved again, from the model of the device that is nearest
        where that is better; ``"continue"`` always from their own; ``"ignore"`` does nothing.
    service
        Epochs after the training, in which devices move on and only upkeep trains.
    retune_batches
        Gradients that a device may take in an epoch of service.
    kappa
        κ of the similarity exp(−κ·dist).
    engine
        ``"law"``, ``"damped"`` or ``"counts"``, see `pilotcut.fleet.device_jobs.Job`.
    """

    dataset: str
    fleet: str
    strategy: str = "arbiterq"
    model: str = "crx"
    epochs: int = 30
    batch_size: int = 16
    shots: int = 1024
    learning_rate: float = 0.5
    # The paper gives kappa, and no value of the threshold: with 0.01 the ten devices of its table
    # III form two groups on 2 qubits and four on 4.
    kappa: float = 20000.0
    threshold: float = 0.01
    combine: str = "mean"
    local_steps: int = 5
    # In settings and on the command line the engine that draws is still called so.
    engine: str = "law"
    dealt: bool = False
    qubits: int = 0
    layers: int = 1
    max_samples: int = 1000
    drift: float = 0.0
    calibrate_every: int = 0
    upkeep: str = "retune"
    service: int = 0
    retune_batches: int = 5
    seed: int = 7

    def __post_init__(self) -> None:
        """Put the paper's number of qubits where none is given."""
        if self.qubits == 0:
            object.__setattr__(self, "qubits", QUBITS.get(self.dataset, 10))

    @property
    def last(self) -> int:
        """The number of the last epoch."""
        return self.epochs + self.service

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FleetConfig:
        """Return the settings that are given, with defaults for those that are None.

        Raises
        ------
        UserError
            With one line for every fault.
        """
        config = cls(**{name: value for name, value in given.items() if value is not None})
        faults = checks.faults_of(vars(config), _CHECKS)
        if config.engine == "counts" and config.shots == 0:
            faults.append(
                "shots is 0 with engine counts, expected 1 or more; engine law has exact values"
            )
        if config.drift and not config.calibrate_every:
            faults.append(
                f"calibrate_every is 0 with drift {config.drift}, expected epochs between two "
                f"calibrations; try 5"
            )
        if faults:
            raise UserError(faults)
        return config


_CHECKS: dict[str, checks.Check] = {
    "dataset": _Dataset(),
    "model": checks.Choice(MODELS),
    "strategy": checks.Choice(tuple(STRATEGIES)),
    "engine": checks.Choice(engines.NAMES),
    "combine": checks.Choice(COMBINE),
    "epochs": checks.Whole(1, 10**6, "30 is the default"),
    "batch_size": checks.Whole(1, 10**6, "16 is the default"),
    "shots": checks.Whole(0, MOST_SHOTS, "1024 is the default"),
    "local_steps": checks.Whole(1, 10**6, "5 is the default"),
    "qubits": checks.Whole(2, 64, "leave it out for the paper's"),
    "layers": checks.Whole(1, 1000, "1 is the default"),
    "drift": checks.Number(0.0, 10.0, "a number from 0 to 10; try 0.3"),
    "calibrate_every": checks.Whole(0, 10**6, "try 5, or 0 for never"),
    "upkeep": checks.Choice(UPKEEP),
    "service": checks.Whole(0, 10**6, "0 is the default"),
    "retune_batches": checks.Whole(1, 10**6, "5 is the default"),
    "max_samples": checks.Whole(10, 10**6, "1000 is the default"),
    "seed": checks.Whole(0, checks.MOST_SEED, "7 is the default"),
    "learning_rate": checks.Number(checks.ABOVE_ZERO, 1e6, "a number above 0, up to 1e6; try 0.5"),
    "kappa": checks.Number(0.0, checks.FINITE, "a number from 0 up; the paper has 20000"),
    "threshold": checks.Number(0.0, 1.0, "a similarity from 0 to 1; try 0.01"),
    "dealt": checks.Kind(bool, "true or false"),
    "fleet": checks.Kind(str, "the path of a pilot description"),
}
