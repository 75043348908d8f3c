"""Kinds of resources: which pilot a description asks for, and whether it can be had here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

from pilotcut.errors import UserError
from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.description import PilotDescription, kinds
from pilotcut.pilots.description.field_types import MOST_PILOTS
from pilotcut.pilots.description.files import TOO_MANY, duplicates
from pilotcut.pilots.executor_pilot import ExecutorPilot
from pilotcut.pilots.external import AllocationPilot
from pilotcut.pilots.local import LocalPilot
from pilotcut.pilots.pilot import DirectPilot, InProcessPilot, Pilot
from pilotcut.pilots.slurm.pilot import SlurmPilot
from pilotcut.pilots.worker.exception_text import words_of

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
    if description.resource in _OUTSIDE:
        return _OUTSIDE[description.resource](description, generation)
    return _declared_pilot(description, generation)


def _declared_pilot(description: PilotDescription, generation: int) -> Pilot:
    """Return a pilot of a kind that a package declares.

    Raises
    ------
    UserError
        If that cannot be loaded, is no kind of pilot, or does not have what is asked for.
    """
    where = f"pilot '{description.name}'"
    if description.resource == kinds.EXECUTOR:
        raise UserError(
            f"{where}: resource is executor, expected a kind that a description is enough for; use "
            f"PilotManager.from_executor"
        )
    try:
        kind = _loaded(description.resource)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if isinstance(kind, type) and issubclass(kind, DaskPilot):
        return kind(description, generation)
    if description.replace:
        raise UserError(
            f"{where}: replace is True, expected false with resource {description.resource}, of "
            f"which no other is asked for"
        )
    if isinstance(kind, type) and issubclass(kind, DirectPilot):
        return kind(description)
    if not callable(kind):
        raise UserError(
            f"{where}: resource is '{description.resource}', declared as {kind!r}, expected a "
            f"subclass of DaskPilot or DirectPilot, or a function from the description to an "
            f"executor"
        )
    _check_executor(description, where)
    return ExecutorPilot(description, kind, is_own=True)


def _check_executor(description: PilotDescription, where: str) -> None:
    """Raise UserError, with a line for each, for what no executor has."""
    kind = f"with resource {description.resource}, whose workers are those of an executor"
    wrong = {
        "ranks": (description.ranks > 1, description.ranks, 1),
        "gpus_per_node": (description.gpus_per_node > 0, description.gpus_per_node, 0),
    }
    faults = [
        f"{where}: {field} is {found}, expected {most} {kind}"
        for field, (is_wrong, found, most) in wrong.items()
        if is_wrong
    ]
    qpu = description.backend.qpu
    if qpu is not None and qpu.keeps_session:
        faults.append(f"{where}: backend.qpu.access is {qpu.access}, expected shared {kind}")
    if faults:
        raise UserError(faults)


def _loaded(name: str) -> Any:
    """Return what a package declares for a kind.

    Raises
    ------
    UserError
        If no package, or more than one, declares it, or if it cannot be loaded.
    """
    points = kinds.declared().get(name, [])
    if not points:
        raise UserError(
            f"resource is '{name}', expected one of {', '.join(kinds.known())}; install the "
            f"package that declares it"
        )
    if len(points) > 1:
        packages = " and ".join(sorted(_package(point) for point in points))
        raise UserError(
            f"resource is '{name}', which {packages} declare, expected one package; uninstall the "
            f"others"
        )
    try:
        return points[0].load()
    except Exception as error:  # whatever a module does while it is imported
        raise UserError(
            f"resource is '{name}', which {_package(points[0])} declares as '{points[0].value}', "
            f"and that cannot be loaded: {words_of(error)}; mend that package, or install what it "
            f"needs"
        ) from error


def _package(point: EntryPoint) -> str:
    return "some package" if point.dist is None else point.dist.name


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
