"""Pilots: placeholder allocations whose workers run the tasks bound to them late.

Names are imported on first use: workers import what lies below this package, and need no manager.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotcut.pilots.manager import PilotManager
    from pilotcut.pilots.pilot import Pilot, PilotState

__all__ = ["Pilot", "PilotManager", "PilotState"]

_HOME = {
    "Pilot": "pilotcut.pilots.pilot",
    "PilotManager": "pilotcut.pilots.manager",
    "PilotState": "pilotcut.pilots.pilot",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pilotcut.pilots' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
