"""Kinds of pilots: which names `resource` may have, ours and those of installed packages.

A package declares a kind by an entry point of the group `pilotcut.pilots`, whose name is what
descriptions call it. This module refuses to know what a kind is made of (`pilots.resources`).
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

GROUP = "pilotcut.pilots"
#: Kinds of our own, which no package can take over.
OWN = ("inprocess", "local", "slurm", "allocation")
#: That of pilots on an executor, which are made by `PilotManager.from_executor` and not described.
EXECUTOR = "executor"
#: What a validation says (pydantic's context) that takes any kind: who reads of pilots of others
#: need not have what they are made with.
ANY_KIND = "any kind"


def declared() -> dict[str, list[EntryPoint]]:
    """Return what installed packages declare, by name; more than one is a fault of theirs."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point.name not in (*OWN, EXECUTOR):
            found.setdefault(point.name, []).append(point)
    return found


def known() -> tuple[str, ...]:
    """Return all names that `resource` may have."""
    return (*OWN, *sorted(declared()))


def is_known(name: str) -> bool:
    """Return whether there is such a kind; packages are looked at if it is none of ours."""
    return name in OWN or name in declared()
