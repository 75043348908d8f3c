"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from pilotcut.options import WIRES


def among(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what a shell completes the beginning of one of these words by."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


CircuitFile = Annotated[Path, typer.Argument(help="A .qasm (OpenQASM 2 or 3) or .qpy file.")]
Description = Annotated[
    Path,
    typer.Argument(help="A pilot description: a YAML file, or the name of one that comes along."),
]
Pilots = Annotated[
    Path | None,
    typer.Option(help="Pilot description, a file or a name; without one, this process."),
]
Observable = Annotated[
    str | None,
    typer.Option(help="Pauli string, qubit 0 on the right.", show_default="Z on every qubit"),
]
JointCuts = Annotated[
    bool, typer.Option("--joint-cuts", help="Cut parallel gates between two labels as one.")
]
WIRES_HELP = "With shots, how wires are cut: auto, communication, randomised, separate."
Wires = Annotated[str, typer.Option(help=WIRES_HELP, autocompletion=among(WIRES))]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
