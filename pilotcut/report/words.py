"""Words of reports: counts, lists, durations and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

#: Rows of a table that may have very many; see `first_of`.
MOST_ROWS = 25


def setting(value: object) -> str:
    """Return a setting as text."""
    return "–" if value is None else str(value)


def listed(widths: Sequence[object]) -> str:
    """Return the widths of fragments, of many the first ones."""
    shown = ", ".join(str(width) for width in list(widths)[:8])
    return f"{shown}, …" if len(widths) > 8 else shown


def first_of(rows: Sequence[object], total: int, what: str) -> str:
    """Say that a table has the first of more rows; nothing if it has all."""
    return f"The first {len(rows)} of {total:,} {what}." if len(rows) < total else ""


def joined(words: Sequence[str]) -> str:
    """Return words with commas and an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1] if words else ""]))


def sentence(words: Sequence[str]) -> str:
    """Return clauses as one sentence, markup kept."""
    if not words:
        return ""
    clauses = Markup("; ").join(words)
    return Markup("{}{}.").format(clauses[:1].upper(), clauses[1:])


def readable_s(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> readable_s(0.0123), readable_s(3.21), readable_s(80.0), readable_s(7300)
    ('12 ms', '3.2 s', '1 min 20 s', '2 h 2 min')
    """
    if math.isnan(seconds):
        return "–"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.{1 if seconds < 0.00995 else 0}f} ms"
    # From here on a tenth would round up to 60.0 s.
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def ranges_of(numbers: Sequence[int], most: int = 24) -> str:
    """Return ascending numbers as ranges, shortened to about `most` characters.

    Examples
    --------
    >>> ranges_of([0, 1, 2, 5, 7, 8])
    '0–2, 5, 7–8'
    """
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    text = ""
    for _, run in runs:
        ends = [number for _, number in run]
        part = str(ends[0]) if len(ends) == 1 else f"{ends[0]}–{ends[-1]}"
        if len(text) + len(part) > most:
            return f"{text}, … ({len(numbers)})"
        text += f", {part}" if text else part
    return text
