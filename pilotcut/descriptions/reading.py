"""Description files as plain data: YAML, read so that nothing in it is lost or guessed.

A key that is given twice is refused, and 10:30:00 stays a text. This module refuses to know
what the data mean.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pilotcut.descriptions.faults import hint, show
from pilotcut.errors import DescriptionError


def read_entries(path: str | os.PathLike[str]) -> tuple[list[Any], list[str]]:
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
    faults = [
        f"{show(key)} is an unknown key, expected 'pilots'{hint(key, ['pilots'])}"
        for key in data
        if key != "pilots"
    ]
    entries = data.get("pilots")
    if isinstance(entries, list) and entries:
        return entries, faults
    found = f"is {show(entries)}" if "pilots" in data else "is missing"
    faults.append(f"pilots {found}, expected a list of at least one pilot")
    raise DescriptionError([f"{path}: {fault}" for fault in faults])


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
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date such as 2026-99-99
        reason = " ".join(str(error).split())
        raise DescriptionError(f"{path}: not valid YAML: {reason}") from None
    except RecursionError:
        raise DescriptionError(f"{path}: not valid YAML: nested too deeply") from None


def _why_unreadable(path: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read: {error.strerror}"
    siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return "does not exist" + (f"; did you mean '{path.parent / close[0]}'?" if close else "")


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
