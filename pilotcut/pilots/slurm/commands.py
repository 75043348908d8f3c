"""Commands of Slurm about jobs, and only about jobs of ours.

A number alone is nobody's: sites print banners around it, and on another cluster it is
somebody else's job. So each job has a name that no other has, its number is believed only
where sbatch's answer can be read in one way, and no job is followed or canceled that does
not bear that name and is not this user's. This module refuses to know what a pilot is.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from pilotcut.errors import PilotError

_log = logging.getLogger(__name__)

COMMAND_S = 30.0

#: ``--parsable`` is the number, on a cluster named by the user with ``;CLUSTER`` behind it.
_ANSWER = re.compile(r"([1-9][0-9]{0,9})(?:;([A-Za-z0-9][A-Za-z0-9_.-]*))?")
_MOST = 2**32  # job numbers of Slurm are of 32 bits: a date of 14 digits is none
_SHOWN = 200

#: The name comes last: it may hold anything. %A is a number where %i may be ``7_1``.
_FORMAT = "%A|%T|%r|%S|%e|%N|%U|%j"
_ENDED = {
    "COMPLETED": "its job has completed",
    "CANCELLED": "its job was canceled",
    "FAILED": "its job failed",
    "TIMEOUT": "its job reached its time limit",
    "NODE_FAIL": "a node of its job failed",
    "PREEMPTED": "its job was preempted",
    "OUT_OF_MEMORY": "its job ran out of memory",
    "BOOT_FAIL": "a node of its job did not boot",
    "DEADLINE": "its job reached its deadline",
    "REVOKED": "its job was revoked",
}
_WAITING = {
    "None": "Slurm has not looked at the job yet",
    "Resources": "waiting for nodes to become free",
    "Priority": "waiting behind jobs of higher priority",
    "Dependency": "waiting for another job",
    "BeginTime": "waiting for its begin time",
    "JobHeldUser": "held by its user; release it with scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "PartitionConfig": "asks for more than its queue allows; check nodes and walltime",
    "PartitionNodeLimit": "asks for more nodes than its queue has; check nodes",
    "PartitionTimeLimit": "asks for more time than its queue allows; check walltime",
    "PartitionDown": "its queue is down",
    "PartitionInactive": "its queue is inactive",
    "ReqNodeNotAvail": "the nodes it needs are down, drained or reserved",
    "Licenses": "waiting for a license",
    "Reservation": "waiting for its reservation",
    "BadConstraints": "no node satisfies its constraint",
}


@dataclass(frozen=True)
class OwnJob:
    """A job that we have submitted.

    Attributes
    ----------
    number
        What sbatch has answered.
    name
        The name that no other job has.
    cluster
        Where it is, if sbatch has said so; empty for the one of this machine.
    """

    number: str
    name: str
    cluster: str = ""

    @property
    def hint(self) -> str:
        """How the user finds and ends it without its number."""
        at = "".join(f" {option}" for option in _at(self.cluster))
        return find_hint(self.name, at)


def find_hint(name: str, at: str = "") -> str:
    """Return how a job is found and ended by its name."""
    return f"find it with 'squeue{at} --name={name}', end it with 'scancel{at} --name={name}'"


@dataclass(frozen=True)
class JobInfo:
    """Answer of Slurm about a job; times are seconds since the epoch."""

    state: str
    reason: str = ""
    ends: float | None = None
    nodes: str = ""
    uid: str = ""
    name: str = ""
    stranger: bool = False  # whether it is somebody else's, by its name or its user

    @property
    def pending(self) -> bool:
        """Whether it has not started."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in _ENDED

    @property
    def in_words(self) -> str:
        """Why it waits, or how it ended."""
        if self.ended:
            return _ENDED[self.state]
        known = next((k for k in _WAITING if self.reason.split(",")[0].strip("() ") == k), None)
        if known:
            return _WAITING[known]
        if self.reason.startswith(("QOS", "Assoc")):
            return f"a limit of its account or qos is reached ({self.reason})"
        return f"waiting ({self.reason})" if self.reason else "waiting"


def unique_name(key: str) -> str:
    """Return the name of a job that no other job has."""
    return f"pilotcut-{key}-{secrets.token_hex(4)}"


# -- submission ------------------------------------------------------------------------


def submit(script: str | os.PathLike[str], name: str) -> OwnJob:
    """Submit a job script under a unique name.

    Raises
    ------
    PilotError
        If sbatch refuses it, does not answer, or answers what is not clearly a number; there
        may be a job then, which is left alone, and the message says how to find it.
    """
    # On the command line: SBATCH_JOB_NAME would beat the script's own line.
    command = ["sbatch", "--parsable", f"--job-name={name}", os.fspath(script)]
    done = _run(command, _submitting())
    if done is None:
        raise PilotError(
            f"sbatch did not answer within {COMMAND_S:.0f} s, so there may be a job or none; "
            f"{find_hint(name)}"
        )
    if done.returncode:
        maybe = (
            f"; if there is a job all the same, {find_hint(name)}" if done.stdout.strip() else ""
        )
        raise PilotError(f"sbatch refused it: {_said(done)}{maybe}")
    answer = parse_submission(done.stdout)
    if answer is None:
        raise PilotError(
            f"sbatch --parsable printed {_shown(done.stdout)}, expected one line with the number "
            f"of the job alone, so the job is left alone; {find_hint(name)}"
        )
    return OwnJob(answer[0], name, answer[1])


