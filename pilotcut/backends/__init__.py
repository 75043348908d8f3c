"""Backends by name, one instance a process, so that what they compile is kept."""

from __future__ import annotations

import os
from functools import lru_cache

from pilotcut.backends.base import Backend
from pilotcut.errors import UserError

NAMES = ("aer",)


def check_backend(name: str) -> str:
    """Return the name if there is such a backend.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in NAMES:
        raise UserError(f"backend is '{name}', expected one of {', '.join(NAMES)}")
    return name


@lru_cache(maxsize=8)
def backend(name: str) -> Backend:
    """Return this process's backend of that name.

    A pilot says on which device its workers simulate, through PILOTCUT_AER_DEVICE.
    """
    check_backend(name)
    from pilotcut.backends.aer import AerBackend

    return AerBackend(device=os.environ.get("PILOTCUT_AER_DEVICE", "CPU"))
