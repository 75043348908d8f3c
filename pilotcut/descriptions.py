"""Pilot descriptions: YAML in, validated frozen descriptions out.

This module owns the format of a description file, every default value in it and
every message about a fault in it. It refuses to know how a pilot is started.

A file is a mapping with one key, ``pilots``, a list::

    pilots:
      - name: laptop
        resource: local
        cores_per_node: 2
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pilotcut.errors import DescriptionError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)\Z")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?B)\Z")
_MEMORY_UNITS = {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}

#: What each field wants, in the words of the messages.
_EXPECTED = {
    "name": "letters, digits, '.', '_' and '-', a letter or digit first",
    "resource": "inprocess, local, slurm or allocation",
    "nodes": "a whole number from 1 up",
    "cores_per_node": "a whole number from 1 up",
    "gpus_per_node": "a whole number from 0 up",
    "memory_per_node": "an amount such as '4GiB'",
    "walltime": "'HH:MM:SS'",
    "directives": "a list of texts",
    "setup": "a list of texts",
    "workers_per_node": "a whole number from 1 up",
    "threads_per_worker": "a whole number from 1 up",
    "count": "a whole number from 1 up",
    "most_replacements": "a whole number from 0 up",
    "replace": "true or false",
    "allow_version_mismatch": "true or false",
    "backend": "a mapping such as {kind: aer, device: CPU}",
    "backend.kind": "aer",
    "backend.device": "CPU or GPU",
    "backend.noise": "a name, or a mapping of numbers",
}
_SLURM_FIELDS = ("queue", "account", "qos", "constraint", "reservation", "directives")


class _Frozen(BaseModel):
    # strict: "2" is not 2 and true is not 1; YAML already has types.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BackendDescription(_Frozen):
    """What runs circuits on the workers of a pilot.

    Attributes
    ----------
    kind
        The backend's family, ``"aer"``.
    device
        ``"CPU"`` or ``"GPU"``.
    method
        Simulation method of the backend; ``"automatic"`` leaves the choice to it.
    noise
        Name of a noise model, or its parameters, or None for an ideal device.
    """

    kind: Literal["aer"] = "aer"
    device: Literal["CPU", "GPU"] = "CPU"
    method: str = "automatic"
    noise: str | dict[str, Any] | None = None


class PilotDescription(_Frozen):
    """What a pilot asks for and how its workers are laid out.

    Examples
    --------
    >>> pilot = PilotDescription(name="laptop", resource="local", cores_per_node=4)
    >>> pilot.slots, pilot.walltime_s
    (4, 3600)
    """

    name: str
    resource: Literal["inprocess", "local", "slurm", "allocation"]
    nodes: int = Field(default=1, ge=1)
    cores_per_node: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=0, ge=0)
    memory_per_node: str | None = None
    walltime: str = "01:00:00"
    queue: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    python: str | None = None
    threads_per_worker: int = Field(default=1, ge=1)
    workers_per_node: int = Field(default=1, ge=1)
    backend: BackendDescription = BackendDescription()
    allow_version_mismatch: bool = False
    replace: bool = False
    most_replacements: int = Field(default=3, ge=0)
    count: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _derive_layout(cls, data: Any) -> Any:
        """Fill in whichever of cores and workers was left out from the other."""
        if not isinstance(data, Mapping):
            return data
        data = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        threads = data.get("threads_per_worker", 1)
        cores, workers = data.get("cores_per_node"), data.get("workers_per_node")
        if not _is_count(threads):
            return data
        if cores is None and (workers is None or _is_count(workers)):
            data["cores_per_node"] = threads * (workers or 1)
        elif workers is None and _is_count(cores):
            data["workers_per_node"] = max(1, cores // threads)
        return {key: value for key, value in data.items() if value is not None}

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return _demand(value, bool(_NAME.match(value)))

    @field_validator("walltime")
    @classmethod
    def _check_walltime(cls, value: str) -> str:
        return _demand(value, bool(_WALLTIME.match(value)))

    @field_validator("memory_per_node")
    @classmethod
    def _check_memory(cls, value: str) -> str:
        return _demand(value, bool(_MEMORY.match(value)))

    @field_validator("nodes")
    @classmethod
    def _one_node_here(cls, value: int, info: ValidationInfo) -> int:
        resource = info.data.get("resource")
        if value > 1 and resource in ("inprocess", "local"):
            raise PydanticCustomError("fit", f"1, for resource {resource} is this machine")
        return value

    @field_validator("threads_per_worker")
    @classmethod
    def _worker_fits(cls, value: int, info: ValidationInfo) -> int:
        cores = info.data.get("cores_per_node", value)
        if value > cores:
            raise PydanticCustomError("fit", f"at most cores_per_node, which is {cores}")
        return value

    @field_validator("workers_per_node")
    @classmethod
    def _workers_fit(cls, value: int, info: ValidationInfo) -> int:
        cores, threads = info.data.get("cores_per_node"), info.data.get("threads_per_worker")
        if cores and threads and value * threads > cores:
            raise PydanticCustomError(
                "fit",
                f"at most {cores // threads}: cores_per_node is {cores} "
                f"and threads_per_worker is {threads}",
            )
        return value

    @field_validator("backend")
    @classmethod
    def _gpu_exists(cls, value: BackendDescription, info: ValidationInfo) -> BackendDescription:
        if value.device == "GPU" and info.data.get("gpus_per_node") == 0:
            raise PydanticCustomError("gpu", "gpus_per_node of at least 1 beside device GPU")
        return value

    @property
    def kind(self) -> str:
        """What the pilots of one entry have in common: the name, without a number behind it."""
        return re.sub(r"-\d+\Z", "", self.name)

    @property
    def slots(self) -> int:
        """Number of workers, each of which runs one task at a time."""
        return self.nodes * self.workers_per_node

    @property
    def gpus(self) -> int:
        """Number of GPUs of the whole pilot."""
        return self.nodes * self.gpus_per_node

    @property
    def gpus_per_worker(self) -> int:
        """GPUs that one worker may have to itself, at least 1 where there is any."""
        return min(self.gpus_per_node, max(1, self.gpus_per_node // self.workers_per_node))

    @property
    def walltime_s(self) -> int:
        """Walltime in seconds."""
        match = _WALLTIME.match(self.walltime)
        assert match is not None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def memory_bytes(self) -> int | None:
        """Memory of a node in bytes, None where the description does not say."""
        if self.memory_per_node is None:
            return None
        match = _MEMORY.match(self.memory_per_node)
        assert match is not None
        return int(float(match[1]) * _MEMORY_UNITS[match[2]])


def load_descriptions(path: str | os.PathLike[str]) -> tuple[PilotDescription, ...]:
    """Return the pilots that a YAML file describes, one for each of its ``count``.

    Parameters
    ----------
    path
        The description file.

    Returns
    -------
    tuple of PilotDescription
        In the file's order; ``count: 2`` of pilot ``p`` gives ``p-0`` and ``p-1``.

    Raises
    ------
    DescriptionError
        With one line for every fault of the file.
    """
    entries = _pilot_entries(_read(path), path)
    faults: list[str] = []
    described = [pilot for i, entry in enumerate(entries) for pilot in _parse(entry, i, faults)]
    faults += _duplicates(described)
    if faults:
        raise DescriptionError([f"{path}: {fault}" for fault in faults])
    return tuple(described)


def embedded(workers: int = 1, threads: int = 1) -> tuple[PilotDescription, ...]:
    """Return the description of one in-process pilot, for use without any file.

    Parameters
    ----------
    workers
        Number of tasks that run at the same time, each on a thread of this process.
    threads
        Number of cores that a task may use.

    Examples
    --------
    >>> embedded(workers=2)[0].slots
    2
    """
    entry = {"name": "here", "resource": "inprocess"}
    faults: list[str] = []
    layout = {"workers_per_node": workers, "threads_per_worker": threads}
    pilots = _parse(entry | layout, 0, faults)
    if faults:
        raise DescriptionError([f"embedded: {fault}" for fault in faults])
    return tuple(pilots)


def notes(descriptions: Iterable[PilotDescription], cores: int | None = None) -> tuple[str, ...]:
    """Return what is worth a warning in descriptions that are valid.

    Parameters
    ----------
    descriptions
        The pilots that would run together.
    cores
        Cores of this machine, counted if None.

    Examples
    --------
    >>> notes(embedded(workers=3), cores=2)
    ('3 worker threads share the 2 cores of this machine: tasks will slow each other down',)
    """
    here = [pilot for pilot in descriptions if pilot.resource in ("inprocess", "local")]
    cores = cores or len(os.sched_getaffinity(0))
    threads = sum(pilot.slots * pilot.threads_per_worker for pilot in here)
    found = [
        f"pilot '{pilot.name}': {field} has no effect for resource {pilot.resource}"
        for pilot in here
        for field in _SLURM_FIELDS
        if getattr(pilot, field)
    ]
    if threads > cores:
        found.append(
            f"{threads} worker threads share the {cores} cores of this machine: "
            "tasks will slow each other down"
        )
    return tuple(found)


# -- reading ---------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice and keeps 10:30:00 a text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key}' is given twice, first on line {seen[key]}",
                    key_node.start_mark,
                )  # fmt: skip
            if isinstance(key, Hashable):
                seen[key] = line
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 10:30:00 as the number 37800 in base 60, but 01:30:00 as a text.
_BASE_60 = re.compile(r"[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?\Z")
_Loader.add_implicit_resolver("tag:yaml.org,2002:str", _BASE_60, list("-+0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: sorted(resolvers, key=lambda pair: pair[1] is not _BASE_60)
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _read(path: str | os.PathLike[str]) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DescriptionError(f"{path}: {_why_unreadable(Path(path), error)}") from None
    except UnicodeDecodeError:
        raise DescriptionError(f"{path}: is not a text file, expected YAML in UTF-8") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DescriptionError(f"{path}: {line}not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DescriptionError(f"{path}: not valid YAML: {reason}") from None


def _why_unreadable(path: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read: {error.strerror}"
    siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return "does not exist" + (f"; did you mean '{path.parent / close[0]}'?" if close else "")


def _pilot_entries(data: Any, path: str | os.PathLike[str]) -> list[Any]:
    """Return the raw list under ``pilots``, or say what stands there instead."""
    if data is None:
        raise DescriptionError(f"{path}: is empty, expected a mapping with the key 'pilots'")
    if not isinstance(data, Mapping):
        raise DescriptionError(
            f"{path}: holds {_show(data)}, expected a mapping with the key 'pilots'"
        )
    faults = [
        f"{path}: {_show(key)} is an unknown key, expected 'pilots'{_hint(key, ['pilots'])}"
        for key in data
        if key != "pilots"
    ]
    entries = data.get("pilots")
    if not isinstance(entries, list) or not entries:
        found = f"is {_show(entries)}" if "pilots" in data else "is missing"
        faults.append(f"{path}: pilots {found}, expected a list of at least one pilot")
    if faults:
        raise DescriptionError(faults + _faults_below(entries, path))
    assert isinstance(entries, list)
    return entries


def _faults_below(entries: Any, path: str | os.PathLike[str]) -> list[str]:
    """Return the pilots' own faults too, so that nothing waits for the next attempt."""
    faults: list[str] = []
    for i, entry in enumerate(entries if isinstance(entries, list) else []):
        _parse(entry, i, faults)
    return [f"{path}: {fault}" for fault in faults]


