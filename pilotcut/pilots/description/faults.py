"""Faults of a description, one line each: what was found, what was expected, the next move.

This module owns the words of the messages. It refuses to know what is a fault.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from pilotcut.options import did_you_mean
from pilotcut.pilots.description import kinds, slurm
from pilotcut.pilots.description.calibration import QpuCalibration
from pilotcut.pilots.description.credentials import hidden

#: What each field wants, in the words of the messages.
EXPECTED = {
    "name": "letters, digits, '.', '_' and '-', a letter or digit first, at most 64",
    "resource": "inprocess, local, slurm or allocation",
    "nodes": "a whole number from 1 up",
    "cores_per_node": "a whole number from 1 up",
    "gpus_per_node": "a whole number from 0 up",
    "memory_per_node": "an amount such as '4GiB'",
    "walltime": "'HH:MM:SS'",
    "queue": slurm.NAME,
    "account": slurm.NAME,
    "qos": slurm.NAME,
    "reservation": slurm.NAME,
    "constraint": slurm.CONSTRAINT,
    "directives": "a list of texts",
    "setup": "a list of texts",
    "python": "a path or a command's name on one line; '~' and '$' would not be expanded",
    "workers_per_node": "a whole number from 1 up",
    "threads_per_worker": "a whole number from 1 up",
    "ranks": "a whole number from 1 up",
    "mpi": "auto, mpich, openmpi or intel",
    "launcher": "a command with its options such as 'srun --mpi=pmix', to which -n RANKS is added",
    "count": "a whole number from 1 up",
    "most_replacements": "a whole number from 0 up",
    "replace": "true or false",
    "allow_version_mismatch": "true or false",
    "sizes": "a list such as [{nodes: 8}, {nodes: 2}]",
    "hetjob": "a name that all components of one heterogeneous job give",
    "array": "true or false",
    "groups": "a list of groups of tasks such as [encode, refine]",
    "elastic": "a mapping such as {least: 0, most: 8, idle_s: 120, wait_s: 30}",
    "elastic.least": "a whole number from 0 up",
    "elastic.most": "a whole number from 1 to 1000",
    "elastic.idle_s": "seconds, a number above 0",
    "elastic.wait_s": "seconds, a number above 0",
    "elastic.done_s": "seconds, a number above 0",
    "backend": "a mapping such as {kind: aer, device: CPU}",
    "backend.kind": "aer",
    "backend.device": "CPU or GPU",
    "backend.method": "a name: letters, digits and '_'",
    "backend.qpu": "a mapping such as {like: FakeManilaV2}",
    "backend.qpu.like": "a name such as FakeManilaV2, or module:attribute",
    "backend.qpu.simulate": "true or false",
    "backend.qpu.sampler": "module:factory of a Qiskit BaseSamplerV2",
    "backend.qpu.options": "a mapping such as {shots_per_job: 1000}",
    "backend.qpu.runtime": "a mapping such as {backend: ibm_fez, mode: job}",
    "backend.qpu.runtime.backend": "a backend's name such as ibm_fez",
    "backend.qpu.runtime.instance": "a text",
    "backend.qpu.runtime.mode": "job, session or batch",
    "backend.qpu.runtime.sampler": "auto, Sampler or SamplerV2",
    "backend.qpu.runtime.options": "a mapping such as {max_execution_time: 300}",
    "backend.qpu.qrmi": "a mapping such as {backend: ibm_fez}, or {}",
    "backend.qpu.iqm": "a mapping such as {backend: IQMFakeAdonis}",
    "backend.qpu.aqt": "a mapping such as {backend: offline_simulator_no_noise}",
    "backend.qpu.braket": "a mapping such as {backend: braket_sv}",
    "backend.qpu.qrmi.backend": "a backend's name",
    "backend.qpu.qrmi.options": "a mapping such as {url: ...}",
    "backend.qpu.iqm.backend": "a backend's name",
    "backend.qpu.iqm.options": "a mapping such as {url: ...}",
    "backend.qpu.aqt.backend": "a backend's name",
    "backend.qpu.aqt.options": "a mapping such as {url: ...}",
    "backend.qpu.braket.backend": "a backend's name",
    "backend.qpu.braket.options": "a mapping such as {url: ...}",
    "backend.qpu.python": "the path of an interpreter",
    "backend.qpu.mid_circuit": "true or false",
    "backend.qpu.qubits": "a whole number from 1 to 64",
    "backend.qpu.topology": "line, ring, star, grid or full",
    "backend.qpu.basis_gates": "a list such as [rz, sx, x, cz]",
    "backend.qpu.infidelity_1q": "a number from 0 to 0.5",
    "backend.qpu.infidelity_2q": "a number from 0 to 0.75",
    "backend.qpu.coherent_1q": "a number from -1 to 1",
    "backend.qpu.coherent_2q": "a number from -1 to 1",
    "backend.qpu.t1_us": "microseconds, a number above 0",
    "backend.qpu.t2_us": "microseconds, a number above 0",
    "backend.qpu.gate_1q_ns": "nanoseconds, a number from 0 up",
    "backend.qpu.gate_2q_ns": "nanoseconds, a number from 0 up",
    "backend.qpu.readout_us": "microseconds, a number from 0 up",
    "backend.qpu.reset_us": "microseconds, a number from 0 up",
    "backend.qpu.readout_error": "a probability from 0 to 0.5",
    "backend.qpu.offline": "a list of pairs of epochs such as [[5, 10]]",
    "backend.qpu.calibrations": "a list such as [{epoch: 5, infidelity_2q: 0.01}]",
    "backend.qpu.calibrations.epoch": "a whole number from 1 up",
    "backend.qpu.access": "dedicated, session, batch or shared",
    "backend.qpu.limits": "a mapping such as {circuits: 100, shots: 2000, jobs: 3}",
    **{
        f"backend.qpu.limits.{name}": "a whole number from 1 up"
        for name in ("circuits", "shots", "executions", "jobs")
    },
    "backend.qpu.price": "a mapping such as {second: 1.6, shot: 0.001}",
    **{f"backend.qpu.price.{name}": "a number from 0 up" for name in ("second", "shot", "job")},
    "backend.qpu.wait_s": "seconds, a number above 0",
    "backend.qpu.job_s": "seconds, a number above 0",
    "backend.qpu.instead": "simulator",
    "backend.qpu.slurm": "qpu=NAME or gres=qpu:1",
}
EXPECTED |= {
    f"backend.qpu.calibrations.{name}": EXPECTED[f"backend.qpu.{name}"]
    for name in QpuCalibration.model_fields
    if name != "epoch"
}
_COUNTS = {field for field, words in EXPECTED.items() if words.startswith("a whole number")}
_CHOICES = {
    "mpi": ("auto", "mpich", "openmpi", "intel"),
    "backend.kind": ("aer",),
    "backend.device": ("CPU", "GPU"),
    "backend.qpu.topology": ("line", "ring", "star", "grid", "full"),
    "backend.qpu.access": ("dedicated", "session", "batch", "shared"),
    "backend.qpu.runtime.mode": ("job", "session", "batch"),
    "backend.qpu.runtime.sampler": ("auto", "Sampler", "SamplerV2"),
}
_LISTS = ("directives", "setup", "groups")
#: The type of the faults whose message says what was expected.
EXPECTATION = "expected"
#: The type of the faults whose value must not be shown.
_CREDENTIAL = "credential"


def misfit(expected: str) -> PydanticCustomError:
    """Return the fault of a value that is not what was expected, to be raised in a validator."""
    return PydanticCustomError(EXPECTATION, "{expected}", {"expected": expected})


def credential(name: str, where: str) -> PydanticCustomError:
    """Return the fault of an option that looks like a credential; its value is not shown."""
    return PydanticCustomError(
        _CREDENTIAL,
        "{name} looks like a credential, expected none in a description; keep it in {where}",
        {"name": name, "where": where},
    )


def fault_line(
    entry: Mapping[str, Any],
    fault: Any,
    known: Mapping[str, Collection[str]],
    names: Mapping[str, str],
) -> str:
    """Return one of pydantic's faults as `FIELD is VALUE, expected ...; did you mean ...?`.

    Parameters
    ----------
    entry
        What was validated.
    fault
        One of the faults that pydantic found in it.
    known
        Names of the fields, of the whole (key ``""``) and of its parts.
    names
        How the file calls fields that it calls otherwise, such as ``nodes``.
    """
    location = [str(step) for step in fault["loc"]]
    part, depth = _part(location, known)
    own = location[depth]
    field = f"{part}.{own}" if part else own
    if fault["type"] == "extra_forbidden":
        where = _plain(field)
        if len(location) > depth + 1:  # of an element of a list
            part, own = f"{field}[]", location[-1]
            where = f"{field}[{location[depth + 1]}].{_plain(own)}"
        choices = known[part]
        return f"{where} is an unknown key" + (
            did_you_mean(own, choices) or f"; known are {', '.join(choices)}"
        )
    if fault["type"] == "missing" and len(location) > depth + 2:
        missing = EXPECTED.get(f"{field}.{location[-1]}", "a text")
        return f"{field}[{location[depth + 1]}].{location[-1]} is missing, expected {missing}"
    if fault["type"] == "missing":
        return f"{field} is missing, expected {EXPECTED.get(field, 'a text')}"
    if fault["type"] == _CREDENTIAL:
        return f"{field}.{fault['msg']}"
    value: Any = entry
    for step in location[: depth + 1]:
        value = value.get(step)
    if location[-1] == "[key]":
        key = next((name for name in value if str(name) == location[-2]), location[-2])
        return (
            f"{field} has {key!r} for a name, expected texts; write '{key}' in quotes, or the name "
            f"of an option"
        )
    expected, suggestion = EXPECTED.get(field, "a text"), _suggest(field, value)
    if field in _LISTS and len(location) > 1:
        value, expected, suggestion = value[int(location[1])], "a text", ""
        field = f"{field}[{location[1]}]"
    if f"{field}.{location[-1]}" in EXPECTED and len(location) > depth + 2:
        number, own = location[depth + 1], location[-1]
        value, expected = value[int(number)].get(own), EXPECTED[f"{field}.{own}"]
        field = f"{field}[{number}].{own}"
    if fault["type"] == EXPECTATION:
        expected = fault["msg"]
    return f"{names.get(field, field)} is {show(value)}, expected {expected}{suggestion}"


def _part(location: list[str], known: Collection[str]) -> tuple[str, int]:
    """Return the innermost part that has the fault in it, and how deep it lies."""
    depth = 0
    while depth + 1 < len(location) and ".".join(location[: depth + 1]) in known:
        depth += 1
    return ".".join(location[:depth]), depth


def _plain(key: str) -> str:
    """Return a key as it is, if it is one word."""
    return key if re.fullmatch(r"[\w.-]+", key) else show(key)


def show(value: Any) -> str:
    """Return a value as the user wrote it, shortened to stay on one line."""
    if value is None:
        return "empty"
    value = hidden(value)
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _suggest(field: str, value: Any) -> str:
    """Return `; did you mean '...'?` where a likely meaning of `value` is known."""
    if field == "walltime":
        return _suggestion(_likely_walltime(value))
    if field == "memory_per_node":
        likely = _likely_memory(value)
        return _suggestion(likely if likely != value else None)
    if field == "python" and isinstance(value, str):
        return _suggestion(_expanded(value))
    if field in _LISTS and isinstance(value, str):
        return f"; did you mean [{value!r}]?"
    if field in _COUNTS and _is_number(value):
        return f"; did you mean {int(value)}?"
    if field in _COUNTS and isinstance(value, float) and value.is_integer():
        return f"; did you mean {int(value)}?"
    if (number := _likely_number(field, value)) is not None:
        return f"; did you mean {number:g}?"
    if EXPECTED.get(field) == slurm.NAME and is_count(value):
        return _suggestion(str(value))
    return did_you_mean(value, kinds.known() if field == "resource" else _CHOICES.get(field, ()))


def _suggestion(suggestion: str | None) -> str:
    return f"; did you mean '{suggestion}'?" if suggestion else ""


def _likely_walltime(value: Any) -> str | None:
    """Read a bare number as minutes, as Slurm does, and MM:SS as HH:MM."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}:[0-5]\d", value):
        return f"{value.zfill(5)}:00"
    if _is_number(value):
        value = int(value)
    return walltime_of_minutes(value) if is_count(value) and value < 60_000 else None


def walltime_of_minutes(minutes: int) -> str:
    """Return a number of minutes as HH:MM:SS.

    Examples
    --------
    >>> walltime_of_minutes(90)
    '01:30:00'
    """
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def _likely_memory(value: Any) -> str | None:
    if is_count(value):
        return f"{value}GiB" if value < 10_000 else f"{max(1, value // 2**20)}MiB"
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])?i?b?\s*", str(value).lower())
    return f"{match[1]}{(match[2] or 'g').upper()}iB" if match else None


def _likely_number(field: str, value: Any) -> float | None:
    """Read a text as a number: YAML takes 1e-3 for a text, and 1.0e-3 for a number."""
    if not isinstance(value, str) or "number" not in EXPECTED.get(field, ""):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _expanded(path: str) -> str | None:
    """Return what the shell would make of `path`, if that is another one."""
    full = os.path.expanduser(os.path.expandvars(path))
    is_better = full != path and full.isprintable() and full[:1] != "~" and "$" not in full
    return full if is_better else None


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.strip().isdecimal() and len(value) < 10


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number from 1 up, and not `true`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
