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
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pilotcut.errors import PilotError
from pilotcut.pilots.slurm.environment import for_questions
from pilotcut.pilots.slurm.job_info import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    UNKNOWN_JOB,
    JobInfo,
    parse_jobs,
    parse_sacct,
    parse_scontrol,
)

_log = logging.getLogger(__name__)

COMMAND_S = 30.0
#: sbatch waits for a controller that is away: with slurmctld stopped for 42 s it answered
#: afterwards (Slurm 22.05.8).
SUBMIT_S = 120.0

#: How sbatch fails that did not reach the controller, or does not know whether it did; how long to
#: wait then before it is tried again.
_NO_CONTACT = re.compile(
    "Unable to contact|Connection refused|Socket timed out|temporarily unavailable", re.IGNORECASE
)
_NOT_HEARD = re.compile("Unable to contact|Connection refused", re.IGNORECASE)
PAUSES_S = (2.0, 5.0, 10.0)

#: ``--parsable`` is the number, on a cluster named by the user with ``;CLUSTER`` behind it.
_ANSWER = re.compile(r"([1-9][0-9]{0,9})(?:;([A-Za-z0-9][A-Za-z0-9_.-]*))?")
_MOST = 2**32  # job numbers of Slurm are of 32 bits: a date of 14 digits is none
_SHOWN = 200

#: What squeue and scontrol say, and fail, where there is no such job. All else is no answer.
_NO_SUCH_JOB = "Invalid job id"
#: And what scontrol says, of an element of an array that is there too.
_DENIALS = (_NO_SUCH_JOB, " not found")


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
    element
        Which element of an array it is, such as ``7_1``, or component of a heterogeneous job,
        such as ``7+1``; empty for a job of its own.
    """

    number: str
    name: str
    cluster: str = ""
    element: str = ""

    @property
    def called(self) -> str:
        """How Slurm's commands call it."""
        return self.element or self.number

    @property
    def hint(self) -> str:
        """How the user finds and ends it without its number."""
        at = "".join(f" {option}" for option in _at(self.cluster))
        return find_hint(self.name, at)


def find_hint(name: str, at: str = "") -> str:
    """Return how a job is found and ended by its name."""
    return f"find it with 'squeue{at} --name={name}', end it with 'scancel{at} --name={name}'"


def unique_name(key: str) -> str:
    """Return the name of a job that no other job has."""
    return f"pilotcut-{key}-{secrets.token_hex(4)}"


# -- submission ------------------------------------------------------------------------