def _parse(entry: Any, index: int, faults: list[str]) -> list[PilotDescription]:
    """Return the pilots of one entry; append one line to `faults` for each fault."""
    if not isinstance(entry, Mapping):
        faults.append(f"pilot {index + 1}: is {_show(entry)}, expected a mapping of fields")
        return []
    name = entry.get("name")
    label = f"pilot '{name}'" if isinstance(name, str) else f"pilot {index + 1}"
    # A key need not be a text in YAML; pydantic would drop out of the collection of faults.
    fields = {str(key): value for key, value in entry.items()}
    try:
        pilot = PilotDescription.model_validate(fields)
    except ValidationError as error:
        lines = [_line(fields, fault) for fault in error.errors(include_url=False)]
        faults += [f"{label}: {line}" for line in dict.fromkeys(lines)]
        return []
    if "count" not in fields:
        return [pilot]
    return [
        pilot.model_copy(update={"name": f"{pilot.name}-{i}", "count": 1})
        for i in range(pilot.count)
    ]


def _duplicates(pilots: Sequence[PilotDescription]) -> list[str]:
    names = [pilot.name for pilot in pilots]
    return [
        f"pilot '{name}': name is given {names.count(name)} times, expected different names"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]


# -- one line per fault ----------------------------------------------------------------


