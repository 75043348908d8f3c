"""Numbers that may be larger than any float: variants of many cuts, and what they cost."""

from __future__ import annotations

import math
from decimal import Decimal

#: Smaller whole numbers are written with all their digits.
_LARGE = 10**7

#: Nothing that is counted comes near it.
_MOST = 10**100


def digits(number: float) -> str:
    """Return a number to three digits, however large.

    Examples
    --------
    >>> digits(6**450), digits(12_345.6), digits(10**6000)
    ('1.47e+350', '1.23e+04', '1.00e+6000')
    """
    try:
        return f"{number:.3g}"
    except OverflowError:
        return f"{Decimal(int(number)):.2e}"


def whole(number: int) -> str:
    """Return a whole number, of a large one three digits."""
    return str(number) if number < _LARGE else digits(number)


def short_number(number: int) -> str:
    """Return a whole number, of a large one its power of ten."""
    return str(number) if number < _LARGE else f"about 10^{Decimal(number).adjusted()}"


def in_json(number: float) -> float | None:
    """Return a number if all who read JSON can hold it, None if it is beyond floats."""
    try:
        return number if math.isfinite(number) else None
    except OverflowError:
        return None


def bounded(number: int) -> float:
    """Return a whole number as a float; above 1e100, which nothing comes near, 1e100.

    Products of a few such are still finite, where `float` raises from 1.8e308 on.
    """
    return float(min(number, _MOST))
