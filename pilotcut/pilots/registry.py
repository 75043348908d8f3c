"""Registry of pilots: a manager's pilots and their states, as a file beside its connection file.

The manager writes it at every change of a state; programs that use its pilots, and
``pilotcut status``, read it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.pilot import Pilot, PilotState

FILE_NAME = "pilots.json"


@dataclass(frozen=True)
class RegistryEntry:
    """Entry of the registry: one pilot and its state.

    Parameters
    ----------
    description
        What was asked for.
    key
        What its workers are known by.
    state, reason
        Where it stands, and why.
    since
        When it entered each state, in seconds since the epoch.
    """

    description: PilotDescription
    key: str
    state: PilotState
    reason: str
    since: dict[str, float]


def write(path: Path, pilots: Sequence[Pilot]) -> None:
    """Write the registry, whole or not at all."""
    entries = [
        {
            "description": pilot.description.model_dump(mode="json", exclude_none=True),
            "key": getattr(pilot, "key", pilot.name),
            "state": pilot.state.value,
            "reason": pilot.reason,
            "since": {state.value: when for state, when in pilot.since.items()},
        }
        for pilot in pilots
    ]
    write_atomically(path, json.dumps(entries))


def read(path: Path) -> list[RegistryEntry]:
    """Return what the registry says; nothing if there is none."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [_entry(entry) for entry in entries]


def _entry(entry: dict[str, Any]) -> RegistryEntry:
    # Not strict: JSON has no tuples.
    description = PilotDescription.model_validate(entry["description"], strict=False)
    state = PilotState(entry["state"])
    return RegistryEntry(description, entry["key"], state, entry["reason"], entry["since"])
