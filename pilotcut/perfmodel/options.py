"""Options of a recommendation, and their checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilotcut.errors import UserError
from pilotcut.options import (
    AUTO,
    DOUBLE,
    DTYPES,
    ENGINES,
    WIRES,
    EngineOptions,
    check,
    choice_fault,
    number_fault,
    seed_fault,
    whole_fault,
)
from pilotcut.perfmodel.load import KINDS
from pilotcut.pilots.description.mitigation import mitigation_faults

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
    """Options of a recommendation, checked as they are made.

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
    wires
        How wires are cut, as in `pilotcut.compile_plan`; without meaning in exact mode.
    queries, batch
        Parameter sets in all, and of one batch.
    seed
        Of the search.
    engine, dtype
        How exact mode computes, as in `pilotcut.CutEstimator`; without meaning in others.
    gradients
        Whether derivatives by the circuit's parameters are wanted with each value, or names of
        those by which.
    objective
        "time": the fastest is recommended; "error": the one whose values are predicted to be
        least wrong, by the noise of the pilots' devices and the standard error together.
    mitigation
        What is done about the devices' errors, as in `pilotcut.CutEstimator`.

    Raises
    ------
    UserError
        With a line for every option that makes no sense.
    """

    max_cuts: int = MAX_CUTS
    max_width: int | None = None
    mode: str = "counts"
    shots: int = 1024
    target_error: float | None = None
    joint_cuts: bool = False
    wires: str = AUTO
    queries: int = QUERIES
    batch: int = BATCH
    seed: int = 0
    engine: str = AUTO
    dtype: str = DOUBLE
    gradients: bool | Sequence[str] = False
    objective: str = "time"
    mitigation: str | None = None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Options:
        """Return options by name, as ``CutEstimator(cuts="auto", auto=...)`` has them.

        Raises
        ------
        UserError
            For a name that is none, and options that make no sense.
        """
        known = cls.__dataclass_fields__
        if unknown := sorted(set(asked) - set(known)):
            names = ", ".join([*known, "pilots"])
            raise UserError(f"auto has '{unknown[0]}', expected some of {names}")
        return cls(**asked)

    @property
    def of_engine(self) -> EngineOptions:
        """Engine and dtype together."""
        return EngineOptions(self.engine, self.dtype)

    def __post_init__(self) -> None:
        check(
            *(
                whole_fault(name, value, least, MOST)
                for name, least in _LEAST.items()
                if (value := getattr(self, name)) is not None or name != "max_width"
            ),
            seed_fault(self.seed),
            choice_fault("mode", self.mode, KINDS),
            choice_fault("wires", self.wires, WIRES),
            choice_fault("engine", self.engine, ENGINES),
            choice_fault("dtype", self.dtype, DTYPES),
            choice_fault("objective", self.objective, OBJECTIVES),
            *mitigation_faults(self.mitigation, self.mode),
            *self._gradients_faults(),
            *self._error_faults(),
        )

    def _gradients_faults(self) -> Iterator[str]:
        asked = self.gradients
        listed = isinstance(asked, list | tuple) and all(isinstance(name, str) for name in asked)
        if not listed and not isinstance(asked, bool):
            yield (
                f"gradients is {asked!r}, expected True, False or a list of parameters' names; "
                f"give True for all of them"
            )

    def _error_faults(self) -> Iterator[str]:
        """Yield what is wrong with the options about errors, of which exact mode has none."""
        if self.objective == "error" and self.mode == "exact":
            yield (
                "objective is error with mode exact, expected time: values are exact there; leave "
                "it out, or use --mode counts"
            )
        if self.target_error is None:
            return
        yield number_fault(
            "target_error", self.target_error, lambda error: 0 < error < 1, "a number in (0, 1)"
        )
        if self.mode == "exact":
            yield (
                f"target_error is {self.target_error} with mode exact, expected none: values are "
                f"exact there; leave it out, or use --mode counts"
            )
