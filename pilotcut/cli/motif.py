"""Command `pilotcut motif`: one of the motifs of hybrid quantum-HPC work, as a mini-app."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pilotcut.cli.arguments import AsJson, among
from pilotcut.cli.console import complain, err, note, say, say_json
from pilotcut.cli.session import tasks_on
from pilotcut.errors import UserError
from pilotcut.io.new_directory import given_or_new
from pilotcut.options import check, choice_fault

if TYPE_CHECKING:
    from pilotcut.study.motifs.answer import Motif

_WRONG = 1


def _completed(incomplete: str) -> list[str]:
    from pilotcut.study.motifs.answer import MOTIFS

    return among(MOTIFS)(incomplete)


def motif(
    name: Annotated[
        str | None,
        typer.Argument(help="Which one; all are listed without a name.", autocompletion=_completed),
    ] = None,
    pilots: Annotated[
        Path | None,
        typer.Option(
            help="Pilot description; without one, a worker for each core of this machine, or what "
            "the motif names: devices that Aer plays, pilots of its stages."
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            help="small: within a minute on two cores; large: for an allocation.",
            autocompletion=among(("small", "large")),
        ),
    ] = "small",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where its files go; runs/NAME-TIME if left out. With that of a run that was "
            "killed it goes on: what is stored there does not run again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a motif of hybrid quantum-HPC work, say what it found and where its time went.

    Its directory is a run directory, which `pilotcut report` shows.
    """
    from pilotcut.study.motifs.answer import MOTIFS, SIZES
    from pilotcut.study.motifs.answer import motif as motif_of

    if name is None:
        if pilots is not None or out is not None:
            raise UserError(f"name is left out, expected one of {', '.join(MOTIFS)}; add one")
        if as_json:
            say_json({key: title for key, (_, title, _) in MOTIFS.items()})
            return
        for key, (_, title, _) in MOTIFS.items():
            say(f"{key:12s} {title}")
        return
    check(choice_fault("size", size, SIZES))
    chosen = motif_of(name)
    with given_or_new(out, Path("runs") / name) as directory:
        _run(chosen, pilots, size, directory, as_json)


def _again(chosen: Motif, pilots: Path | None, size: str, directory: Path) -> str:
    described = [] if pilots is None else ["--pilots", str(pilots)]
    command = ["pilotcut", "motif", chosen.name, *described, "--size", size]
    return shlex.join([*command, "--out", str(directory)])


def _run(chosen: Motif, pilots: Path | None, size: str, directory: Path, as_json: bool) -> None:
    from pilotcut.pilots import PilotManager
    from pilotcut.pilots.description import PilotDescription, load_descriptions
    from pilotcut.study.motifs.run import FILE_NAME, RESULTS, opened, run_motif

    cores = len(os.sched_getaffinity(0))
    here = PilotDescription(name="here", resource="local", cores_per_node=cores)
    described = (chosen.pilots or (here,)) if pilots is None else load_descriptions(pilots)
    manager = PilotManager(described, run_dir=directory)
    try:
        with (
            opened(chosen, size, directory),
            tasks_on(manager, directory / RESULTS) as tasks,
            err.status(chosen.title),
        ):
            outcome = run_motif(chosen, tasks, size, directory)
    except KeyboardInterrupt:
        again = _again(chosen, pilots, size, directory)
        complain("interrupted", f"what is stored is kept; go on with: {again}")
        raise
    if as_json:
        say_json(outcome.to_dict())
    else:
        say(f"{chosen.title}: {outcome.answer.sentence}")
        say(f"{outcome.seconds:.1f} s; {outcome.spent}")
        note(f"look at it with: pilotcut report {directory}")
    if not outcome.answer.right:
        complain("wrong", f"expected: {chosen.right}; see {directory / FILE_NAME}")
        raise typer.Exit(_WRONG)
