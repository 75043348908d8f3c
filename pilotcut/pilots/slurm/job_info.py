"""What Slurm says of a job, read from what squeue, scontrol and sacct print.

Refuses to know which command is asked when, and what a pilot makes of the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

#: Of squeue. The name comes last: it may hold anything. %A is a number where %i may be ``7_1``.
SQUEUE_FORMAT = "%A|%T|%r|%S|%e|%N|%U|%j"
#: Of sacct, likewise.
SACCT_FORMAT = "JobIDRaw,State,End,NodeList,UID,JobName"

#: State of a job of which all of Slurm's commands say that there is none.
_UNKNOWN = "UNKNOWN"

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
    # Accepted by sbatch all the same, and never started.
    "PartitionConfig": "will not start: asks for more than its queue allows; check nodes and "
    "walltime",
    "PartitionNodeLimit": "will not start: asks for more nodes than its queue has; check nodes",
    "PartitionTimeLimit": "will not start: asks for more time than its queue allows; check "
    "walltime",
    "PartitionDown": "its queue is down",
    "PartitionInactive": "its queue is inactive",
    "ReqNodeNotAvail": "the nodes it needs are down, drained or reserved",
    "Licenses": "waiting for a license",
    "Reservation": "waiting for its reservation",
    "BadConstraints": "no node satisfies its constraint",
}


@dataclass(frozen=True)
class JobInfo:
    """Answer of Slurm about a job; times are seconds since the epoch.

    Attributes
    ----------
    element
        What it is called as an element of an array of jobs, such as ``7_1``, or as a component of
        a heterogeneous one, such as ``7+1``, where that is known.
    has_others
        Whether others answer to its number too: the last element of an array has the array's own.
    """

    state: str
    reason: str = ""
    ends: float | None = None
    nodes: str = ""
    uid: str = ""
    name: str = ""
    stranger: bool = False  # whether it is somebody else's, by its name or its user
    element: str = ""
    has_others: bool = False

    @property
    def unknown(self) -> bool:
        """Whether Slurm says that there is no such job."""
        return self.state == _UNKNOWN

    @property
    def pending(self) -> bool:
        """Whether it has not started."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in _ENDED

    @property
    def is_over(self) -> bool:
        """Whether it will not be a pilot's any more."""
        return self.ended or self.unknown or self.stranger

    @property
    def has_started(self) -> bool:
        """Whether it holds its nodes."""
        return not (self.pending or self.is_over or self.state == "COMPLETING")

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


#: Answer of Slurm about a job that it does not know, or not any more.
UNKNOWN_JOB = JobInfo(_UNKNOWN)


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


_SCONTROL = {
    "number": re.compile(r"\bJobId=(\d+)"),
    "state": re.compile(r"\bJobState=(\w+)"),
    "reason": re.compile(r"\bReason=(\S+)"),
    "ends": re.compile(r"\bEndTime=(\S+)"),
    "nodes": re.compile(r"\bNodeList=(\S+)"),
    "uid": re.compile(r"\bUserId=[^(\s]*\((\d+)\)"),
    "name": re.compile(r"\bJobName=(.*?) UserId="),
    "array": re.compile(r"\bArrayJobId=(\d+)"),
    "index": re.compile(r"\bArrayTaskId=(\d+)(?!\S)"),
    "hetjob": re.compile(r"\bHetJobId=(\d+)"),
    "offset": re.compile(r"\bHetJobOffset=(\d+)"),
}


def parse_scontrol(text: str) -> dict[str, JobInfo]:
    """Read lines of ``scontrol --oneliner show job``, by number.

    Examples
    --------
    >>> line = "JobId=7 JobName=pilotcut-p UserId=me(1000) JobState=PENDING Reason=Resources"
    >>> found = parse_scontrol(line)["7"]
    >>> found.state, found.name, found.uid
    ('PENDING', 'pilotcut-p', '1000')
    """
    found = {}
    for line in text.splitlines():
        said = {key: match[1] for key, of in _SCONTROL.items() if (match := of.search(line))}
        if "number" in said and "state" in said:
            ends = _time(said.get("ends", ""))
            reason, nodes, uid, name = (said.get(k, "") for k in ("reason", "nodes", "uid", "name"))
            element = ""
            for whole, part, mark in (("array", "index", "_"), ("hetjob", "offset", "+")):
                if {whole, part} <= said.keys():
                    element = f"{said[whole]}{mark}{said[part]}"
            found[said["number"]] = JobInfo(
                said["state"], reason, ends, nodes, uid, name, element=element
            )
    return found


def parse_sacct(text: str) -> dict[str, JobInfo]:
    """Read lines of ``sacct --parsable2`` in `SACCT_FORMAT`, by number.

    Examples
    --------
    >>> parse_sacct("7|CANCELLED by 1000|2026-01-01T00:00:00|n1|1000|pilotcut-p")["7"].in_words
    'its job was canceled'
    """
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|", 5)
        if len(parts) == 6 and parts[1]:
            number, state, ends, nodes, uid, name = parts
            found[number] = JobInfo(state.split()[0], "", _time(ends), nodes, uid, name)
    return found
