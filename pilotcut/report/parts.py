"""Sections to be, and the words that they have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pilotcut.report.numbers import number_in
from pilotcut.report.page import Element
from pilotcut.report.read import RunRecord

#: Colours of the stages, in their order.
STAGE_COLOURS = (6, 4, 0, 1)

#: Rows of tables of things that go wrong.
MOST_ROWS = 25


@dataclass(frozen=True)
class Part:
    """A section to be."""

    title: str
    text: str
    elements: Sequence[Element] = ()


def widths_of(run: RunRecord) -> list[int]:
    """Return the qubits of each fragment, [] where the plan does not say."""
    found = run.plan.get("widths")
    return [w for w in found if type(w) is int and w > 0] if isinstance(found, list) else []


def cuts_of(run: RunRecord) -> int | None:
    """Return the number of cuts, None where the plan does not say."""
    cuts = number_in(run.plan, "cuts")
    return None if math.isnan(cuts) else int(cuts)


def setting(value: object) -> str:
    """Return a setting as text."""
    return "–" if value is None else str(value)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
    told = Markup("; ").join(words)
    return Markup("{}{}.").format(told[:1].upper(), told[1:])
