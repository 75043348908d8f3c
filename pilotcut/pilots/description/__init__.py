"""Pilot descriptions: YAML in, validated frozen descriptions out."""

from pilotcut.pilots.description.files import embedded, load_descriptions
from pilotcut.pilots.description.pilot import BackendDescription, PilotDescription
from pilotcut.pilots.description.warnings import notes

__all__ = [
    "BackendDescription",
    "PilotDescription",
    "embedded",
    "load_descriptions",
    "notes",
]
