"""Command `pilotcut doctor`: what works here of that which pilotcut may need, and how it is mended.

What is absent is no fault: whoever has no cluster needs no Slurm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import AsJson
from pilotcut.cli.console import out, say_json
from pilotcut.cli.doctor import cluster, installation, places
from pilotcut.cli.doctor.finding import WRONG, Asked, Finding, in_a_line

#: Each check under the name that it goes by if it breaks, in the order of the table.
_CHECKS: dict[str, Callable[[Asked], Finding | Iterable[Finding]]] = {
    "Python": installation.python,
    "Aer": installation.aer,
    "GPU": installation.gpu,
    "TLS": installation.tls,
    "proxy": installation.proxy,
    "Slurm": cluster.slurm,
    "munge": cluster.munge,
    "MPI": cluster.mpi,
    "disk": places.disk,
    "file system": places.file_system,
    "clock": places.clock,
    "nodes": places.nodes,
    "calibration": installation.calibration,
}


def doctor(
    pilots: Annotated[
        Path | None,
        typer.Option(help="Pilot description; a node of each Slurm pilot is asked too."),
    ] = None,
    run_dir: Annotated[
        Path, typer.Option(help="Where runs will be, on a file system that all nodes share.")
    ] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say what works here, and how to mend what does not; exit code 1 if something is wrong."""
    from pilotcut.perfmodel.known_pilots import described_by

    asked = Asked(run_dir, [] if pilots is None else described_by(pilots))
    findings = [one for what, check in _CHECKS.items() for one in _checked(what, check, asked)]
    if as_json:
        say_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    raise typer.Exit(any(finding.state == WRONG for finding in findings))


def _checked(
    what: str, check: Callable[[Asked], Finding | Iterable[Finding]], asked: Asked
) -> list[Finding]:
    try:
        found = check(asked)
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # whatever a broken installation raises is a finding
        reason = in_a_line(f"{type(error).__name__}: {error}")
        return [Finding(what, WRONG, reason, "install pilotcut and what it needs anew")]


def _print(findings: list[Finding]) -> None:
    table = Table()
    for name in ("what", "state", "seen", "to do"):
        table.add_column(name, overflow="fold")
    for one in findings:
        table.add_row(*(escape(text) for text in (one.what, one.state, one.said, one.fix)))
    out.print(table)
