"""Board of loads: what waits for elastic pilots, by all who use them.

Task managers of this process say it themselves; those of other programs, which use these pilots
through the connection file, by a file beside that. Refuses to know what is made of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.elastic import PilotLoad, together

#: How often files are looked at, and after which time one that is not written any more is nobody's.
LOOK_S, STALE_S = 1.0, 15.0


class LoadRecord(BaseModel):
    """What another program says: its load by entry, and core-seconds of its tasks by pilot."""

    model_config = ConfigDict(frozen=True)

    loads: dict[str, PilotLoad]
    used: dict[str, float]


class LoadBoard:
    """Keeps what each has said last.

    Attributes
    ----------
    used
        Core-seconds of tasks of other programs, by program and by pilot.
    """

    def __init__(self) -> None:
        self._askers: dict[object, Callable[[], None]] = {}
        self._said: dict[object, Mapping[str, PilotLoad]] = {}
        self._files: dict[str, LoadRecord] = {}
        self._changed: dict[str, tuple[int, float]] = {}
        self._looked = 0.0
        self.used: dict[str, dict[str, float]] = {}

    def on_asked(self, who: object, callback: Callable[[], None]) -> None:
        """Call `callback()` whenever the load is wanted; it answers by `say`, from any thread."""
        self._askers[who] = callback

    def leave(self, who: object) -> None:
        """Ask one no more who has nothing to say any more."""
        self._askers.pop(who, None)
        self.say(who, {})

    def ask(self) -> None:
        """Ask all who know."""
        for callback in tuple(self._askers.values()):
            callback()

    def say(self, who: object, loads: Mapping[str, PilotLoad]) -> None:
        """Take note of a load, by entry; of none any more if there is nothing in it."""
        self._said = {**self._said, who: loads} if loads else _without(self._said, who)

    def of(self, entry: str) -> PilotLoad:
        """Return the load of an entry, of all together."""
        others = [record.loads for record in self._files.values()]
        said = [*self._said.values(), *others]
        return together(loads[entry] for loads in said if entry in loads)

    @property
    def has_others(self) -> bool:
        """Whether other programs use the pilots."""
        return bool(self._files)

    # -- files -----------------------------------------------------------------------------

    def read(self, beside: Path | None, now: float) -> None:
        """Read what other programs say beside a file, if there is one, from time to time."""
        if beside is None or now - self._looked < LOOK_S:
            return
        self._looked = now
        found = {}
        for path in beside.parent.glob("load-*.json"):
            with contextlib.suppress(OSError, ValueError):
                written = path.stat().st_mtime_ns
                # Those of programs that have ended stay, and are not read again and again.
                if self._changed.get(path.name, (0, 0.0))[0] != written:
                    record = LoadRecord.model_validate_json(path.read_bytes())
                    self.used[path.name] = record.used
                    # By our own clock: that of a file server may be another.
                    self._changed[path.name] = (written, now)
                    found[path.name] = record
                elif path.name in self._files and now - self._changed[path.name][1] < STALE_S:
                    found[path.name] = self._files[path.name]
        self._files = found

    def write(self, beside: Path | None, used: Mapping[str, float], now: float) -> None:
        """Write what is said in this process, beside a file of the manager's, now and then."""
        if beside is None or now - self._looked < LOOK_S:
            return
        self._looked = now
        entries = {name for loads in self._said.values() for name in loads}
        record = LoadRecord(loads={name: self.of(name) for name in entries}, used=dict(used))
        with contextlib.suppress(OSError):
            write_atomically(beside.with_name(file_name()), record.model_dump_json().encode())


def file_name() -> str:
    """Return what the file of this process is called."""
    return f"load-{socket.gethostname()}-{os.getpid()}.json"


def _without(
    said: Mapping[object, Mapping[str, PilotLoad]], who: object
) -> dict[object, Mapping[str, PilotLoad]]:
    return {other: loads for other, loads in said.items() if other is not who}
