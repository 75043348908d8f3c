"""Pilots that are submitted together, by one sbatch: arrays of jobs, and heterogeneous jobs.

Each pilot is an element or a component, followed and canceled by its own name such as ``7_1`` or
``7+1``. Refuses to know why pilots are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.slurm.job_script import make_array, make_hetjob
from pilotcut.pilots.slurm.pilot import SlurmPilot


def groups_of(pilots: Iterable[DaskPilot]) -> Iterator[list[DaskPilot]]:
    """Yield pilots that are submitted together, and others alone.

    Together are those of an entry with `array`, and those that name one `hetjob`.
    """
    groups: dict[tuple[str, str], list[DaskPilot]] = {}
    for pilot in pilots:
        d = pilot.description
        # A job that another manager has left is there already.
        if (d.array or d.hetjob) and isinstance(pilot, SlurmPilot) and pilot.job is None:
            # Names alone do not tell entries apart: `a-1` and `a-2` may be two.
            asked = "" if d.hetjob else d.model_dump_json(exclude={"name"})
            groups.setdefault((d.hetjob or d.kind, asked), []).append(pilot)
        else:
            yield [pilot]
    yield from groups.values()


def start_group(pilots: Sequence[DaskPilot], site: PilotSite) -> None:
    """Start one pilot, or several as parts of one submission.

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
    described = [(pilot.description, pilot.key) for pilot in members]
    is_hetjob = members[0].description.hetjob is not None
    job = make_hetjob(described, *where) if is_hetjob else make_array(described, *where)
    own = members[0].submit(job)
    mark = "+" if is_hetjob else "_"
    for index, pilot in enumerate(members):
        pilot.follow(replace(own, element=f"{own.number}{mark}{index}"))
