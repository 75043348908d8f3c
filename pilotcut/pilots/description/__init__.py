"""Pilot descriptions: YAML in, validated frozen descriptions out."""

from pilotcut.pilots.description.pilot import (
    BackendDescription,
    PilotDescription,
    embedded,
    load_descriptions,
    notes,
)

__all__ = [
    "BackendDescription",
    "PilotDescription",
    "embedded",
    "load_descriptions",
    "notes",
]
