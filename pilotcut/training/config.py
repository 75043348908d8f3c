"""What a training run was asked to do.

Light to import: the command line shows the defaults in its help without loading torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pilotcut.errors import UserError

#: Least and greatest value of each number, and what a user may try instead.
_RANGES: dict[str, tuple[int, int | None, str]] = {
    "qubits": (1, None, "4 suits iris"),
    "shots": (1, 10**8, "1024 is a usual choice"),
    "epochs": (1, None, "10 is a usual choice"),
    "batch_size": (1, None, "16 is a usual choice"),
    "seed": (0, 2**32 - 1, "0 is the default"),
}


@dataclass(frozen=True)
class TrainingConfig:
    """What `pilotcut train` was asked to do; its defaults stand here and nowhere else."""

    dataset: str
    qubits: int = 4
    cuts: int | str | None = None
    labels: str | None = None
    mode: str = "counts"
    shots: int = 1024
    epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 0.1
    seed: int = 0
    data_dir: str | None = None
    pilots: str | None = None
    reconstruction: str = "auto"
    store: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration with these settings; a None stands for the default."""
        return cls(**{name: value for name, value in settings.items() if value is not None})

    def check(self) -> None:
        """Raise one `UserError` with every setting that makes no sense."""
        faults = [fault for name in _RANGES if (fault := self._range_fault(name))]
        if not 0 < self.learning_rate < float("inf"):
            faults.append(
                f"learning_rate is {self.learning_rate}, expected a number above 0; "
                f"{default_of('learning_rate')} is a usual choice"
            )
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
        faults += self._choice_faults()
        if faults:
            raise UserError(faults)

    def _range_fault(self, name: str) -> str | None:
        value = getattr(self, name)
        least, most, advice = _RANGES[name]
        if value >= least and (most is None or value <= most):
            return None
        limit = f"from {least}" if most is None else f"from {least} to {most}"
        return f"{name} is {value}, expected a whole number {limit}; {advice}"

    def _choice_faults(self) -> list[str]:
        from pilotcut.estimator import MODES
        from pilotcut.reconstructing import RECONSTRUCTIONS

        faults = []
        for name, known in {"mode": MODES, "reconstruction": RECONSTRUCTIONS}.items():
            value = getattr(self, name)
            if value not in known:
                close = difflib.get_close_matches(value, known, n=1)
                advice = f"did you mean '{close[0]}'?" if close else f"try '{default_of(name)}'"
                faults.append(f"{name} is '{value}', expected one of {', '.join(known)}; {advice}")
        return faults


def default_of(name: str) -> Any:
    """Return the default of a setting."""
    return next(field.default for field in fields(TrainingConfig) if field.name == name)
