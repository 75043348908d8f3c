"""Jobs of a batch, counted before any is submitted: limits that make very many are said.

Refuses to know how jobs run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from pilotcut.backends.job_packing import number_of_jobs
from pilotcut.errors import ManyJobsWarning
from pilotcut.execution.devices import DevicePilot
from pilotcut.execution.work_units import CircuitUnit
from pilotcut.pilots.description.access import JobLimits

#: More jobs of a batch than this are said, if limits of executions or shots make that many of one.
MANY = 10


def say_many_jobs(units: Iterable[CircuitUnit]) -> None:
    """Warn of each device whose limits make many jobs of few circuits."""
    by_device: dict[DevicePilot, list[CircuitUnit]] = {}
    for unit in units:
        if unit.device is not None and unit.device.runs_itself:
            by_device.setdefault(unit.device, []).append(unit)
    for device, some in by_device.items():
        limits = device.qpu.limits
        jobs = sum(_jobs(unit, limits) for unit in some)
        without = sum(_jobs(unit, JobLimits(circuits=limits.circuits)) for unit in some)
        if jobs > MANY * max(1, without):
            circuits, shots = (sum(each) for each in zip(*(u.size for u in some), strict=True))
            said = {"shots": limits.shots, "executions": limits.executions}
            given = ", ".join(f"{name}: {most}" for name, most in said.items() if most)
            warnings.warn(
                f"pilot '{device.name}': limits {{{given}}} make {jobs} jobs of {circuits} "
                f"circuits with {shots} shots, and {without} would do; expected what the "
                "service takes of a job (executions are circuits times shots)",
                ManyJobsWarning,
                stacklevel=2,
            )


def _jobs(unit: CircuitUnit, limits: JobLimits) -> int:
    circuits, shots = unit.size
    return number_of_jobs(circuits, shots // circuits, limits) if shots else 0
