"""What a training on a fleet is asked for: every setting, its default, and its faults."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pilotcut.errors import UserError
from pilotcut.fleet import engines
from pilotcut.fleet.models import MODELS, QUBITS
from pilotcut.fleet.strategies import COMBINE, STRATEGIES
from pilotcut.options import choice_fault


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
    epochs, batch_size, shots, seed, dealt
        See `pilotcut.fleet.trainer.Plan`.
    learning_rate, threshold, combine, local_steps
        See `pilotcut.fleet.strategies.Settings`.
    kappa
        κ of the similarity exp(−κ·dist).
    engine
        ``"law"`` or ``"counts"``, see `pilotcut.fleet.device_jobs.Job`.
    """

    dataset: str
    fleet: str
    strategy: str = "arbiterq"
    model: str = "crx"
    epochs: int = 30
    batch_size: int = 16
    shots: int = 1024
    learning_rate: float = 0.5
    kappa: float = 20000.0
    threshold: float = 0.01
    combine: str = "mean"
    local_steps: int = 5
    engine: str = "law"
    dealt: bool = False
    seed: int = 7

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FleetConfig:
        """Return the settings that are given, with defaults for those that are None.

        Raises
        ------
        UserError
            With one line for every fault.
        """
        config = cls(**{name: value for name, value in given.items() if value is not None})
        if faults := list(config._faults()):
            raise UserError(faults)
        return config

    def _faults(self) -> Iterator[str]:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                yield choice_fault(field, str(getattr(self, field)), tuple(choices))
        for field, (least, most) in _WHOLE.items():
            value = getattr(self, field)
            if type(value) is not int or not least <= value <= most:
                yield f"{field} is {value}, expected a whole number from {least} to {most:,}"
        for field, (low, high, expected) in _NUMBERS.items():
            value = getattr(self, field)
            if type(value) not in (int, float) or not low <= value <= high:
                yield f"{field} is {value}, expected {expected}"
        for field, (kind, expected) in _KINDS.items():
            if type(getattr(self, field)) is not kind:
                yield f"{field} is {getattr(self, field)}, expected {expected}"
        if self.engine == "counts" and self.shots == 0:
            yield "shots is 0 with engine counts, expected 1 or more; engine law has exact values"

    @property
    def qubits(self) -> int:
        """Qubits of the model."""
        return QUBITS[self.dataset]

    def record(self) -> dict[str, Any]:
        """Return all settings by name."""
        return asdict(self)


_CHOICES = {
    "dataset": tuple(QUBITS),
    "model": MODELS,
    "strategy": tuple(STRATEGIES),
    "engine": engines.NAMES,
    "combine": COMBINE,
}
_WHOLE = {
    "epochs": (1, 10**6),
    "batch_size": (1, 10**6),
    "shots": (0, 10**8),
    "local_steps": (1, 10**6),
    "seed": (0, 2**32 - 1),
}
_KINDS = {"dealt": (bool, "true or false"), "fleet": (str, "the path of a pilot description")}
_NUMBERS = {
    "learning_rate": (sys.float_info.min, 1e6, "a number above 0, up to 1e6; try 0.5"),
    "kappa": (0.0, sys.float_info.max, "a number from 0 up; the paper has 20000"),
    "threshold": (0.0, 1.0, "a similarity from 0 to 1; try 0.01"),
}
