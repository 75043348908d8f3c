"""Extras that pilots need where they are started, asked for before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilotcut.io.extras import require

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription


def check_extras(description: PilotDescription) -> None:
    """Raise if a pilot cannot be started from here for want of a package.

    Raises
    ------
    MissingExtraError
        With what to install.
    """
    who = f"pilot '{description.name}'"
    if description.resource == "slurm":
        require(f"{who}: resource slurm", "slurm")
    # What other Pythons have, those of jobs too, only what runs on them can tell.
    if description.resource == "local" and description.ranks > 1 and not description.python:
        require(f"{who} of {description.ranks} ranks", "mpi")
