"""Findings of a question, which its cells say together: a sentence, tables, plots, verdicts.

Plain data, made by pure functions from results; `tables`, `figures` and `page` show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from pilotcut.errors import UserError

#: What a table shows: text, a number with its unit in the column's head, or nothing.
Value = str | float | int | bool | None


@dataclass(frozen=True)
class Table:
    """A table: `name` is that of its files, `formats` a format specification by column."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    formats: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def texts(self) -> list[list[str]]:
        """Return the cells as they are read by people."""
        return [
            [
                _text(value, self.formats.get(c, ""))
                for c, value in zip(self.columns, row, strict=True)
            ]
            for row in self.rows
        ]


@dataclass(frozen=True)
class PlotSeries:
    """A line or a group of bars; `low` and `high` bound each point where they are known."""

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Plot:
    """A figure; dashed horizontal `references` are named values to compare with."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[PlotSeries]
    kind: Literal["lines", "bars"] = "lines"
    references: Mapping[str, float] = field(default_factory=dict)
    log_y: bool = False


@dataclass(frozen=True)
class Verdict:
    """A claim that was to be met, what was measured, and whether it was."""

    claim: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Findings:
    """Answer to a question, and what it rests on."""

    question: str
    title: str
    mode: str
    answer: str
    published: str
    verdicts: Sequence[Verdict] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    missing: int = 0


@dataclass(frozen=True)
class CellResult:
    """A finished cell: what it was asked, and what it measured."""

    settings: Mapping[str, Any]
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        if name in self.settings:
            return self.settings[name]
        if name not in self.values:  # a file of another version, or somebody's hand was in it
            raise UserError(
                f"the result of the cell with {dict(self.settings)} holds no '{name}', expected "
                f"one of this version of pilotcut; remove its file to measure it again, or give "
                f"another --out"
            )
        return self.values[name]


#: A result, or a row that was made of some.
Row = TypeVar("Row", "CellResult", dict[str, Any])


def grouped(results: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return results, or rows of them, by some of their values, in the order of appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for result in results:
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    return groups


def chosen(results: Iterable[CellResult], **settings: Any) -> list[CellResult]:
    """Return the results with these settings."""
    return [r for r in results if all(r.settings.get(k) == v for k, v in settings.items())]


def median(results: Iterable[CellResult], value: str | Callable[[CellResult], float]) -> float:
    """Return the median of a value over results, NaN where there are none."""
    numbers = [value(r) if callable(value) else r[value] for r in results]
    return float(np.median(numbers)) if numbers else float("nan")


def _text(value: Value, spec: str) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, spec) if spec and not isinstance(value, str) else str(value)