def submit(
    script: str | os.PathLike[str], name: str, environment: Mapping[str, str] = os.environ
) -> OwnJob:
    """Submit a job script under a unique name, in such an environment.

    Raises
    ------
    PilotError
        If sbatch refuses it, does not answer, or answers what is not clearly a number; there
        may be a job then, which is left alone, and the message says how to find it.
    """
    command = ["sbatch", "--parsable", f"--job-name={name}", os.fspath(script)]
    began = time.monotonic()
    done = _run(command, environment, SUBMIT_S)
    for pause in PAUSES_S:
        if done is None or not done.returncode or not _NO_CONTACT.search(done.stderr):
            break
        if time.monotonic() - began > SUBMIT_S / 2:
            break
        # It may have been heard all the same: without an answer no second job is risked.
        is_answered, found = _found_by_name(name)
        if found is not None:
            return found
        if not is_answered and not _NOT_HEARD.search(done.stderr):
            break
        _log.warning("sbatch failed, and is tried again in %g s: %s", pause, _said(done))
        time.sleep(pause)
        done = _run(command, environment, SUBMIT_S)
    if done is None:
        if (found := _found_by_name(name)[1]) is not None:
            return found
        raise PilotError(
            f"sbatch did not answer within {SUBMIT_S:.0f} s, so there may be a job or none; "
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
    """Return what Slurm says of some jobs, from one query a cluster.

    An answer, none, and "there is no such job" are three things: jobs of which Slurm has said
    nothing are missing, and those that it does not know are `JobInfo.unknown`.
    """
    groups: dict[tuple[str, str], list[OwnJob]] = {}
    for job in jobs:
        groups.setdefault((job.cluster, job.called.strip("0123456789")), []).append(job)
    found: dict[OwnJob, JobInfo] = {}
    for (cluster, mark), group in groups.items():
        said = _ask(cluster, sorted({job.called for job in group}), mark)
        found |= {job: _compared(said[job.called], job) for job in group if job.called in said}
    return found


def _ask(cluster: str, numbers: Sequence[str], mark: str) -> dict[str, JobInfo]:
    # Elements by their own names: the number of the last one is that of the whole array.
    number = {"": "%A", "_": "%F_%K", "+": "%i"}[mark]
    how = [f"--format={SQUEUE_FORMAT.replace('%A', number)}", *(["--array"] if mark == "_" else [])]
    # All states, since squeue otherwise leaves out jobs that have ended.
    command = ["squeue", "--noheader", "--states=all", *how, *_at(cluster)]
    done = _run([*command, f"--jobs={','.join(numbers)}"], for_questions())
    if done is None:
        return {}
    said = parse_jobs(done.stdout)
    has_others = not said.keys() <= set(numbers)
    found = {n: replace(said[n], has_others=has_others) for n in numbers if n in said}
    if done.returncode and _NO_SUCH_JOB not in done.stderr:
        return found  # it failed: what it does not mention is not known
    # A site's wrapper may print something else and exit with 0: others settle it.
    settled = {number: _settled(cluster, number) for number in numbers if number not in found}
    return found | {number: info for number, info in settled.items() if info is not None}


def _settled(cluster: str, number: str) -> JobInfo | None:
    """Return what the others say of a job that squeue does not mention; None for no answer."""
    show = ["scontrol", *_at(cluster), "--oneliner", "show", "job", number]
    done = _run(show, for_questions())
    if done is None:
        return None
    for key, info in parse_scontrol(done.stdout).items():
        if number in (key, info.element):
            return info
    denied = any(words in done.stdout + done.stderr for words in _DENIALS)
    if not (done.returncode and denied):
        return None
    # The controller does not know it (any more); the accounting may, where there is one.
    report = ["sacct", *_at(cluster), "--allocations", "--noheader", "--parsable2"]
    columns = SACCT_FORMAT if number.isdecimal() else SACCT_FORMAT.replace("JobIDRaw", "JobID")
    done = _run([*report, f"--format={columns}", f"--jobs={number}"], for_questions())
    told = {} if done is None or done.returncode else parse_sacct(done.stdout)
    return told.get(number, UNKNOWN_JOB)


def _found_by_name(name: str) -> tuple[bool, OwnJob | None]:
    """Return whether squeue answers, and the one job of that name, if there is one here."""
    # Of an array the number of all, and of any other job its own.
    command = ["squeue", "--noheader", f"--format={SQUEUE_FORMAT.replace('%A', '%F')}"]
    done = _run([*command, f"--name={name}", f"--user={os.geteuid()}"], for_questions())
    found = parse_jobs("" if done is None else done.stdout)
    jobs = [OwnJob(number, name) for number, info in found.items() if info.name == name]
    return done is not None and not done.returncode, jobs[0] if len(jobs) == 1 else None


def _compared(info: JobInfo, job: OwnJob) -> JobInfo:
    ours = info.unknown or (info.name, info.uid) == (job.name, str(os.geteuid()))
    return replace(info, stranger=not ours)


# -- the end ---------------------------------------------------------------------------


def cancel(job: OwnJob) -> None:
    """Cancel a job, unless its number turns out to be somebody else's.

    Slurm is asked first, and scancel looks at name and user once more. Where Slurm does not
    answer the question, no number is given to scancel: the name is enough.
    """
    info = query_jobs([job]).get(job)
    if info is not None and (info.stranger or info.ended):
        return
    number = [] if info is None or info.unknown else [job.number]
    if info is not None and info.has_others and not job.element:
        # With the number of an array all its elements would go, which have one name.
        alone = _settled(job.cluster, job.number)
        if alone is None or not alone.element:
            _log.warning("job %s is not canceled: others have its number; %s", job.number, job.hint)
            return
        number = [alone.element]
    if job.element:  # with the name alone all of them would go
        number = [job.element]
    whose = [f"--user={os.geteuid()}", f"--name={job.name}"]
    done = _run(["scancel", *whose, *_at(job.cluster), *number], for_questions())
    if done is None or done.returncode:
        why = "no answer" if done is None else " ".join(done.stderr.split())
        _log.warning("job %s may not be canceled (%s); %s", job.number, why, job.hint)


# -- how commands are run --------------------------------------------------------------


def _at(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _run(
    command: Sequence[str], environment: Mapping[str, str], limit_s: float | None = None
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
            out, err = process.communicate(timeout=COMMAND_S if limit_s is None else limit_s)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
