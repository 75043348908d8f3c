"""Environment variables that hold whole numbers, written by others: OpenMP, Slurm."""

from __future__ import annotations

import os

from pilotcut.errors import UserError


def threads(otherwise: int = 1) -> int:
    """Return how many threads OMP_NUM_THREADS gives a process, `otherwise` if nothing is said.

    OpenMP takes a number for each level of nested parallelism, such as ``4,2``: the first is
    that of the process. Nothing, as in ``OMP_NUM_THREADS=``, says nothing.

    Raises
    ------
    UserError
        If it says something else.
    """
    name = "OMP_NUM_THREADS"
    said = os.environ.get(name, "").strip()
    if not said:
        return otherwise
    levels = [level.strip() for level in said.split(",")]
    if not all(_is_number(level) and int(level) >= 1 for level in levels):
        raise UserError(
            f"{name} is {said!r}, expected a whole number from 1 up, or several such as 4,2; set "
            f"it to {otherwise}, or to nothing"
        )
    return int(levels[0])


def whole_number(name: str, otherwise: int, least: int = 0) -> int:
    """Return the whole number in an environment variable, `otherwise` if there is nothing in it.

    Raises
    ------
    UserError
        If there is something else in it.
    """
    said = os.environ.get(name, "").strip()
    if not said:
        return otherwise
    if not _is_number(said) or int(said) < least:
        raise UserError(
            f"{name} is {said!r}, expected a whole number from {least} up; unset it if nobody "
            f"meant to set it"
        )
    return int(said)


def _is_number(text: str) -> bool:
    # ASCII alone: int() reads the digits of any script, which OpenMP and Slurm do not.
    digits = text.removeprefix("+")
    return digits.isascii() and digits.isdecimal() and len(digits) < 10
