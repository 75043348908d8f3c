"""Remote pilots: managed by another process, used from this one."""

from __future__ import annotations

from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.registry import RegistryEntry


class RemotePilot(DaskPilot):
    """A pilot that another process manages; its state is what the registry says."""

    def __init__(self, entry: RegistryEntry) -> None:
        super().__init__(entry.description)
        self._key = entry.key

    @property
    def key(self) -> str:
        """What tells this pilot's workers from all others."""
        return self._key

    def mirror(self, entry: RegistryEntry) -> None:
        """Take over the state that its manager gives."""
        if entry.description != self.description:
            self.description = entry.description
        self.note(entry.state, entry.reason)

    def close(self) -> None:
        """Let go of the pilot; it stays with its manager."""
        self.move(PilotState.DONE, "not used from here any more")