def parse_submission(text: str) -> tuple[str, str] | None:
    r"""Return number and cluster out of what sbatch printed, None if that is not certain.

    Examples
    --------
    >>> parse_submission("Welcome to Cluster4\n6\n"), parse_submission("6;alpha\n")
    (('6', ''), ('6', 'alpha'))
    >>> parse_submission("Welcome to Cluster4\nSubmitted batch job 6\n")
    """
    matches = [_ANSWER.fullmatch(line.strip(" \t\r")) for line in text.split("\n")]
    found = {(m[1], m[2] or "") for m in matches if m and int(m[1]) < _MOST}
    return found.pop() if len(found) == 1 else None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    text = done.stderr.replace("sbatch: error:", "") if done.stderr.strip() else done.stdout
    return " ".join(text.split()) or f"no reason given (exit status {done.returncode})"


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


# -- questions -------------------------------------------------------------------------


def query_jobs(jobs: Iterable[OwnJob]) -> dict[OwnJob, JobInfo]:
    """Return what Slurm knows of some jobs, from one query a cluster; the others are missing."""
    by_cluster: dict[str, list[OwnJob]] = {}
    for job in jobs:
        by_cluster.setdefault(job.cluster, []).append(job)
    found: dict[OwnJob, JobInfo] = {}
    for cluster, group in by_cluster.items():
        said = _ask(cluster, sorted({job.number for job in group}))
        found |= {job: _compared(said[job.number], job) for job in group if job.number in said}
    return found


def _ask(cluster: str, numbers: Sequence[str]) -> dict[str, JobInfo]:
    # All states, since squeue otherwise leaves out jobs that have ended.
    command = ["squeue", "--noheader", "--states=all", f"--format={_FORMAT}", *_at(cluster)]
    done = _run([*command, f"--jobs={','.join(numbers)}"], _asking())
    # A squeue that fails is no answer, not even that there is no such job.
    return {} if done is None else parse_jobs(done.stdout)


def _compared(info: JobInfo, job: OwnJob) -> JobInfo:
    ours = (info.name, info.uid) == (job.name, str(os.geteuid()))
    return replace(info, stranger=not ours)


def parse_jobs(text: str) -> dict[str, JobInfo]:
    """Read the lines of squeue; see `query_jobs`.

    Examples
    --------
    >>> parse_jobs("7|PENDING|Resources|N/A|N/A||1000|pilotcut-p-0a1b2c3d")["7"].in_words
    'waiting for nodes to become free'
    """
    found = {}
    for line in text.splitlines():
        # A torn line has fewer parts; the job is then one that was not mentioned.
        parts = line.strip().split("|", 7)
        if len(parts) == 8 and parts[1]:
            number, state, reason, _, ends, nodes, uid, name = parts
            found[number] = JobInfo(state.split()[0], reason, _time(ends), nodes, uid, name)
    return found


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


# -- the end ---------------------------------------------------------------------------


def cancel(job: OwnJob) -> None:
    """Cancel a job, unless its number turns out to be somebody else's.

    Slurm is asked first, and scancel looks at name and user once more. Where Slurm does not
    answer the question, no number is given to scancel: the name is enough.
    """
    info = query_jobs([job]).get(job)
    if info is not None and (info.stranger or info.ended):
        return
    number = [job.number] if info is not None else []
    whose = [f"--user={os.geteuid()}", f"--name={job.name}"]
    done = _run(["scancel", *whose, *_at(job.cluster), *number], _asking())
    if done is None or done.returncode:
        why = "no answer" if done is None else " ".join(done.stderr.split())
        _log.warning("job %s may not be canceled (%s); %s", job.number, why, job.hint)


# -- how commands are run --------------------------------------------------------------


def _at(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _submitting() -> dict[str, str]:
    """Return our environment without what would make sbatch submit an array, or wait."""
    return {k: v for k, v in os.environ.items() if k not in ("SBATCH_ARRAY_INX", "SBATCH_WAIT")}


def _asking() -> dict[str, str]:
    """Return our environment without what would narrow a question, or ask one back."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SCANCEL_"))}
    return kept | {"SLURM_TIME_FORMAT": "standard"}


def _run(
    command: Sequence[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str] | None:
    """Return how a command ended; None if it took too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # of a site's wrapper, what it has started ends too
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    with process:
        try:
            out, err = process.communicate(timeout=COMMAND_S)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
