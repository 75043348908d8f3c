"""Options of a recommendation, and their checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotcut.errors import UserError
from pilotcut.options import seed_fault
from pilotcut.perfmodel.load import KINDS

#: More cuts are looked at unless the user says otherwise.
MAX_CUTS = 5

#: Parameter sets of a batch, and of all batches, unless the user says otherwise.
BATCH, QUERIES = 16, 1000

#: What a recommendation may be for.
OBJECTIVES = ("time", "error")

#: Options that are whole numbers, with the least of each, and the most of all.
_LEAST = {"max_cuts": 0, "max_width": 1, "shots": 1, "queries": 1, "batch": 1}
MOST = 10**15


@dataclass(frozen=True)
class Options:
    """What a recommendation is for.

    Parameters
    ----------
    max_cuts, max_width
        Limits of the search; `max_width` None for any.
    mode
        "counts", "sampled" or "exact".
    shots
        Of each subexperiment; without meaning in exact mode.
    target_error
        Standard error that shots must reach, in place of `shots`; an upper estimate.
    joint_cuts
        Cut parallel gates between two labels as one, as in `pilotcut.compile_plan`; without
        meaning in exact mode.
    queries, batch
        Parameter sets in all, and of one batch.
    seed
        Of the search.
    objective
        "time": the fastest is recommended; "error": the one whose values are predicted to be
        least wrong, by the noise of the pilots' devices and the standard error together.
    """

    max_cuts: int = MAX_CUTS
    max_width: int | None = None
    mode: str = "counts"
    shots: int = 1024
    target_error: float | None = None
    joint_cuts: bool = False
    queries: int = QUERIES
    batch: int = BATCH
    seed: int = 0
    objective: str = "time"

    def check(self) -> None:
        """Raise one `UserError` with every option that makes no sense."""
        faults = [
            f"{name} is {value!r}, expected a whole number from {low} to {MOST}"
            for name, low in _LEAST.items()
            if not (_is_whole(value := getattr(self, name)) and low <= value <= MOST)
            and not (name == "max_width" and value is None)
        ]
        if fault := seed_fault(self.seed):
            faults.append(fault)
        if self.mode not in KINDS:
            faults.append(f"mode is '{self.mode}', expected one of {', '.join(KINDS)}")
        if self.objective not in OBJECTIVES:
            faults.append(
                f"objective is '{self.objective}', expected one of {', '.join(OBJECTIVES)}"
            )
        if self.objective == "error" and self.mode == "exact":
            faults.append(
                "objective is error with mode exact, expected time: values are exact there; leave "
                "it out, or use --mode counts"
            )
        if self.target_error is not None and not _is_error(self.target_error):
            faults.append(f"target_error is {self.target_error!r}, expected a number in (0, 1)")
        if self.target_error is not None and self.mode == "exact":
            faults.append(
                f"target_error is {self.target_error} with mode exact, expected none: values are "
                f"exact there; leave it out, or use --mode counts"
            )
        if faults:
            raise UserError(faults)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_error(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1
