"""Tables as CSV, for programs, and as Markdown, for people."""

from __future__ import annotations

import csv
from pathlib import Path

from pilotcut.study.findings import Findings, Table


def save_csv(table: Table, place: Path) -> None:
    """Write full numbers, one row a line, under the columns' names."""
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.rows)


def markdown(table: Table) -> str:
    """Return a table as it reads in a Markdown file.

    Examples
    --------
    >>> print(markdown(Table("t", "Seconds", ["cuts", "s"], [[0, 1.234]], {"s": ".1f"})))
    **Seconds**
    <BLANKLINE>
    | cuts | s |
    |---|---|
    | 0 | 1.2 |
    """
    rows = [list(table.columns), ["---"] * len(table.columns), *table.texts()]
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    lines[1] = "|" + "---|" * len(table.columns)
    note = ["", table.note] if table.note else []
    return "\n".join([f"**{table.title}**", "", *lines, *note])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def document(findings: list[Findings], heading: str, about: str) -> str:
    """Return all findings as one Markdown document."""
    parts = [f"# {heading}", about]
    for one in findings:
        parts += [f"## {one.title}", one.answer, f"*{one.mode}*", f"Published: {one.published}"]
        parts += [
            f"- {'met' if v.met else 'NOT met'}: {v.claim}; measured: {v.measured}"
            for v in one.verdicts
        ]
        parts += [markdown(table) for table in one.tables]
        parts += [f"![{plot.title}]({one.question}/{plot.name}.png)" for plot in one.plots]
        if one.missing:
            parts.append(f"{one.missing} cells are missing; run the study again to measure them.")
    return "\n\n".join(parts) + "\n"
