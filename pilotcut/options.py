"""Checks of options, and the one style of the line that says what is wrong with one.

A line is ``NAME is FOUND, expected WHAT; next step``. A ``*_fault`` returns it, and '' where
nothing is wrong, so that all faults of a call can be raised at once by `check`. Here stand also the
names and limits that estimators, distributions, trainings and recommendations share.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType
from typing import Any

from pilotcut.errors import CutError, UserError

MODES = ("counts", "sampled", "exact")

ALLOCATIONS = ("uniform", "weighted", "optimal")

#: Where a batch is contracted: chosen for each, in this process, on the ranks of an MPI pilot.
RECONSTRUCTIONS = ("auto", "local", "mpi")

#: The value of options that leave a choice to what is cheapest.
AUTO = "auto"

#: How wires are cut where there are shots, see `pilotcut.compile_plan`.
WIRES = (AUTO, "communication", "randomised", "separate")
_, COMMUNICATION, RANDOMISED, SEPARATE = WIRES

#: Exact ways: the cheapest found, the states of a fragment's branches, or its tensor network.
ENGINES = (AUTO, "statevector", "network")
_, STATEVECTOR, NETWORK = ENGINES

#: Types of the exact mode's amplitudes: double precision, and single at half the bytes.
DTYPES = ("complex128", "complex64")
DOUBLE, SINGLE = DTYPES

#: Options of a recommendation that follow from the estimator's.
OWN_OPTIONS = ("mode", "shots", "max_width", "joint_cuts", "wires")

#: Shots of one subexperiment that a target precision may ask for.
MOST_SHOTS = 10**8

#: How much more than on the best device a fragment's predicted error may be, by default.
ERROR_TOLERANCE = 0.02

#: Predicted seconds of one call that are taken without being asked for.
MAX_SECONDS = 3600.0

#: Terms that may be drawn for a parameter set.
MOST_SAMPLES = 10**6


@dataclass(frozen=True)
class EngineOptions:
    """How the exact mode computes; each process has one engine for each.

    Parameters
    ----------
    way
        One of `ENGINES`.
    dtype
        One of `DTYPES`.
    """

    way: str = AUTO
    dtype: str = DOUBLE


#: What is computed as nobody asked otherwise.
USUAL_ENGINE = EngineOptions()


def counted(number: int | str, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one; a text is taken as it is.

    Examples
    --------
    >>> counted(1, "cut"), counted(2_000, "shot"), counted("10^9", "variant")
    ('1 cut', '2,000 shots', '10^9 variants')
    """
    shown = number if isinstance(number, str) else f"{number:,}"
    return f"{shown} {noun}{'' if shown == '1' else 's'}"


# -- faults ------------------------------------------------------------------------------


def check(*faults: str) -> None:
    """Raise a UserError with all faults that are not ''.

    Examples
    --------
    >>> check(whole_fault("cuts", 0, 0), choice_fault("mode", "exact", MODES))
    >>> check(whole_fault("shots", 0, 1, advice="1024 is a usual choice"))
    Traceback (most recent call last):
    pilotcut.errors.UserError: shots is 0, expected a whole number from 1 up; 1024 is a usual choice
    """
    if found := [fault for fault in faults if fault]:
        raise UserError(found)


def whole_fault(
    name: str, value: object, least: int, most: int | None = None, advice: str = ""
) -> str:
    """Return the line about what is no whole number in a range, '' if it is one.

    Parameters
    ----------
    name, value
        Of the option. Numbers of numpy are whole numbers too; truth values are none.
    least, most
        Ends of the range, which belong to it; open above where `most` is None.
    advice
        The next step, if there is one to tell.

    Examples
    --------
    >>> whole_fault("rows", 2.0, 1, 10**6)
    'rows is 2.0, expected a whole number from 1 to 1,000,000'
    """
    if _is_a(Integral, value) and least <= value and (most is None or value <= most):  # type: ignore[operator]
        return ""
    upper = "up" if most is None else f"to {most:,}"
    return _line(name, value, f"a whole number from {least} {upper}", advice)


def number_fault(
    name: str, value: object, fits: Callable[[Any], bool], expected: str, advice: str = ""
) -> str:
    """Return the line about what is no number, or one that does not fit; '' if it does.

    Examples
    --------
    >>> number_fault("delay_s", -1.0, lambda s: s >= 0, "seconds from 0 up", "leave it out")
    'delay_s is -1.0, expected seconds from 0 up; leave it out'
    """
    if _is_a(Real, value) and fits(value):
        return ""
    return _line(name, value, expected, advice)


def choice_fault(name: str, value: object, known: Iterable[str], advice: str = "") -> str:
    """Return the line about what is none of the known names, '' if it is one.

    Without `advice` it asks whether the most similar name was meant, or proposes the first.

    Examples
    --------
    >>> choice_fault("mode", "exakt", MODES)
    "mode is 'exakt', expected one of counts, sampled, exact; did you mean 'exact'?"
    """
    known = tuple(known)
    if value in known:
        return ""
    hint = f"; {advice}" if advice else did_you_mean(value, known) or f"; try '{known[0]}'"
    return f"{name} is '{value}', expected one of {', '.join(known)}{hint}"


