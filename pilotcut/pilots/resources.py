"""Kinds of resources: which pilot a description asks for, and whether it can be had here."""

from __future__ import annotations

from collections.abc import Sequence

from pilotcut.errors import UserError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.files import TOO_MANY, duplicates
from pilotcut.pilots.description.pilot import MOST_PILOTS
from pilotcut.pilots.external import AllocationPilot
from pilotcut.pilots.local import LocalPilot
from pilotcut.pilots.pilot import InProcessPilot, Pilot
from pilotcut.pilots.slurm.pilot import SlurmPilot

_OUTSIDE: dict[str, type[LocalPilot | SlurmPilot | AllocationPilot]] = {
    "local": LocalPilot,
    "slurm": SlurmPilot,
    "allocation": AllocationPilot,
}


def make_pilot(description: PilotDescription, generation: int = 0) -> Pilot:
    """Return the pilot that a description asks for, not yet started.

    Parameters
    ----------
    description
        What is asked for.
    generation
        How many pilots of this name there were before.
    """
    if description.resource == "inprocess":
        return InProcessPilot(description)
    return _OUTSIDE[description.resource](description, generation)


def check_available(descriptions: Sequence[PilotDescription]) -> None:
    """Raise UserError, with a line for each fault, if these pilots could not run together."""
    if not descriptions:
        raise UserError("no pilot is described, expected at least one")
    if len(descriptions) > MOST_PILOTS:
        raise UserError(TOO_MANY)
    faults = [
        f"pilot '{d.name}': backend is {d.backend.device} with method {d.backend.method}, expected "
        "CPU and automatic in this process; use resource: local"
        for d in descriptions
        if d.resource == "inprocess"
        and (d.backend.device, d.backend.method) != ("CPU", "automatic")
    ]
    faults += duplicates(descriptions)
    if faults:
        raise UserError(faults)
