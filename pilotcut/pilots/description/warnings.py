"""Warnings about descriptions that are valid: fields without effect, more threads than cores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pilotcut.pilots.description.faults import show
from pilotcut.pilots.description.pilot import PilotDescription

_SLURM_FIELDS = ("queue", "account", "qos", "constraint", "reservation", "directives")
_WITHOUT_EFFECT = {
    "inprocess": (*_SLURM_FIELDS, "setup", "python"),
    "local": _SLURM_FIELDS,
    "allocation": _SLURM_FIELDS,
}


def notes(descriptions: Iterable[PilotDescription], cores: int | None = None) -> tuple[str, ...]:
    """Return what is worth a warning in descriptions that are valid.

    Parameters
    ----------
    descriptions
        The pilots that would run together.
    cores
        Cores of this machine, counted if None.

    Examples
    --------
    >>> from pilotcut.pilots.description import embedded
    >>> notes(embedded(workers=3), cores=2)
    ('3 worker threads share the 2 cores of this machine: tasks will slow each other down',)
    """
    pilots = tuple(descriptions)
    found = [line for pilot in pilots for line in (*pilot.notes, *_without_effect(pilot))]
    # Those that this process may use: a job or a container has fewer than the machine.
    cores = cores or len(os.sched_getaffinity(0))
    here = [pilot for pilot in pilots if pilot.resource in ("inprocess", "local")]
    threads = sum(pilot.slots * pilot.cores_per_slot * _most(pilot) for pilot in here)
    if threads > cores:
        found.append(
            f"{threads} worker threads share the {cores} cores of this machine: "
            "tasks will slow each other down"
        )
    return tuple(dict.fromkeys(found))


def _most(pilot: PilotDescription) -> int:
    return 1 if pilot.elastic is None else pilot.elastic.most


def _without_effect(pilot: PilotDescription) -> Iterator[str]:
    for field in _WITHOUT_EFFECT.get(pilot.resource, ()):
        if getattr(pilot, field):
            yield f"pilot '{pilot.name}': {field} has no effect for resource {pilot.resource}"
    for line in pilot.setup:
        if line.lstrip().startswith("#SBATCH"):
            yield f"pilot '{pilot.name}': {show(line)} has no effect in setup; put it in directives"