def kind_fault(
    name: str, value: object, kinds: type | tuple[type, ...], expected: str, advice: str = ""
) -> str:
    """Return the line about what is of none of some types, '' if it is of one."""
    if isinstance(value, kinds):
        return ""
    shown = f"{value!r:.60} ({type(value).__name__})"
    return f"{name} is {shown}, expected {expected}{f'; {advice}' if advice else ''}"


def directory_fault(name: str, value: object) -> str:
    """Return the line about what is no path and not None, '' if it is one."""
    return kind_fault(name, value, (str, os.PathLike, NoneType), "the path of a directory")


def seed_fault(seed: object, most: int | None = None) -> str:
    """Return the line about what is no seed, up to `most` where there is a most; '' if it is one.

    Examples
    --------
    >>> seed_fault(-1)
    'seed is -1, expected a whole number from 0 up; 0 is a usual choice'
    """
    return whole_fault("seed", seed, 0, most, "0 is a usual choice")


def _line(name: str, value: object, expected: str, advice: str) -> str:
    return f"{name} is {value!r}, expected {expected}{f'; {advice}' if advice else ''}"


def _is_a(kind: type, value: object) -> bool:
    """Return whether a value is a number of some kind, Python's or numpy's, and no truth value."""
    if type(value) is int:  # abstract classes take a microsecond to answer, and tasks ask often
        return True
    return isinstance(value, kind) and not isinstance(value, bool)


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


# -- options that several have -----------------------------------------------------------


def check_one_cut(*ways: object) -> None:
    """Raise CutError if circuits are to be cut in more than one way."""
    if sum(way is not None for way in ways) > 1:
        raise CutError("cuts, labels, max_width and plan are given together, expected at most one")


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


def dtype_fault(dtype: object, mode: str) -> str:
    """Return the line about a `dtype` that is none, or that a mode has no use for; '' if it fits.

    Examples
    --------
    >>> dtype_fault("complex64", "exact"), dtype_fault("float16", "exact")[:40]
    ('', "dtype is 'float16', expected one of comp")
    """
    if (fault := choice_fault("dtype", dtype, DTYPES)) or dtype == DOUBLE or mode == "exact":
        return fault
    return (
        f"dtype is '{dtype}' with mode='{mode}', expected '{DOUBLE}': only the exact mode computes "
        f"in single precision; leave dtype out, or use mode='exact'"
    )


def checked_mode(mode: str) -> str:
    """Return `mode` if there is such a one."""
    check(choice_fault("mode", mode, MODES))
    return mode


def tolerance_fault(tolerance: object) -> str:
    """Return the line about an `error_tolerance` that is none, '' if it is one."""
    advice = f"{ERROR_TOLERANCE} is usual"
    return number_fault(
        "error_tolerance", tolerance, lambda x: 0 <= x <= 1, "a number from 0 to 1", advice
    )


def checked_tolerance(tolerance: float) -> float:
    """Return `error_tolerance` if it is a number from 0 to 1."""
    check(tolerance_fault(tolerance))
    return float(tolerance)


def checked_seconds(max_seconds: float) -> float:
    """Return `max_seconds` if it is a number above 0, perhaps infinite."""
    advice = f"{MAX_SECONDS:g} is the default, inf no limit"
    check(number_fault("max_seconds", max_seconds, lambda x: x > 0, "seconds above 0", advice))
    return float(max_seconds)


def checked_shots(shots: int) -> int:
    """Return `shots` if it is a whole number from 1 to `MOST_SHOTS`."""
    check(whole_fault("shots", shots, 1, MOST_SHOTS, "1024 is a usual choice"))
    return int(shots)


def checked_samples(number: int | None, *, exact: bool, allocation: str) -> int | None:
    """Return `num_samples` if it is None or a number of terms that can be drawn."""
    if number is None:
        return None
    advice = "None runs all variants, 1000 is a usual choice"
    check(whole_fault("num_samples", number, 2, MOST_SAMPLES, advice))
    if exact or allocation != "uniform":
        option = "mode='exact'" if exact else f"shot_allocation='{allocation}'"
        raise UserError(
            f"num_samples is {number} with {option}, expected None: terms are drawn in the "
            f"modes with shots, the same for each subexperiment; leave one of the two out"
        )
    return int(number)


def check_beside_samples(
    num_samples: int | None, store: object, *, automatic: bool, wires: str, mitigated: bool = False
) -> None:
    """Raise UserError for options that make no sense beside `num_samples`."""
    if num_samples is None:
        return
    found, expected = "", ""
    if store is not None:
        found, expected = f"store is '{store}'", "None: samples of terms are not kept"
    elif automatic:
        found, expected = "cuts is 'auto'", "None: what is predicted is all variants"
    elif wires in (COMMUNICATION, RANDOMISED):
        found = f"wires is '{wires}'"
        expected = "None: terms are drawn of wires that are cut one by one"
    elif mitigated:
        found = "mitigation is given"
        expected = "None: each sample of terms would have other circuits calibrated"
    if found:
        raise UserError(
            f"{found} with num_samples={num_samples}, expected {expected}; leave one of the two out"
        )


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise UserError unless a value is of one of some types."""
    check(kind_fault(name, value, kinds, expected))


def check_number(name: str, value: object, least: int, most: int | None) -> None:
    """Raise UserError unless a value is a whole number in a range, open above if `most` is None."""
    check(whole_fault(name, value, least, most))


def check_seed(seed: object, most: int | None = None) -> None:
    """Raise UserError unless a value can be a seed."""
    check(seed_fault(seed, most))
