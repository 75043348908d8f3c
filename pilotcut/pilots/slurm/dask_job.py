"""Job of dask-jobqueue, submitted and canceled by commands that touch no other job.

By itself it would take the first digits that sbatch prints for the job's number, those of a
banner too, and cancel whatever has that number. Imported only through
`pilotcut.pilots.slurm`: dask-jobqueue installs a handler of SIGINT.
"""

from __future__ import annotations

import asyncio

from dask_jobqueue.slurm import SLURMJob

from pilotcut.pilots.slurm.commands import OwnJob, cancel, submit, unique_name


class PilotJob(SLURMJob):
    """The job of a pilot; `own` is what it is called once it is submitted."""

    own: OwnJob | None = None

    async def _submit_job(self, script_filename: str) -> str:
        self.own = await asyncio.to_thread(submit, script_filename, unique_name(self.name))
        return self.own.number

    def _job_id_from_submit_output(self, out: str) -> str:
        return out

    async def close(self) -> None:
        """Cancel the job if it is ours."""
        if self.own is not None:
            await asyncio.to_thread(cancel, self.own)