def _line(entry: Mapping[str, Any], fault: Any) -> str:
    """Return one of pydantic's faults as `FIELD is VALUE, expected ...; did you mean ...?`."""
    location = [str(part) for part in fault["loc"]]
    nested = location[0] == "backend" and len(location) > 1
    field = ".".join(location[:2]) if nested else location[0]
    if fault["type"] == "extra_forbidden":
        model = BackendDescription if nested else PilotDescription
        known = list(model.model_fields)
        hint = _hint(location[-1], known) or f"; known are {', '.join(known)}"
        return f"{field} is an unknown key{hint}"
    if fault["type"] == "missing":
        return f"{field} is missing, expected {_EXPECTED.get(field, 'a text')}"
    holder = entry["backend"] if nested else entry
    value = holder.get(location[1 if nested else 0])
    own_words = fault["type"] in ("fit", "gpu")
    expected = fault["msg"] if own_words else _EXPECTED.get(field, "a text")
    hint = "" if own_words else _suggest(field, value)
    return f"{field} is {_show(value)}, expected {expected}{hint}"


def _suggest(field: str, value: Any) -> str:
    """Return `; did you mean '...'?` where a likely meaning of `value` is known."""
    if field == "walltime":
        return _quote(_likely_walltime(value))
    if field == "memory_per_node":
        return _quote(_likely_memory(value))
    if field in ("directives", "setup") and isinstance(value, str):
        return f"; did you mean [{value!r}]?"
    if isinstance(value, str) and field in _COUNTS and value.strip().isdigit():
        return f"; did you mean {value.strip()}?"
    if isinstance(value, float) and field in _COUNTS and value.is_integer():
        return f"; did you mean {int(value)}?"
    return _hint(value, _CHOICES.get(field, ()))


