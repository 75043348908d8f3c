"""Types of a pilot description's fields: what a value may be, and the words where it is not.

This module refuses to know how fields depend on each other (`pilot`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from pilotcut.pilots.description import kinds, slurm
from pilotcut.pilots.description.faults import EXPECTED, misfit

#: Most pilots that one manager has, and most workers, ranks, nodes or cores of a node of one.
MOST_PILOTS, MOST_SLOTS = 1000, 2**16

_METHOD = re.compile(r"[a-z0-9_]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
WALLTIME = re.compile(r"(?:([0-9]{1,3})-)?([0-9]{1,3}):([0-5][0-9]):([0-5][0-9])")
# The digits are bounded, since a number beyond floats has no bytes.
MEMORY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([KMGT]i?B)")
MEMORY_UNITS = {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}


def _only(fits: Callable[[Any], Any], expected: str) -> AfterValidator:
    """Return a validator that refuses values which do not fit, in words of ours."""

    def validate(value: Any) -> Any:
        if not fits(value):
            raise misfit(expected)
        return value

    return AfterValidator(validate)


def _at_most(most: int) -> AfterValidator:
    return _only(lambda value: value <= most, f"at most {most}")


def _resource(value: str, info: ValidationInfo) -> str:
    if kinds.ANY_KIND in (info.context or ()) or kinds.is_known(value):
        return value
    if value == kinds.EXECUTOR:
        raise misfit(
            "another kind, for an executor cannot be described; use PilotManager.from_executor"
        )
    *others, last = kinds.known()
    raise misfit(f"{', '.join(others)} or {last}")


def _directive(value: str, info: ValidationInfo) -> str:
    try:
        return slurm.check_directive(value, info.data.get("gpus_per_node"))
    except ValueError as error:
        raise misfit(str(error)) from None


def _is_path(value: str) -> bool:
    # It is quoted in the job script, where the shell would leave ~ and $ as they are.
    is_word = value.isprintable() and value == value.strip() != "" and value[0] not in "-~"
    return is_word and "$" not in value


def _is_launcher(value: str) -> bool:
    try:
        words = shlex.split(value)
    except ValueError:  # a quote without its other half
        return False
    return value.isprintable() and bool(words) and words[0] != "" and words[0][0] not in "-~$"


def _fits_a_script(value: str) -> bool:
    """Return whether a text can be written to a file; else `setup` is the user's own shell."""
    return "\0" not in value and not re.search("[\ud800-\udfff]", value)


_not_none = _only(re.compile("[1-9]").search, "more than none")


def is_walltime(value: str) -> bool:
    """Return whether a text is a time of more than none."""
    return WALLTIME.fullmatch(value) is not None and re.search("[1-9]", value) is not None


Name = Annotated[str, _only(_NAME.fullmatch, EXPECTED["name"])]
Walltime = Annotated[str, _only(WALLTIME.fullmatch, EXPECTED["walltime"]), _not_none]
Memory = Annotated[str, _only(MEMORY.fullmatch, EXPECTED["memory_per_node"]), _not_none]
Method = Annotated[str, _only(_METHOD.fullmatch, EXPECTED["backend.method"])]
SlurmName = Annotated[str, _only(slurm.is_name, slurm.NAME)]
Constraint = Annotated[str, _only(slurm.is_constraint, slurm.CONSTRAINT)]
Directive = Annotated[str, AfterValidator(_directive)]
Resource = Annotated[str, AfterValidator(_resource)]
Shell = Annotated[str, _only(_fits_a_script, "a text that can be written to a file")]
Python = Annotated[str, _only(_is_path, EXPECTED["python"])]
Launcher = Annotated[str, _only(_is_launcher, EXPECTED["launcher"])]
Cores = Annotated[int, Field(ge=1), _at_most(MOST_SLOTS)]
Group = Annotated[str, _only(lambda group: group == group.strip() != "", "a group's name")]
Count = Annotated[int, Field(ge=1), _at_most(MOST_PILOTS)]
