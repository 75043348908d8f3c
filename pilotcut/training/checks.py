"""Tables of checks of a configuration: what each setting may be.

A configuration is a frozen dataclass; beside it stands a table of checks by setting. All faults
are reported at once, each as a line of `pilotcut.options`. Settings come from a command line, which
has parsed their types, and from YAML that somebody may have edited, so that types are checked too.
Light to import, since a command line shows defaults in its help.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pilotcut.errors import UserError
from pilotcut.options import choice_fault, kind_fault, number_fault, whole_fault

#: Bounds for "above 0", "below 1" and "finite" as a least and a greatest number.
ABOVE_ZERO = math.ulp(0.0)
BELOW_ONE = math.nextafter(1.0, 0.0)
FINITE = sys.float_info.max

#: Most that a seed may be: scikit-learn, which splits the data, takes 32 bits.
MOST_SEED = 2**32 - 1


class Check(Protocol):
    """Check of a setting."""

    def fault(self, name: str, value: object) -> str:
        """Return the line about a value that is wrong, '' if it is right."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number in a range, open above if `most` is None.

    Parameters
    ----------
    least, most
        The range, ends included.
    advice
        What to try instead.
    """

    least: int
    most: int | None
    advice: str

    def fault(self, name: str, value: object) -> str:
        """Return the line about what is no such number; a bool is none."""
        return whole_fault(name, value, self.least, self.most, self.advice)


@dataclass(frozen=True)
class Number:
    """A number in a range, which NaN is never in.

    Parameters
    ----------
    least, most
        The range, ends included.
    expected
        The range in words, and what to try instead.
    """

    least: float
    most: float
    expected: str

    def fault(self, name: str, value: object) -> str:
        """Return the line about what is no such number."""
        return number_fault(name, value, lambda x: self.least <= x <= self.most, self.expected)


@dataclass(frozen=True)
class Choice:
    """One of some names, in any case of letters if `any_case`."""

    names: tuple[str, ...]
    any_case: bool = False

    def fault(self, name: str, value: object) -> str:
        """Return the line about another name, which says what may have been meant."""
        return choice_fault(name, str(value).lower() if self.any_case else value, self.names)


@dataclass(frozen=True)
class Kind:
    """A value of one type.

    Parameters
    ----------
    kind
        The type.
    expected
        What that is, in words.
    """

    kind: type
    expected: str

    def fault(self, name: str, value: object) -> str:
        """Return the line about a value of another type."""
        return kind_fault(name, value, self.kind, self.expected)


def require(name: str, value: object, check: Check) -> None:
    """Raise `UserError` unless a value is right."""
    if fault := check.fault(name, value):
        raise UserError(fault)


def faults_of(values: Mapping[str, object], checks: Mapping[str, Check]) -> list[str]:
    """Return a line for each value that is wrong; None stands for one that was left out."""
    found = (
        check.fault(name, values[name])
        for name, check in checks.items()
        if values[name] is not None
    )
    return [fault for fault in found if fault]
