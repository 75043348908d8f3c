"""Configuration of a training run: settings, defaults, checks.

Light to import: the command line shows the defaults in its help without loading torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilotcut.errors import UserError
from pilotcut.options import (
    AUTO,
    DOUBLE,
    DTYPES,
    ENGINES,
    ERROR_TOLERANCE,
    MAX_SECONDS,
    MODES,
    MOST_SHOTS,
    RECONSTRUCTIONS,
    WIRES,
    counted,
    dtype_fault,
)
from pilotcut.pilots.description.mitigation import mitigation_faults
from pilotcut.training import checks

#: Optimisers by name, and the learning rate of each unless another is asked for.
LEARNING_RATES: dict[str, float] = {
    "adam": 0.1,
    "sgd": 0.1,
    "lbfgs": 1.0,
    "cobyla": 1.0,
    "spsa": 1.0,
}

#: Optimisers that see values of the loss and no gradient.
GRADIENT_FREE = frozenset({"cobyla", "spsa"})

#: Losses by name.
LOSSES = ("mse", "hinge", "bce", "cross_entropy")

#: Learning-rate schedules by name.
SCHEDULES = ("constant", "cosine", "step", "exponential", "plateau")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of `pilotcut train`; its defaults stand here and nowhere else.

    Attributes
    ----------
    classes
        Two are told apart by the sign of one expectation; more have one observable each.
    reps
        Of the ansatz.
    joint_cuts, wires
        How gates and wires are cut where there are shots, see `pilotcut.CutEstimator`.
    engine, dtype
        How the exact mode computes, see `pilotcut.CutEstimator`.
    samples
        Upper limit of samples before they are split; None is that of `load_dataset`.
    validation
        Share of the training samples that is held out to watch.
    learning_rate
        None is the optimiser's own (`LEARNING_RATES`).
    loss
        "auto" is "mse" for two classes and "cross_entropy" for more.
    error_tolerance, mitigation
        On pilots with a ``backend.qpu``, see `pilotcut.CutEstimator`.
    max_seconds
        Of one call of the estimator, see `pilotcut.CutEstimator`.
    patience
        End after this many epochs without a lower validation loss, with the best weights.
    """

    dataset: str
    qubits: int = 4
    classes: int = 2
    reps: int = 1
    cuts: int | str | None = None
    labels: str | None = None
    joint_cuts: bool = False
    wires: str = AUTO
    engine: str = AUTO
    dtype: str = DOUBLE
    mode: str = "counts"
    shots: int = 1024
    epochs: int = 10
    batch_size: int = 16
    samples: int | None = None
    validation: float = 0.0
    optimizer: str = "adam"
    learning_rate: float | None = None
    loss: str = "auto"
    schedule: str = "constant"
    patience: int | None = None
    seed: int = 0
    data_dir: str | None = None
    pilots: str | None = None
    error_tolerance: float = ERROR_TOLERANCE
    mitigation: str | None = None
    reconstruction: str = "auto"
    max_seconds: float = MAX_SECONDS
    max_usage: float | None = None
    store: bool = False
    tensorboard: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration with these settings; a None stands for the default."""
        return cls(**{name: value for name, value in settings.items() if value is not None})

    def check(self) -> None:
        """Raise one `UserError` with every setting that makes no sense."""
        if faults := [*checks.faults_of(vars(self), _CHECKS), *self._combination_faults()]:
            raise UserError(faults)

    @property
    def chosen_loss(self) -> str:
        """The loss by its name, also where it was left to us."""
        if self.loss != "auto":
            return self.loss
        return "mse" if self.classes == 2 else "cross_entropy"

    def _combination_faults(self) -> list[str]:
        """Return what is wrong with settings that are right one by one."""
        faults = []
        if isinstance(self.cuts, str) and self.cuts != "auto":
            faults.append(
                f"cuts is '{self.cuts}', expected a whole number from 0, or 'auto'; leave it out "
                f"to run uncut"
            )
        if self.cuts is not None and self.labels is not None:
            faults.append(
                f"cuts is {self.cuts} and labels is '{self.labels}', expected one of the two; "
                f"leave out cuts to cut as the labels say"
            )
        if 2 < self.classes <= 10 and 1 <= self.qubits < self.classes:
            faults.append(
                f"classes is {self.classes} on {counted(self.qubits, 'qubit')}, expected a qubit "
                "for each "
                f"class; give at least {counted(self.classes, 'qubit')}"
            )
        if self.loss in LOSSES and (self.classes > 2) != (self.loss == "cross_entropy"):
            fitting = "cross_entropy" if self.classes > 2 else "mse, hinge or bce"
            faults.append(
                f"loss is '{self.loss}' for {self.classes} classes, expected {fitting}; leave it "
                f"out for the usual one"
            )
        if self.dtype in DTYPES and (fault := dtype_fault(self.dtype, self.mode)):
            faults.append(fault)
        faults += mitigation_faults(self.mitigation, self.mode)
        if self.patience is not None and self.validation == 0:
            faults.append(
                f"patience is {self.patience} and validation is 0, expected samples to watch; "
                f"give validation 0.2"
            )
        if self.schedule in SCHEDULES and (fault := schedule_fault(self.optimizer, self.schedule)):
            faults.append(fault)
        return faults


#: What a learning rate may be.
LEARNING_RATE = checks.Number(
    checks.ABOVE_ZERO,
    checks.FINITE,
    f"a number above 0; {LEARNING_RATES['adam']} is a usual choice",
)

#: What epochs, a batch and a patience may be.
EPOCHS = checks.Whole(1, None, "10 is a usual choice")
BATCH_SIZE = checks.Whole(1, None, "16 is a usual choice")
PATIENCE = checks.Whole(1, None, "leave it out to train all epochs")

_CHECKS: dict[str, checks.Check] = {
    "qubits": checks.Whole(1, None, "4 suits iris"),
    "classes": checks.Whole(2, 10, "2 is the default"),
    "reps": checks.Whole(1, None, "1 is the default"),
    "shots": checks.Whole(1, MOST_SHOTS, "1024 is a usual choice"),
    "epochs": EPOCHS,
    "batch_size": BATCH_SIZE,
    "patience": PATIENCE,
    "samples": checks.Whole(10, None, "leave it out to keep up to 1000"),
    "seed": checks.Whole(0, checks.MOST_SEED, "0 is the default"),
    "mode": checks.Choice(MODES),
    "wires": checks.Choice(WIRES),
    "engine": checks.Choice(ENGINES),
    "dtype": checks.Choice(DTYPES),
    "reconstruction": checks.Choice(RECONSTRUCTIONS),
    "loss": checks.Choice(("auto", *LOSSES)),
    "schedule": checks.Choice(SCHEDULES),
    "optimizer": checks.Choice(tuple(LEARNING_RATES), any_case=True),
    "error_tolerance": checks.Number(0.0, 1.0, f"a number from 0 to 1; {ERROR_TOLERANCE} is usual"),
    "max_seconds": checks.Number(
        checks.ABOVE_ZERO, math.inf, f"seconds above 0; {MAX_SECONDS:g} is usual, inf no limit"
    ),
    "max_usage": checks.Number(checks.ABOVE_ZERO, checks.FINITE, "seconds above 0"),
    "learning_rate": LEARNING_RATE,
    "validation": checks.Number(
        0.0,
        checks.BELOW_ONE,
        "a share of the training samples from 0 and below 1; 0.2 is a usual choice",
    ),
}


def schedule_fault(optimizer: str, schedule: str) -> str:
    """Return the line on a schedule for an optimiser that has no learning rate to change."""
    if optimizer.lower() not in GRADIENT_FREE or schedule == "constant":
        return ""
    return (
        f"schedule is '{schedule}' with optimizer '{optimizer}', expected 'constant': it has no "
        f"learning rate to change; leave schedule out or take adam, sgd or lbfgs"
    )


def settled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings so that two that ask the same are the same."""
    optimizer = str(settings["optimizer"]).lower()
    rate = settings["learning_rate"]
    if rate is None:
        rate = LEARNING_RATES.get(optimizer)
    return dict(settings) | {"optimizer": optimizer, "learning_rate": rate}
