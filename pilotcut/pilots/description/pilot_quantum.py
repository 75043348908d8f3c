"""Translation of Pilot-Quantum's descriptions: its names for what a pilot asks for.

Names and meanings are those of `pilot/job/slurm.py` and `pilot/pilot_compute_service.py` of
https://github.com/radical-cybertools/pilot-quantum: walltimes are minutes, resources are
URLs, and what a field does not cover stands as raw lines under ``scheduler_script_commands``.
Each name is replaced by ours with a note, or refused with what to do instead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotcut.pilots.description import slurm
from pilotcut.pilots.description.faults import is_count, show, walltime_of_minutes

#: What has no counterpart, and what to do about it.
_REFUSED = {
    "number_cores": "use cores_per_node",
    "dask_cores": "use cores_per_node",
    "os_ssh_username": "leave it out: nothing is started over ssh",
    "os_ssh_keyfile": "leave it out: nothing is started over ssh",
    "output": "leave it out: logs go to the run directory",
    "error": "leave it out: logs go to the run directory",
    "resource_type": "describe each QPU as a pilot, as 'qpu_fleet' does",
    "quantum": "describe each QPU as a pilot, as 'qpu_fleet' does",
    "dreamer_enabled": "leave it out: the task manager's policy places the tasks",
}
_URL = re.compile(r"(?P<scheme>[a-z]+(?:\+[a-z]+)?)://(?P<host>[^/]*)/?")
_HERE = ("localhost", "127.0.0.1")
#: Options of sbatch whose values fields of ours take as they are.
_OPTIONS = {
    "partition": "queue",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "reservation": "reservation",
}


@dataclass
class Translation:
    """An entry in our names.

    Attributes
    ----------
    fields
        The entry.
    names
        What the file calls fields that it calls otherwise, for messages.
    notes, faults
        What was made of Pilot-Quantum's names, and what could not be, a line each.
    """

    fields: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def put(self, ours: str, value: Any, theirs: str, note: str) -> None:
        """Set a field, unless it says something else already."""
        already = self.fields.get(ours)
        if already is not None and value is not None and already != value:
            other = f"{self.names.get(ours, ours)} is {show(already)}"
            self.faults.append(f"{theirs} is {show(value)} and {other}, expected one of them")
            return
        if value is not None:
            self.fields[ours] = value
            self.names.setdefault(ours, theirs)
        self.notes.append(note)

    def append(self, ours: str, value: Any, theirs: str, note: str) -> None:
        """Add to a list, unless something else stands in its place."""
        already = self.fields.get(ours) or []
        if isinstance(already, list):
            self.names[f"{ours}[{len(already)}]"] = theirs
            self.fields[ours] = [*already, value]
            self.notes.append(note)


def translate(entry: Mapping[str, Any]) -> Translation:
    """Return an entry in our names, with a note for each of Pilot-Quantum's.

    Examples
    --------
    >>> translate({"name": "p", "number_of_nodes": 2, "walltime": 90}).fields
    {'name': 'p', 'walltime': '01:30:00', 'nodes': 2}
    """
    done = Translation(dict(entry))
    if not _is_foreign(entry):
        return done
    for name, rule in _RULES.items():
        if name in entry:
            rule(done, entry[name])
    for name, advice in _REFUSED.items():
        if done.fields.pop(name, None) is not None:
            done.faults.append(f"{name} is Pilot-Quantum's and has no counterpart here; {advice}")
    return done


def _is_foreign(entry: Mapping[str, Any]) -> bool:
    resource = entry.get("resource")
    is_url = isinstance(resource, str) and _URL.fullmatch(resource) is not None
    return is_url or not NAMES.isdisjoint(entry)


# -- one rule a name -------------------------------------------------------------------


def _renamed(theirs: str, ours: str) -> Callable[[Translation, Any], None]:
    def rule(done: Translation, value: Any) -> None:
        del done.fields[theirs]
        done.put(ours, value, theirs, f"{theirs} is Pilot-Quantum's name for {ours}")

    return rule


def _resource(done: Translation, value: Any) -> None:
    url = _URL.fullmatch(value) if isinstance(value, str) else None
    kind = {"slurm": "slurm", "slurm+ssh": "slurm", "ssh": "local", "fork": "local"}.get(
        url["scheme"] if url else ""
    )
    if url is None or kind is None:
        return
    if url["host"] in _HERE:
        done.fields["resource"] = kind
        done.notes.append(f"resource {value} of Pilot-Quantum is {kind} here")
        return
    # What is left must not be told as an unknown resource as well.
    done.fields["resource"] = kind
    done.faults.append(
        f"resource is {show(value)}, expected this machine, for nothing is started over ssh; "
        f"start pilotcut on {url['host'] or 'that machine'} with resource: {kind}"
    )


def _walltime(done: Translation, value: Any) -> None:
    if is_count(value):
        done.fields["walltime"] = walltime_of_minutes(value)
        done.notes.append(
            f"walltime {value} is minutes in Pilot-Quantum: {done.fields['walltime']}"
        )


def _queue(done: Translation, value: Any) -> None:
    if value is not None and done.fields.get("resource") == "slurm":
        done.notes.append(
            "queue is a partition here (sbatch -p); some versions of Pilot-Quantum take it for "
            "a qos (sbatch -q), which is the field qos"
        )


def _type(done: Translation, value: Any) -> None:
    del done.fields["type"]
    if value not in ("dask", "ray"):
        done.faults.append(f"type is {show(value)}, expected dask, or nothing")
        return
    done.notes.append(f"type {value} of Pilot-Quantum has no effect: workers are dask's")


def _working_directory(done: Translation, value: Any) -> None:
    # Pilot-Quantum itself overwrites it with a directory of its service.
    del done.fields["working_directory"]
    done.notes.append("working_directory of Pilot-Quantum has no effect: use --run-dir")


def _conda_environment(done: Translation, value: Any) -> None:
    del done.fields["conda_environment"]
    theirs = "conda_environment"
    if not isinstance(value, str) or not value:
        done.faults.append(f"{theirs} is {show(value)}, expected a path or a name")
    elif "/" in value:
        python = value.rstrip("/") + "/bin/python"
        done.put("python", python, theirs, f"{theirs} of Pilot-Quantum is python: {python} here")
    else:
        done.put("python", "python", theirs, f"{theirs} of Pilot-Quantum is lines of setup here")
        for line in ('eval "$(conda shell.bash hook)"', f"conda activate {shlex.quote(value)}"):
            done.append("setup", line, theirs, f"setup has the line: {line}")


def _scheduler_script_commands(done: Translation, value: Any) -> None:
    theirs = "scheduler_script_commands"
    del done.fields[theirs]
    if not isinstance(value, list):
        done.put("directives", value, theirs, f"{theirs} is Pilot-Quantum's name for directives")
        return
    for index, command in enumerate(value):
        _command(done, command, f"{theirs}[{index}]")


def _command(done: Translation, command: Any, theirs: str) -> None:
    """Take a raw line of a job script for what it says."""
    if isinstance(command, str) and not command.lstrip().startswith("#SBATCH"):
        done.append("setup", command, theirs, f"{theirs} of Pilot-Quantum is a line of setup here")
        return
    ours, value = _field_of(command)
    if ours is None:
        done.append("directives", command, theirs, f"{theirs} of Pilot-Quantum is a directive here")
    else:
        done.put(ours, value, theirs, f"{theirs} of Pilot-Quantum is {ours}: {value} here")


def _field_of(command: Any) -> tuple[str | None, str | None]:
    """Return the field that a directive is about, and its value; None if there is no such."""
    try:
        directive = slurm.parse_directive(str(command))
    except ValueError:  # told when directives are checked
        return None, None
    return _OPTIONS.get(directive.option) if directive.value else None, directive.value


_RULES: dict[str, Callable[[Translation, Any], None]] = {
    "resource": _resource,
    "walltime": _walltime,
    "queue": _queue,
    "number_of_nodes": _renamed("number_of_nodes", "nodes"),
    "project": _renamed("project", "account"),
    "type": _type,
    "working_directory": _working_directory,
    "scheduler_script_commands": _scheduler_script_commands,
    "conda_environment": _conda_environment,
}
#: The names that are not ours.
NAMES = (frozenset(_RULES) - {"resource", "walltime", "queue"}) | frozenset(_REFUSED)
