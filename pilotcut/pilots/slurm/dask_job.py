"""Job of dask-jobqueue, submitted and canceled by commands that touch no other job.

By itself it would take the first digits that sbatch prints for the job's number, those of a
banner too, and cancel whatever has that number. Imported only through
`pilotcut.pilots.slurm`: dask-jobqueue installs a handler of SIGINT.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from dask_jobqueue.slurm import SLURMJob

from pilotcut.pilots.slurm.commands import OwnJob, cancel, submit, unique_name


class PilotJob(SLURMJob):
    """The job of a pilot, submitted in `environment`; `own` is what it is called then."""

    own: OwnJob | None = None
    environment: Mapping[str, str] = os.environ

    async def _submit_job(self, script_filename: str) -> str:
        name = unique_name(self.name)
        self.own = await asyncio.to_thread(submit, script_filename, name, self.environment)
        return self.own.number

    def _job_id_from_submit_output(self, out: str) -> str:
        return out

    async def close(self) -> None:
        """Cancel the job if it is ours."""
        if self.own is not None:
            await asyncio.to_thread(cancel, self.own)
