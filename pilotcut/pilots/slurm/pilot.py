"""Pilots that are Slurm jobs: one dask-jobqueue job each, of one node or several.

Two sources tell what becomes of a pilot, and each is believed on its own subject: dask's
scheduler knows which workers there are, which decides where tasks go; Slurm knows the job,
which decides the pilot's state and the reason. A job that Slurm does not know for a while
is not a job that has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.errors import PilotError
from pilotcut.pilots.agent.command import provide_package
from pilotcut.pilots.agent.process import log_tail
from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.needed_extras import check_extras
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.slurm.commands import COMMAND_S, SUBMIT_S, OwnJob, cancel
from pilotcut.pilots.slurm.environment import for_submission
from pilotcut.pilots.slurm.job_info import JobInfo
from pilotcut.pilots.slurm.job_script import claim_of, make_job

if TYPE_CHECKING:
    from pilotcut.pilots.slurm.dask_job import PilotJob

_log = logging.getLogger(__name__)

#: A job that runs must have workers after this time, and again if it loses them all.
JOIN_S, EMPTY_S = 90.0, 15.0
#: Workers that joined are used at the latest this long after the first of them.
STRAGGLING_S = 5.0
#: A job that neither Slurm nor dask knows is given up after this time, and so is one that had
#: workers and has none, while Slurm says nothing.
#: With slurmctld stopped for 42 s, jobs came into sight afterwards (Slurm 22.05.8).
UNKNOWN_S = 60.0
#: How often a job that was given up and turns up again is canceled.
CANCEL_AGAIN_S = 10.0
#: No task is bound to a pilot this shortly before its job's time limit.
DRAIN_S = 20.0


class SlurmPilot(DaskPilot):
    """Workers in a Slurm job of their own."""

    loss_patience_s = 3.0  # Slurm is asked every second

    def __init__(self, description: PilotDescription, generation: int = 0) -> None:
        # Until one of its jobs has started, it is what the smallest would be.
        self._sizes = description.in_sizes
        super().__init__(min(self._sizes, key=lambda one: one.slots), generation)
        self._rivals: list[tuple[OwnJob, PilotDescription]] = []
        self._job: OwnJob | None = None
        self._logs = Path()
        self._first_joined: float | None = None
        self._empty_since: float | None = None
        self._unknown_since: float | None = None
        self._canceled_at = 0.0
        self._was_active = False
        self._job_ends = False
        self._gives_back = False

    @property
    def job_id(self) -> str | None:
        """The number of the Slurm job, once it is submitted."""
        return self._job.called if self._job is not None else None

    @property
    def job(self) -> OwnJob | None:
        """The Slurm job, once it is submitted, by all that tells it from others."""
        return self._job

    @property
    def jobs(self) -> tuple[OwnJob, ...]:
        """All its jobs: of each size one until the first of them has started."""
        rivals = tuple(job for job, _ in self._rivals)
        return rivals or (() if self._job is None else (self._job,))

    def take_over(self, job: OwnJob) -> None:
        """Have `start` follow a job that another manager has submitted, and submit none."""
        self._job = job

    @property
    def is_ending(self) -> bool:
        """Whether the whole pilot goes, and not a worker alone."""
        return self._job_ends or super().is_ending

    @property
    def log(self) -> Path:
        """Where the job's output goes."""
        if self._job is None or not self._job.element:
            return self._logs / f"{self.key}-{self.job_id}.log"
        if self.description.hetjob:  # all components write into one
            return self._logs / f"{self.description.hetjob}-{self._job.number}.log"
        return self._logs / f"{self.description.kind}-{self._job.element}.log"

    def check_possible(self) -> None:
        """Raise a `PilotError` if there is no sbatch here."""
        check_extras(self.description)
        if shutil.which("sbatch") is None:
            raise PilotError(
                f"pilot '{self.name}': there is no sbatch here, expected a machine that submits "
                f"to Slurm; use resource: local on this one"
            )

    def start(self, site: PilotSite) -> None:
        """Submit the job; the pilot is pending then.

        Raises
        ------
        PilotError
            With what sbatch says, if it refuses or cannot be understood.
        """
        where = self.prepare(site)
        if self._job is not None:
            self.move(PilotState.PENDING, f"job {self.job_id}: taken over")
            return
        if len(self._sizes) == 1:
            self.follow(self.submit(make_job(self.description, self.key, *where)))
        else:
            self._submit_sizes(*where)

    def prepare(self, site: PilotSite) -> tuple[Path, Path]:
        """Get ready for a submission, and return where the connection file and the logs are."""
        super().start(site)
        self._logs = site.logs
        self.check_possible()
        where = (site.connection_file.resolve(), site.logs.resolve())
        provide_package(self.description.python, where[0].parent)
        return where

    def submit(self, job: PilotJob) -> OwnJob:
        """Submit a job, and return what it is called."""
        submitted_in = for_submission(self.description)
        job.environment = submitted_in.variables
        for variable in submitted_in.left_out:
            _log.warning("pilot '%s': sbatch is not given %s", self.name, variable)
        try:
            self._await(job.start())
        except PilotError as error:
            raise PilotError(f"pilot '{self.name}': {error}") from error
        assert job.own is not None
        return job.own

    def _submit_sizes(self, connection_file: Path, logs: Path) -> None:
        """Submit a job of each size; whichever starts first is the pilot's."""
        with contextlib.suppress(FileNotFoundError):  # of an earlier use of this run directory
            claim_of(self.key, connection_file).rmdir()
        for described in self._sizes:
            job = make_job(described, self.key, connection_file, logs, is_rival=True)
            try:
                self._rivals.append((self.submit(job), described))
            except PilotError as error:  # a limit of submissions, say: others are in the queue
                if not self._rivals:
                    raise
                _log.warning("%s", error)
        self.follow(self._rivals[0][0])

    def chosen(self, known: Mapping[OwnJob, JobInfo]) -> OwnJob | None:
        """Return the job to observe, by what Slurm says of all; cancel others once one started."""
        said = [(job, described, known.get(job)) for job, described in self._rivals]
        started = [one for one in said if one[2] is not None and one[2].has_started]
        # Two that start at the same time: the one that came second ends by itself.
        if len(started) == 1:
            self._settle(*started[0][:2])
        elif said:
            left = [(job, d) for job, d, info in said if info is None or not info.is_over]
            self._rivals = left if len(left) > 1 else []
            self._job = left[0][0] if left else self._job
            if len(left) == 1:
                self._settle(*left[0])
        return self._job

    def _settle(self, job: OwnJob, described: PilotDescription) -> None:
        others = [other for other, _ in self._rivals if other != job]
        self._job, self._rivals, self.description = job, [], described
        for other in others:
            cancel(other)

    def follow(self, job: OwnJob) -> None:
        """Take note that the pilot's job is submitted; the pilot is pending then."""
        self._job = job
        self.move(PilotState.PENDING, f"job {self.job_id}: waiting for Slurm")

    def _await(self, coroutine: Any) -> Any:
        # sbatch has a time limit of its own, and says more when that is over.
        limit_s = 2 * SUBMIT_S + COMMAND_S + 10
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(limit_s)

    @property
    def may_be_left(self) -> bool:
        """Whether the pilot has ended and its job, as far as is known, has not."""
        return self.state.final and self._job is not None and not self._job_ends

    def observe_left(self, job: JobInfo | None, now: float) -> None:
        """Cancel the job of a pilot that was given up, once it turns up."""
        if job is None or job.unknown:
            return
        if job.stranger:
            self._job = None
        elif job.ended or job.state == "COMPLETING":
            self._job_ends = True
        elif now - self._canceled_at > CANCEL_AGAIN_S:
            self._canceled_at = now
            self._cancel()

    def observe(self, joined: int, job: JobInfo | None, now: float) -> None:
        """Take note of how many workers there are and of what Slurm says, None for nothing."""
        if self.state.final or self.job_id is None:
            return
        if joined and self._first_joined is None:
            self._first_joined = now
        if job is None or job.unknown:
            self._observe_missing(joined, now, is_answered=job is not None)
            return
        self._unknown_since = None
        if job.stranger:
            self._disown(job)
            return
        self.ends = job.ends
        # COMPLETING may last for half a minute, which is what processes have to end by Slurm's
        # default.
        self._job_ends = job.ended or job.state == "COMPLETING"
        if job.ended:
            self._end(job)
        elif self._job_ends:  # how it ended is known in a moment
            self.note(PilotState.DRAINING, f"job {self.job_id}: ends")
        elif job.pending:
            self.note(PilotState.PENDING, f"job {self.job_id}: {job.in_words}")
        else:
            self._observe_running(joined, now)

    def _disown(self, job: JobInfo) -> None:
        """Let go of a number that is another job's; `cancel` would find out as well."""
        assert self._job is not None
        own, self._job = self._job, None
        self.move(
            PilotState.FAILED,
            f"job {own.number} is {job.name!r} of the user with uid {job.uid}, expected "
            f"{own.name!r} of uid {os.geteuid()}, so it is left alone; {own.hint}",
        )

    def _observe_missing(self, joined: int, now: float, *, is_answered: bool) -> None:
        """Take note that Slurm knows no such job, or does not answer."""
        if joined:
            self._unknown_since = None
            return
        self._unknown_since = self._unknown_since or now
        is_over = now - self._unknown_since > UNKNOWN_S
        if is_answered and is_over:
            self.move(PilotState.FAILED, f"Slurm does not know job {self.job_id} any more")
        elif is_answered:
            return
        elif not self._was_active:
            # It may stand in the queue all the same, where another one would only stand beside it.
            self.note(self.state, f"job {self.job_id}: Slurm does not answer")
        elif is_over:
            self._give_up(
                f"job {self.job_id} has lost all its workers, and Slurm does not answer for "
                f"{UNKNOWN_S:.0f} s"
            )

    def _observe_running(self, joined: int, now: float) -> None:
        where = f"job {self.job_id}"
        if not joined:
            self._observe_empty(now)
            return
        self._empty_since = None
        ready = joined >= self.slots or now - (self._first_joined or now) > STRAGGLING_S
        if self.state is not PilotState.DRAINING and ready:
            self._was_active = True
            self.note(PilotState.ACTIVE, where)
        if self.ends is not None and self.ends - now < min(
            DRAIN_S, self.description.walltime_s / 5
        ):
            self._gives_back = True
            self.note(PilotState.DRAINING, f"{where}: its time limit is near")
        # Who lets go of it closes it as well, on another thread.
        if self._gives_back and not self._in_flight and not self.is_retired:
            self.close()

    def _observe_empty(self, now: float) -> None:
        """Take note of a running job without workers: it starts, or has lost them all."""
        if not self._was_active:
            self.note(PilotState.STARTING, f"job {self.job_id}: waiting for its workers")
        self._empty_since = self._empty_since or now
        # Ranks start anew whenever a task fails, which takes as long as the first time.
        most = EMPTY_S if self._was_active and self.description.ranks == 1 else JOIN_S
        if now - self._empty_since > most:
            what = "has lost all its workers" if self._was_active else "has no workers"
            self._give_up(f"job {self.job_id} {what} after {most:.0f} s")

    def _end(self, job: JobInfo) -> None:
        reason = f"job {self.job_id}: {job.in_words}"
        if self._gives_back:
            self.move(PilotState.DONE, reason)
        elif job.state == "CANCELLED":
            self.move(PilotState.CANCELED, reason)
        elif self._was_active and self.description.ranks == 1:
            self.move(PilotState.FAILED, reason)
        else:
            self.move(PilotState.FAILED, f"{reason}; its log, {self.log}, ends with:"
                      f"{log_tail(self.log)}")  # fmt: skip

    def _give_up(self, reason: str) -> None:
        tail = f"; its log, {self.log}, ends with:{log_tail(self.log)}"
        self.move(PilotState.FAILED, reason + tail)
        self._cancel()

    def _cancel(self) -> None:
        for job in self.jobs:
            cancel(job)

    def close(self) -> None:
        """Cancel the job."""
        if self.state.final:
            if not self._job_ends:  # it failed on our side
                self._cancel()
            return
        was_submitted = self.job_id is not None
        reason = self.reason if self.is_retired else ""
        self._gives_back = True
        self.move(PilotState.DRAINING, self.reason)
        self._cancel()
        done = was_submitted and self._was_active
        self.move(PilotState.DONE if done else PilotState.CANCELED, reason)
