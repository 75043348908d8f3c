"""Registry of pilots: a manager's pilots and their states, as a file beside its connection file.

The manager writes it at every change of a state; programs that use its pilots, and
``pilotcut status``, read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.kinds import ANY_KIND
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.pilots.worker import connection

FILE_NAME = "pilots.json"


class RegistryEntry(BaseModel):
    """Entry of the registry: one pilot and its state.

    Attributes
    ----------
    description
        What was asked for.
    key
        What its workers are known by.
    state, reason
        Where it stands, and why.
    since
        When it entered each state, in seconds since the epoch.
    generation
        How many pilots of its name there were before.
    job
        Its Slurm job, by all that tells it from others; None if there is none.
    rivals
        Jobs of other sizes in the queue, of which one may start in its place.
    """

    model_config = ConfigDict(frozen=True)

    description: PilotDescription
    key: str
    state: PilotState
    reason: str
    since: dict[str, float]
    generation: int = 0
    job: dict[str, str] | None = None
    rivals: tuple[dict[str, str], ...] = ()


_ENTRIES = TypeAdapter(list[RegistryEntry])


def write(path: Path, pilots: Sequence[Pilot]) -> None:
    """Write the registry, whole or not at all."""
    entries = [
        RegistryEntry(
            description=pilot.description,
            key=getattr(pilot, "key", pilot.name),
            state=pilot.state,
            reason=pilot.reason,
            since={state.value: when for state, when in pilot.since.items()},
            generation=getattr(pilot, "generation", 0),
            job=None if (job := getattr(pilot, "job", None)) is None else asdict(job),
            rivals=tuple(asdict(job) for job in getattr(pilot, "jobs", ())[1:]),
        )
        for pilot in pilots
    ]
    write_atomically(path, _ENTRIES.dump_json(entries, exclude_none=True))


def read(path: Path) -> list[RegistryEntry]:
    """Return what the registry says; nothing if there is none."""
    try:
        return _ENTRIES.validate_json(path.read_bytes(), context={ANY_KIND: True})
    except FileNotFoundError:
        return []


def as_data(entries: Sequence[RegistryEntry]) -> list[dict[str, Any]]:
    """Return entries as plain data, without what nobody has set."""
    return [entry.model_dump(mode="json", exclude_unset=True) for entry in entries]


def lent(pilots: str | Path) -> list[PilotDescription] | None:
    """Return what runs behind a connection file; None if `pilots` names no such file."""
    path = Path(pilots)
    if path.name != connection.FILE_NAME:
        return None
    return [one.description for one in read(path.with_name(FILE_NAME)) if not one.state.final]


def ends_in_words(path: Path) -> str:
    """Return how the pilots of a registry have ended, each behind a semicolon."""
    return "".join(
        f"; pilot '{one.description.name}' has ended as {one.state.value}"
        + (f": {one.reason}" if one.reason else "")
        for one in read(path)
        if one.state.final
    )
