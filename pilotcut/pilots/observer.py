"""Observer of pilots: tells them what dask's scheduler knows of workers, and Slurm of jobs.

It refuses to know what a pilot makes of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.external import AllocationPilot, AttachedPilot, described
from pilotcut.pilots.pilot import Pilot
from pilotcut.pilots.slurm.commands import query_jobs
from pilotcut.pilots.slurm.pilot import SlurmPilot
from pilotcut.pilots.worker.node_config import pilot_resource

#: How often Slurm is asked, at most: sites mind those who ask it more often.
SLURM_S = 1.0
#: And about jobs of pilots that have ended, which may turn up again.
LEFT_S = 10.0

#: The dask resources of each worker of a pilot, by the pilot's key.
Workers = Mapping[str, Sequence[dict[str, float]]]


class Observer:
    """Looks at the pilots outside of this process, and remembers when it asked Slurm last."""

    def __init__(self) -> None:
        self._asked_slurm = self._asked_for_left = 0.0
        self._seen: set[str] = set()

    def observe(
        self, pilots: Sequence[Pilot], workers: Workers, now: float
    ) -> Iterator[AttachedPilot]:
        """Tell pilots of their workers and jobs; yield pilots for workers of nobody."""
        outside = [pilot for pilot in pilots if isinstance(pilot, DaskPilot)]
        alive = [pilot for pilot in outside if not pilot.state.final]
        self._observe_jobs([p for p in outside if isinstance(p, SlurmPilot)], workers, now)
        for pilot in alive:
            here = workers.get(pilot.key, [])
            if isinstance(pilot, AllocationPilot):
                pilot.observe(len(here), now)
            elif isinstance(pilot, AttachedPilot):
                pilot.observe(here, now)
        # Workers of an attached pilot that was given up may come back: nobody else ends them.
        known = {p.key for p in outside if not (isinstance(p, AttachedPilot) and p.state.final)}
        # Those of a pilot that was let go of end a moment after it, when another has its name.
        self._seen |= {p.key for p in outside if not isinstance(p, AttachedPilot)}
        known |= self._seen
        for key in set(workers) - known:
            yield AttachedPilot(described(key, workers[key]))

    def _observe_jobs(self, pilots: Sequence[SlurmPilot], workers: Workers, now: float) -> None:
        if now - self._asked_slurm < SLURM_S:
            return
        asked = [pilot for pilot in pilots if not pilot.state.final]
        if now - self._asked_for_left >= LEFT_S:
            self._asked_for_left = now
            asked += [pilot for pilot in pilots if pilot.may_be_left]
        jobs = {pilot: pilot.jobs for pilot in asked if pilot.jobs}
        if jobs:
            self._asked_slurm = now
            known = query_jobs(job for of_pilot in jobs.values() for job in of_pilot)
            for pilot in jobs:
                job = pilot.chosen(known)
                info = None if job is None else known.get(job)
                if pilot.state.final:
                    pilot.observe_left(info, now)
                else:
                    pilot.observe(len(workers.get(pilot.key, ())), info, now)


def workers_by_pilot(workers: Iterable[dict[str, float]]) -> Workers:
    """Return the workers of each pilot."""
    found: dict[str, list[dict[str, float]]] = {}
    for resources in workers:
        for resource in resources:
            key = resource.partition(":")[2]
            if resource == pilot_resource(key):
                found.setdefault(key, []).append(resources)
    return found
