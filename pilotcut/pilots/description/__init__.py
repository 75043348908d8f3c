"""Pilot descriptions: YAML in, validated frozen descriptions out.

Names are imported on first use: agents and workers need a module below, and no pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotcut.pilots.description.files import embedded, file_of, load_descriptions
    from pilotcut.pilots.description.pilot import BackendDescription, PilotDescription
    from pilotcut.pilots.description.warnings import notes

__all__ = [
    "BackendDescription",
    "PilotDescription",
    "embedded",
    "file_of",
    "load_descriptions",
    "notes",
]

_HOME = {
    "BackendDescription": "pilotcut.pilots.description.pilot",
    "PilotDescription": "pilotcut.pilots.description.pilot",
    "embedded": "pilotcut.pilots.description.files",
    "file_of": "pilotcut.pilots.description.files",
    "load_descriptions": "pilotcut.pilots.description.files",
    "notes": "pilotcut.pilots.description.warnings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pilotcut.pilots.description' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
