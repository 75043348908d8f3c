"""Journal of a manager: what it writes down of its pilots, in the run directory if there is one.

Owns `events.jsonl` and `pilots.json`. Refuses to know why a pilot changes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pilotcut.io.jsonl import JsonLines
from pilotcut.pilots import registry
from pilotcut.pilots.pilot import Pilot


class Journal:
    """Writes changes of pilots, and what is to be known of them beside.

    Attributes
    ----------
    events
        One record for each change; kept in memory until `begin`.
    """

    def __init__(self) -> None:
        self.events = JsonLines()
        self._writing = threading.Lock()

    def begin(self, run_dir: Path) -> None:
        """Write into a directory from now on, with what came before."""
        # Not vital: a run goes on without the events that find no space.
        early, self.events = self.events, JsonLines(run_dir / "events.jsonl", vital=False)
        for record in early.records:
            self.events.write(record)

    def change(self, pilot: Pilot) -> None:
        """Write that a pilot has entered a state, or stays in it for another reason."""
        record = {"time": time.time(), "event": "pilot", "pilot": pilot.name}
        self.events.write(record | {"state": pilot.state.value, "reason": pilot.reason})

    def note(self, pilot: Pilot, text: str) -> None:
        """Write what is to be known of a pilot and is no change of it."""
        record = {"time": time.time(), "event": "note", "pilot": pilot.name}
        self.events.write(record | {"reason": text})

    def list_pilots(self, connection_file: Path | None, pilots: Sequence[Pilot]) -> None:
        """Write the registry beside the connection file, if there is one."""
        if connection_file is not None:
            with self._writing, contextlib.suppress(OSError):  # the directory may be gone by now
                registry.write(connection_file.with_name(registry.FILE_NAME), pilots)
