"""Description files: from YAML to checked descriptions.

A file is a mapping with one key, ``pilots``, a list::

    pilots:
      - name: laptop
        resource: local
        cores_per_node: 2

This module owns how entries become descriptions, and reports every fault of a file at once. What
counts as a fault in a field is known to `pilotcut.pilots.description.pilot`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pilotcut.errors import DescriptionError
from pilotcut.io.yaml_reader import TooMuchError, load_yaml
from pilotcut.options import closest, did_you_mean, kind_fault
from pilotcut.pilots.description.access import DevicePrice, JobLimits
from pilotcut.pilots.description.calibration import QpuCalibration
from pilotcut.pilots.description.elastic import ElasticDescription, SizeDescription
from pilotcut.pilots.description.faults import fault_line, show
from pilotcut.pilots.description.field_types import MOST_PILOTS
from pilotcut.pilots.description.pilot import BackendDescription, PilotDescription
from pilotcut.pilots.description.pilot_quantum import translate
from pilotcut.pilots.description.qpu import VENDORS, QpuDescription
from pilotcut.pilots.description.runtime import RuntimeDescription, VendorDescription

#: Where the descriptions lie that come with pilotcut.
SHIPPED = Path(__file__).parent / "shipped"

#: Most bytes of a file.
MOST_BYTES = 2**19
TOO_MANY = (
    f"more than {MOST_PILOTS} pilots are described, expected at most so many; give each of them "
    f"more workers instead"
)

#: Names of the fields, for unknown keys: of a pilot, and of its backend.
_KNOWN = {
    "": tuple(PilotDescription.model_fields),
    "elastic": tuple(ElasticDescription.model_fields),
    "sizes[]": tuple(SizeDescription.model_fields),
    "backend": tuple(BackendDescription.model_fields),
    "backend.qpu": tuple(QpuDescription.model_fields),
    "backend.qpu.runtime": tuple(RuntimeDescription.model_fields),
    "backend.qpu.calibrations[]": tuple(QpuCalibration.model_fields),
    "backend.qpu.limits": tuple(JobLimits.model_fields),
    "backend.qpu.price": tuple(DevicePrice.model_fields),
    **{f"backend.qpu.{name}": tuple(VendorDescription.model_fields) for name in VENDORS},
}


def load_descriptions(path: str | os.PathLike[str]) -> tuple[PilotDescription, ...]:
    """Return the pilots that a YAML file describes, one for each of its ``count``.

    Parameters
    ----------
    path
        The description file, or the name of one that comes with pilotcut; see `file_of`.

    Returns
    -------
    tuple of PilotDescription
        In the file's order; ``count: 2`` of pilot ``p`` gives ``p-0`` and ``p-1``.

    Raises
    ------
    DescriptionError
        With one line for every fault of the file.
    """
    entries, faults = _read_entries(path)
    described: list[PilotDescription] = []
    for i, entry in enumerate(entries):
        described += _parse(entry, i, faults)
        if len(described) > MOST_PILOTS:
            raise DescriptionError(f"{path}: {TOO_MANY}")
    faults += duplicates(described)
    if faults:
        raise DescriptionError([f"{path}: {fault}" for fault in faults])
    return tuple(described)


def file_of(path: str | os.PathLike[str]) -> Path:
    """Return the file of a description: itself, or that of a name, such as ``laptop``.

    A name has no folder and no suffix. A file of that name in the working directory comes first.

    Raises
    ------
    DescriptionError
        If it is a name, and nothing that comes with pilotcut is called so.

    Examples
    --------
    >>> file_of("laptop").name, str(file_of("mine.yaml"))
    ('laptop.yaml', 'mine.yaml')
    """
    found = Path(path)
    if found.suffix or found.exists() or len(found.parts) != 1 or os.sep in os.fspath(path):
        return found
    if (shipped := SHIPPED / f"{found}.yaml").exists():
        return shipped
    names = shipped_names()
    raise DescriptionError(
        f"{path}: does not exist, expected a YAML file or one of {', '.join(names)}, which come "
        f"with pilotcut{did_you_mean(found, names)}"
    )


def shipped_names() -> list[str]:
    """Return the names of the descriptions that come with pilotcut."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


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


