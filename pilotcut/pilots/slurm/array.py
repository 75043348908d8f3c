"""Arrays of jobs: pilots of one entry that are asked for together, submitted by one sbatch.

Each pilot is an element, followed and canceled by its own name such as ``7_1``. Refuses to know
why pilots are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.slurm.job_script import make_array
from pilotcut.pilots.slurm.pilot import SlurmPilot


def groups_of(pilots: Iterable[DaskPilot]) -> Iterator[list[DaskPilot]]:
    """Yield pilots that are submitted together: all of an entry with `array`, others alone."""
    arrays: dict[str, list[DaskPilot]] = {}
    for pilot in pilots:
        # A job that another manager has left is there already.
        if pilot.description.array and isinstance(pilot, SlurmPilot) and pilot.job is None:
            arrays.setdefault(pilot.description.kind, []).append(pilot)
        else:
            yield [pilot]
    yield from arrays.values()


def start_group(pilots: Sequence[DaskPilot], site: PilotSite) -> None:
    """Start one pilot, or several as elements of an array.

    Raises
    ------
    PilotError
        If sbatch refuses; there is none of them then.
    """
    if len(pilots) == 1:
        pilots[0].start(site)
        return
    members = [pilot for pilot in pilots if isinstance(pilot, SlurmPilot)]
    for pilot in members:
        where = pilot.prepare(site)
    job = make_array([(pilot.description, pilot.key) for pilot in members], *where)
    own = members[0].submit(job)
    for index, pilot in enumerate(members):
        pilot.follow(replace(own, element=f"{own.number}_{index}"))