_COUNTS = {field for field, words in _EXPECTED.items() if words.startswith("a whole number")}
_CHOICES = {
    "resource": ("inprocess", "local", "slurm", "allocation"),
    "backend.kind": ("aer",),
    "backend.device": ("CPU", "GPU"),
}


def _likely_walltime(value: Any) -> str | None:
    """Read a bare number as minutes, as Slurm does, and MM:SS as HH:MM."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}:[0-5]\d", value):
        return f"{value.zfill(5)}:00"
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not _is_count(value) or value >= 60_000:
        return None
    return f"{value // 60:02d}:{value % 60:02d}:00"


def _likely_memory(value: Any) -> str | None:
    if _is_count(value):
        return f"{value}GiB" if value < 10_000 else f"{max(1, value // 2**20)}MiB"
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])?i?b?\s*", str(value).lower())
    return f"{match[1]}{(match[2] or 'g').upper()}iB" if match else None


def _hint(value: Any, choices: Iterable[str]) -> str:
    lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(str(value).lower(), list(lower), n=1, cutoff=0.6)
    return _quote(lower[close[0]]) if close else ""


def _quote(suggestion: str | None) -> str:
    return f"; did you mean '{suggestion}'?" if suggestion else ""


def _show(value: Any) -> str:
    """Return a value as the user wrote it, shortened to stay on one line."""
    if value is None:
        return "empty"
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _demand(value: str, is_right: bool) -> str:
    if not is_right:
        raise PydanticCustomError("form", "form")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
