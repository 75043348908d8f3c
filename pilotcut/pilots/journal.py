"""Journal of a manager: what it writes down of its pilots, in the run directory if there is one.

Owns `events.jsonl` and `pilots.json`. Refuses to know why a pilot changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotcut.io.jsonl import JsonLines, unwritten
from pilotcut.pilots import registry
from pilotcut.pilots.pilot import Pilot
from pilotcut.pilots.usage import CoreUsage

_log = logging.getLogger(__name__)

#: How often it is written what other programs have used.
OTHERS_S = 10.0


class _Counted(JsonLines):
    """Records that are counted as they are written."""

    def __init__(self, usage: CoreUsage, path: Path | None = None, *, vital: bool = True) -> None:
        super().__init__(path, vital=vital)
        self._usage, self._counting = usage, threading.Lock()

    def write(self, record: dict[str, Any]) -> None:
        """Count a record and append it."""
        with self._counting:
            self._usage.take(record)
        super().write(record)


class Journal:
    """Writes changes of pilots, and what is to be known of them beside.

    Attributes
    ----------
    events
        One record for each change; kept in memory until `begin`.
    usage
        What the pilots held, and tasks used, by these records.
    """

    def __init__(self) -> None:
        self.usage = CoreUsage()
        self.events: JsonLines = _Counted(self.usage)
        self._counted_others = 0.0
        self._writing = threading.Lock()
        self._is_behind = False

    def begin(self, run_dir: Path) -> None:
        """Write into a directory from now on, with what came before."""
        # Not vital: a run goes on without the events that find no space.
        early, self.usage = self.events, CoreUsage()
        self.events = _Counted(self.usage, run_dir / "events.jsonl", vital=False)
        for record in early.records:
            self.events.write(record)

    def change(self, pilot: Pilot) -> None:
        """Write that a pilot has entered a state, or stays in it for another reason."""
        record = {"time": time.time(), "event": "pilot", "pilot": pilot.name}
        state = {"state": pilot.state.value, "reason": pilot.reason}
        self.events.write(record | state | {"cores": pilot.description.cores})

    def note(self, pilot: Pilot, text: str) -> None:
        """Write and log what is to be known of a pilot and is no change of it."""
        record = {"time": time.time(), "event": "note", "pilot": pilot.name}
        self.events.write(record | {"reason": text})
        _log.warning("pilot '%s': %s", pilot.name, text)

    def count_others(self, used: Mapping[str, Mapping[str, float]], now: float) -> None:
        """Write what tasks of other programs used, by program and pilot, now and then."""
        if now - self._counted_others < OTHERS_S:
            return
        self._counted_others = now
        total: dict[str, float] = {}
        for of_one in used.values():
            for pilot, core_s in of_one.items():
                total[pilot] = total.get(pilot, 0.0) + core_s
        if total != self.usage.by_others:
            self.events.write({"time": time.time(), "event": "usage", "used": total})

    def list_pilots(self, connection_file: Path | None, pilots: Sequence[Pilot]) -> None:
        """Write the registry beside the connection file, if there is one.

        Where that fails, those who use the pilots see what was true before: `list_again` tries it
        until it is written.
        """
        if connection_file is None:
            return
        path = connection_file.with_name(registry.FILE_NAME)
        with self._writing:
            was_behind, self._is_behind = self._is_behind, False
            try:
                registry.write(path, pilots)
            except OSError as error:
                # The directory may be gone by now, with all who would read it.
                self._is_behind = path.parent.exists()
                if self._is_behind and not was_behind:
                    _log.warning("%s", unwritten(path, error))

    def list_again(self, connection_file: Path | None, pilots: Sequence[Pilot]) -> None:
        """Write the registry if it could not be written before."""
        if self._is_behind:
            self.list_pilots(connection_file, pilots)
