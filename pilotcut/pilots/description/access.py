"""How a device is had, and what a job of it may hold: fields beside those that say which device.

Owns the three access modes and limits of jobs. Refuses to know who keeps to them: jobs are
`pilotcut.backends.device_jobs`'s, sessions `pilotcut.pilots.worker.sessions`'s.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: ``dedicated``: the pilot owns the device for its lifetime. ``session``: opened when the pilot
#: becomes active and closed when it ends. ``batch``: one for each query. ``shared``: a queue that
#: others use too.
Access = Literal["dedicated", "session", "batch", "shared"]

#: The fields of a QPU that this is about.
ACCESS_FIELDS = frozenset({"access", "limits", "wait_s", "job_s", "instead", "slurm", "price"})


class JobLimits(BaseModel):
    """What one job may hold, and how many may be in flight: no client checks that for us.

    Attributes
    ----------
    circuits
        Most circuits of a job; each row of values of a circuit counts.
    shots
        Most shots of a circuit in one job; more are dealt to several jobs.
    executions
        Most circuits times shots of a job.
    jobs
        Most jobs of the pilot that are submitted and not done.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    circuits: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=1)
    executions: int | None = Field(default=None, ge=1)
    jobs: int | None = Field(default=None, ge=1)


class DevicePrice(BaseModel):
    """What a device costs, in any currency that all devices of a file share.

    Attributes
    ----------
    second, shot, job
        Of the device's time, of each shot, and of each job.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    second: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    shot: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    job: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)


NO_LIMITS, FREE = JobLimits(), DevicePrice()
