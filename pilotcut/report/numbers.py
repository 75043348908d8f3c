"""Numbers out of files that may hold anything."""

from __future__ import annotations

import math
from collections.abc import Mapping


def number(value: object) -> float:
    """Return a finite number as it is, and NaN for anything else."""
    if type(value) is float:  # nearly all are, and there are millions
        return value if math.isfinite(value) else math.nan
    # True is a whole number to Python, and none in a file.
    if isinstance(value, bool) or not isinstance(value, int):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def number_in(record: Mapping[str, object], name: str) -> float:
    """Return a number of a record, NaN if it holds none of that name."""
    return number(record.get(name))


def known_number(record: Mapping[str, object], name: str) -> float | None:
    """Return a number of a record, None if it holds none of that name."""
    value = number_in(record, name)
    return None if math.isnan(value) else value