def _parse(entry: Any, index: int, faults: list[str]) -> list[PilotDescription]:
    """Return the pilots of one entry; append one line to `faults` for each fault."""
    if not isinstance(entry, Mapping):
        faults.append(f"pilot {index + 1}: is {show(entry)}, expected a mapping of fields")
        return []
    name = entry.get("name")
    label = f"pilot {show(name)}" if isinstance(name, str) else f"pilot {index + 1}"
    # A key need not be a text in YAML; pydantic would drop out of the collection of faults.
    ours = translate({str(key): value for key, value in entry.items()})
    lines = list(ours.faults)
    try:
        pilot = PilotDescription.model_validate(ours.fields)
    except ValidationError as error:
        found = error.errors(include_url=False)
        lines += [fault_line(ours.fields, fault, _KNOWN, ours.names) for fault in found]
    if lines:
        faults += [f"{label}: {line}" for line in dict.fromkeys(lines)]
        return []
    pilot._notes = tuple(f"{label}: {note}" for note in ours.notes)
    if "count" not in ours.fields:
        return [pilot]
    return [
        pilot.model_copy(update={"name": f"{pilot.name}-{i}", "count": 1})
        for i in range(pilot.count)
    ]


def duplicates(pilots: Sequence[PilotDescription]) -> list[str]:
    """Return a line for each name that several pilots have."""
    return [
        f"pilot '{name}': name is given {times} times, expected different names"
        for name, times in Counter(pilot.name for pilot in pilots).items()
        if times > 1
    ]


# -- reading a file -----------------------------------------------------------------------


def _read_entries(path: str | os.PathLike[str]) -> tuple[list[Any], list[str]]:
    """Return the list under the key ``pilots`` of a file, and what is wrong around it.

    Raises
    ------
    DescriptionError
        If there is no such list to go on with.
    """
    data = _read(path)
    if not isinstance(data, Mapping):
        found = "is empty" if data is None else f"holds {show(data)}"
        raise DescriptionError(f"{path}: {found}, expected a mapping with the key 'pilots'")
    if "pilots" not in data and {"address", "certificate"} <= data.keys():
        raise DescriptionError(
            f"{path}: is the connection file of running pilots, expected a description of pilots; "
            f"pilotcut train takes it as --pilots, and a script by PilotManager.from_environment()"
        )
    faults = [
        f"{show(key)} is an unknown key, expected 'pilots'"
        f"{did_you_mean(key, ['pilots']) or '; call it x-... if it only holds what others merge'}"
        for key in data
        if key != "pilots" and not str(key).startswith("x-")
    ]
    entries = data.get("pilots")
    if isinstance(entries, list) and entries:
        return entries, faults
    found = f"is {show(entries)}" if "pilots" in data else "is missing"
    faults.append(f"pilots {found}, expected a list of at least one pilot")
    raise DescriptionError([f"{path}: {fault}" for fault in faults])


def _read(path: str | os.PathLike[str]) -> Any:
    if fault := kind_fault("pilots", path, (str, os.PathLike), "the path of a file"):
        raise DescriptionError(fault)
    try:
        content = _content(file_of(path))
        text = content.decode("utf-8")
    except OSError as error:
        raise DescriptionError(f"{path}: {_why_unreadable(Path(path), error)}") from None
    except UnicodeDecodeError:
        raise DescriptionError(f"{path}: is not a text file, expected YAML in UTF-8") from None
    if len(content) > MOST_BYTES:
        raise DescriptionError(
            f"{path}: has more than {MOST_BYTES} bytes, expected at most so many; say what pilots "
            f"have in common once, with count or anchors"
        )
    try:
        return load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = "" if isinstance(error, TooMuchError) else "not valid YAML: "
        raise DescriptionError(f"{path}: {line}{what}{error.problem}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DescriptionError(f"{path}: not valid YAML: {reason}") from None


def _content(path: Path) -> bytes:
    """Return a file, or as much of it as tells that it is too long."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _why_unreadable(path: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read: {error.strerror}"
    siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    close = closest(path.name, siblings)
    return "does not exist" + (f"; did you mean '{path.parent / close}'?" if close else "")
