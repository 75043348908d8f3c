"""Findings of `pilotcut doctor`, and what its checks share."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription

WORKS, ABSENT, UNSURE, WRONG = "works", "absent", "unsure", "wrong"

_COMMAND_S = 10.0


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes
    ----------
    what
        The thing.
    state
        ``works``, ``absent``, ``unsure`` where it cannot be seen from here, or ``wrong``.
    said
        What was seen.
    fix
        What to do about it, if there is something.
    """

    what: str
    state: str
    said: str
    fix: str = ""


@dataclass(frozen=True)
class Asked:
    """What the user wants to do here.

    Attributes
    ----------
    run_dir
        Where runs will be.
    pilots
        The pilots that are wanted, if any are named.
    """

    run_dir: Path
    pilots: list[PilotDescription] = field(default_factory=list)

    @property
    def on_slurm(self) -> list[PilotDescription]:
        """Those that Slurm starts."""
        return [pilot for pilot in self.pilots if pilot.resource == "slurm"]

    @property
    def place(self) -> Path:
        """The directory that runs will be in, or the nearest above that is there."""
        above = self.run_dir.absolute().parents
        return next(place for place in (self.run_dir, *above) if place.is_dir())


def run(*command: str, timeout_s: float = _COMMAND_S) -> tuple[int, str]:
    """Return how a command ended, and what it said in one text."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, in_a_line(str(error))
    return done.returncode, done.stdout.strip()


def in_a_line(text: str, most: int = 300) -> str:
    """Return a text as one line of limited length."""
    return " ".join(text.split())[:most]
