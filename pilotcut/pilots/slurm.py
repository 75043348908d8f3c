"""Pilots that are Slurm jobs: one dask-jobqueue job each, of one node or several.

Two sources tell what becomes of a pilot, and each is believed on its own subject: dask's
scheduler knows which workers there are, which decides where tasks go; Slurm knows the job,
which decides the pilot's state and the reason. A job that Slurm does not know for a while
is not a job that has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.errors import PilotError
from pilotcut.pilots.agent.node_config import node_layout
from pilotcut.pilots.agent.process import log_tail, python_path
from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.external import srun_agent
from pilotcut.pilots.jobs import COMMAND_S, JobInfo, OwnJob, cancel
from pilotcut.pilots.payload import THREAD_VARIABLES
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.scheduler import SchedulerLink

if TYPE_CHECKING:
    from pilotcut.pilots.slurm_job import PilotJob

_IMPORTING = threading.Lock()
#: A job that runs must have workers after this time, and again if it loses them all.
JOIN_S, EMPTY_S = 90.0, 15.0
#: Workers that joined are used at the latest this long after the first of them.
STRAGGLING_S = 5.0
#: A job that neither Slurm nor dask knows is given up after this time.
UNKNOWN_S = 60.0
#: No task is bound to a pilot this shortly before its job's time limit.
DRAIN_S = 20.0


# -- the job script --------------------------------------------------------------------


def make_job(
    description: PilotDescription, key: str, connection_file: Path, logs: Path
) -> PilotJob:
    """Return the job of a pilot, not yet submitted.

    Every value of the description is checked (see `pilotcut.pilots.description`) or quoted; only
    the lines of `setup` are the user's own shell.
    """
    try:
        job_class = _pilot_job()
    except ImportError as error:
        raise PilotError(
            f"pilot '{description.name}': resource slurm needs dask-jobqueue, which is not "
            f"installed; install it with: pip install dask-jobqueue"
        ) from error
    # Of dask-jobqueue we use the submission. What it would write into the header and the
    # command, in part out of the user's jobqueue.yaml, is replaced by what is asked for.
    job = job_class(
        "of the connection file",
        name=key,
        cores=description.cores_per_node,
        job_cpu=description.cores_per_node,
        processes=description.workers_per_node,
        memory="1GiB",
        job_mem="1G",
        walltime=description.walltime,
        interface="",
        worker_extra_args=[],
        shebang="#!/usr/bin/env bash",
        job_script_prologue=_prologue(description),
        log_directory=os.curdir,  # which exists: it would be made
    )
    job.job_header = "\n".join(f"#SBATCH {line}" for line in _directives(description, key, logs))
    job._command_template = _command(description, key, connection_file)
    return job


def _pilot_job() -> type[PilotJob]:
    """Import dask-jobqueue's job without the handler of SIGINT that it would install.

    With that Ctrl-C would end us with status 0, and in a thread the import would fail.
    """
    with _IMPORTING:
        kept = signal.signal
        signal.signal = lambda *_: None  # type: ignore[assignment]
        try:
            from pilotcut.pilots.slurm_job import PilotJob
        finally:
            signal.signal = kept
    return PilotJob


def _directives(d: PilotDescription, key: str, logs: Path) -> list[str]:
    log = str(logs / f"{key}-%j.log")
    if not log.isprintable() or log.count("%") > 1 or "\\" in log:
        raise PilotError(
            f"pilot '{d.name}': its log would be {log!r}, expected a path without '%', '\\' and "
            f"line breaks, which sbatch does not take as they are; use another --run-dir"
        )
    memory = [f"--mem={-(-d.memory_bytes // 2**20)}M"] if d.memory_bytes else []
    named = {
        "partition": d.queue,
        "account": d.account,
        "qos": d.qos,
        "constraint": d.constraint,
        "reservation": d.reservation,
    }
    return [
        f"--job-name=pilotcut-{key}",
        f"--nodes={d.nodes}",
        *_tasks(d),
        *memory,
        *([f"--gres=gpu:{d.gpus_per_node}"] if d.gpus_per_node else []),
        f"--time={d.walltime}",
        *(f"--{name}={shlex.quote(value)}" for name, value in named.items() if value),
        f"--output={shlex.quote(log)}",
        "--no-requeue",
        *d.directives,
    ]


def _tasks(d: PilotDescription) -> list[str]:
    """Return how a node is shared: one agent has all of it, ranks have a part each."""
    each = d.processes_per_node if d.ranks > 1 else 1
    total = [f"--ntasks={d.ranks}"] if d.ranks > 1 else []
    return [*total, f"--ntasks-per-node={each}", f"--cpus-per-task={d.cores_per_node // each}"]


def _prologue(d: PilotDescription) -> list[str]:
    threads = " ".join(f"{name}={d.threads_per_worker}" for name in THREAD_VARIABLES)
    return [
        "set -e",
        f"export PYTHONPATH={shlex.quote(python_path())}",
        f"export {threads}",
        *d.setup,
    ]


def _command(d: PilotDescription, key: str, connection_file: Path) -> str:
    config = node_layout(d, key, allow_version_mismatch=d.allow_version_mismatch)
    config |= {"connection": str(connection_file), "local_directory": None}
    agent = [
        d.python or sys.executable,
        "-m",
        "pilotcut.pilots.agent.main",
        "node",
        json.dumps(config),
    ]
    # The agent of an MPI pilot starts ranks on the other nodes; no other agents are needed.
    alone = d.nodes == 1 or d.ranks > 1
    return "exec " + shlex.join(agent if alone else srun_agent(d, agent))


# -- the pilot -------------------------------------------------------------------------


class SlurmPilot(DaskPilot):
    """Workers in a Slurm job of their own."""

    loss_patience_s = 3.0  # Slurm is asked every second

    def __init__(self, description: PilotDescription, generation: int = 0) -> None:
        super().__init__(description, generation)
        self._job: OwnJob | None = None
        self._logs = Path()
        self._first_joined: float | None = None
        self._empty_since: float | None = None
        self._unknown_since: float | None = None
        self._was_active = False
        self._job_ends = False
        self._gives_back = False

    @property
    def job_id(self) -> str | None:
        """The number of the Slurm job, once it is submitted."""
        return self._job.number if self._job is not None else None

    @property
    def job(self) -> OwnJob | None:
        """The Slurm job, once it is submitted, by all that tells it from others."""
        return self._job

    @property
    def is_ending(self) -> bool:
        """Whether the whole pilot goes, and not a worker alone."""
        return self._job_ends or super().is_ending

    @property
    def log(self) -> Path:
        """Where the job's output goes."""
        return self._logs / f"{self.key}-{self.job_id}.log"

    def check_possible(self) -> None:
        """Raise a `PilotError` if there is no sbatch here."""
        if shutil.which("sbatch") is None:
            raise PilotError(
                f"pilot '{self.name}': there is no sbatch here, expected a machine that submits "
                f"to Slurm; use resource: local on this one"
            )

    def submit(self, scheduler: SchedulerLink, connection_file: Path, logs: Path) -> None:
        """Submit the job; the pilot is pending then.

        Raises
        ------
        PilotError
            With what sbatch says, if it refuses or cannot be understood.
        """
        self._scheduler, self._logs = scheduler, logs
        self.check_possible()
        job = make_job(self.description, self.key, connection_file.resolve(), logs.resolve())
        try:
            self._await(job.start())
        except PilotError as error:
            raise PilotError(f"pilot '{self.name}': {error}") from error
        self._job = job.own
        self.move(PilotState.PENDING, f"job {self.job_id}: waiting for Slurm")

    def _await(self, coroutine: Any) -> Any:
        # sbatch has a time limit of its own, and says more when that is over.
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(COMMAND_S + 10)

    def observe(self, joined: int, job: JobInfo | None, now: float) -> None:
        """Take note of how many workers there are and of what Slurm says."""
        if self.state.final or self.job_id is None:
            return
        if joined and self._first_joined is None:
            self._first_joined = now
        if job is None:
            self._observe_unknown(joined, now)
            return
        self._unknown_since = None
        if job.stranger:
            self._disown(job)
            return
        self.ends = job.ends
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

    def _observe_unknown(self, joined: int, now: float) -> None:
        if joined:
            self._unknown_since = None
            return
        self._unknown_since = self._unknown_since or now
        if now - self._unknown_since > UNKNOWN_S:
            self.move(PilotState.FAILED, f"Slurm does not know job {self.job_id} any more")

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
        if self._gives_back and not self._in_flight:
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
        if self._job is not None:
            cancel(self._job)

    def close(self) -> None:
        """Cancel the job."""
        if self.state.final:
            if not self._job_ends:  # it failed on our side
                self._cancel()
            return
        was_submitted = self.job_id is not None
        self._gives_back = True
        self.move(PilotState.DRAINING, self.reason)
        self._cancel()
        done = was_submitted and self._was_active
        self.move(PilotState.DONE if done else PilotState.CANCELED)


def joined_by_pilot(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the workers of each pilot, by the pilot's key."""
    found: dict[str, list[dict[str, Any]]] = {}
    for worker in workers.values():
        for resource in worker["resources"]:
            if resource.startswith("pilot:"):
                found.setdefault(resource.removeprefix("pilot:"), []).append(dict(worker))
    return found
