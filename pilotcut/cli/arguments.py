"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CircuitFile = Annotated[Path, typer.Argument(help="A .qasm (OpenQASM 2 or 3) or .qpy file.")]
Pilots = Annotated[Path | None, typer.Option(help="Pilot description; without one, this process.")]
Observable = Annotated[
    str | None,
    typer.Option(help="Pauli string, qubit 0 on the right.", show_default="Z on every qubit"),
]
JointCuts = Annotated[
    bool, typer.Option("--joint-cuts", help="Cut parallel gates between two labels as one.")
]
WIRES_HELP = "With shots, how wires are cut: auto, communication, randomised, separate."
Wires = Annotated[str, typer.Option(help=WIRES_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
