"""What options may be, those of an estimator first of all, and what is said of others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from pilotcut.errors import CutError, UserError

MODES = ("counts", "sampled", "exact")

ALLOCATIONS = ("uniform", "optimal")

#: Where a batch is contracted: chosen for each, in this process, on the ranks of an MPI pilot.
RECONSTRUCTIONS = ("auto", "local", "mpi")

#: Options of a recommendation that follow from the estimator's.
OWN_OPTIONS = ("mode", "shots", "max_width", "joint_cuts")

#: Shots of one subexperiment that a target precision may ask for.
MOST_SHOTS = 10**8

#: How much more than on the best device a fragment's predicted error may be, by default.
ERROR_TOLERANCE = 0.02

#: Terms that may be drawn for a parameter set.
MOST_SAMPLES = 10**6


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return `; did you mean '...'?` if one of the known names is like `value`, otherwise ''.

    Examples
    --------
    >>> did_you_mean("Exakt", ["counts", "sampled", "exact"])
    "; did you mean 'exact'?"
    """
    close = closest(value, known)
    return f"; did you mean '{close}'?" if close else ""


def closest(value: object, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `value`, None where none is like it."""
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(value).lower(), list(lower), n=1)
    return lower[close[0]] if close else None


def choice_fault(name: str, value: str, known: tuple[str, ...]) -> str:
    """Return the line that says which names there are."""
    advice = did_you_mean(value, known) or f"; try '{known[0]}'"
    return f"{name} is '{value}', expected one of {', '.join(known)}{advice}"


def checked_auto(cuts: int | str | None, auto: Mapping[str, Any] | None) -> bool:
    """Return whether cuts are to be chosen here."""
    if isinstance(cuts, bool) or (isinstance(cuts, str) and cuts != "auto"):
        raise CutError(f"cuts is {cuts!r}, expected a whole number from 0, or 'auto'")
    if auto is not None and cuts != "auto":
        raise CutError(
            f"auto is given and cuts is {cuts}, expected cuts 'auto' beside it; leave one out"
        )
    if own := [name for name in OWN_OPTIONS if name in (auto or {})]:
        raise CutError(
            f"auto has {own[0]!r}, expected it beside auto: CutEstimator has a {own[0]} of its own"
        )
    return cuts == "auto"


def checked_mode(mode: str) -> str:
    """Return `mode` if there is such a one."""
    if mode not in MODES:
        raise UserError(f"mode is '{mode}', expected one of {', '.join(MODES)}")
    return mode


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise UserError unless a value is of one of some types."""
    if not isinstance(value, kinds):
        raise UserError(f"{name} is {value!r:.60} ({type(value).__name__}), expected {expected}")


def checked_tolerance(tolerance: float) -> float:
    """Return `error_tolerance` if it is a number from 0 to 1."""
    if not _is_a(Real, tolerance) or not 0 <= tolerance <= 1:
        raise UserError(
            f"error_tolerance is {tolerance!r}, expected a number from 0 to 1; "
            f"{ERROR_TOLERANCE} is usual"
        )
    return float(tolerance)


def checked_shots(shots: int) -> int:
    """Return `shots` if it is a whole number from 1 to `MOST_SHOTS`."""
    if not _is_a(Integral, shots) or not 1 <= shots <= MOST_SHOTS:
        raise UserError(
            f"shots is {shots!r}, expected a whole number from 1 to {MOST_SHOTS}; 1024 is a "
            f"usual choice"
        )
    return int(shots)


def checked_samples(number: int | None, *, exact: bool, optimal: bool) -> int | None:
    """Return `num_samples` if it is None or a number of terms that can be drawn."""
    if number is None:
        return None
    if not _is_a(Integral, number) or not 2 <= number <= MOST_SAMPLES:
        raise UserError(
            f"num_samples is {number!r}, expected a whole number from 2 to {MOST_SAMPLES}, or "
            f"None to run all variants; 1000 is a usual choice"
        )
    if exact or optimal:
        option = "mode='exact'" if exact else "shot_allocation='optimal'"
        raise UserError(
            f"num_samples is {number} with {option}, expected None: terms are drawn in the "
            f"modes with shots, the same for each subexperiment; leave one of the two out"
        )
    return int(number)


def check_number(name: str, value: object, least: int, most: int | None) -> None:
    """Raise UserError unless a value is a whole number in a range, open above if `most` is None."""
    fits = _is_a(Integral, value) and least <= value  # type: ignore[operator]
    if not fits or (most is not None and value > most):  # type: ignore[operator]
        upper = "" if most is None else f" to {most}"
        raise UserError(f"{name} is {value!r}, expected a whole number from {least}{upper}")


def seed_fault(seed: object, most: int | None = None) -> str:
    """Return the line about a seed that is none, up to `most` where there is a most; '' if it is.

    Examples
    --------
    >>> seed_fault(-1)
    'seed is -1, expected a whole number from 0 up; 0 is a usual choice'
    """
    if _is_a(Integral, seed) and seed >= 0 and (most is None or seed <= most):  # type: ignore[operator]
        return ""
    upper = "up" if most is None else f"to {most}"
    return f"seed is {seed!r}, expected a whole number from 0 {upper}; 0 is a usual choice"


def check_seed(seed: object, most: int | None = None) -> None:
    """Raise UserError unless a value can be a seed."""
    if fault := seed_fault(seed, most):
        raise UserError(fault)


def _is_a(kind: type, value: object) -> bool:
    """Return whether a value is a number of some kind, Python's or numpy's, and no truth value."""
    return isinstance(value, kind) and not isinstance(value, bool)
