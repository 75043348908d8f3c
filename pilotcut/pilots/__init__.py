"""Pilots: placeholder allocations whose workers run the tasks bound to them late."""

from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.pilot import Pilot, PilotState

__all__ = ["Pilot", "PilotManager", "PilotState"]
