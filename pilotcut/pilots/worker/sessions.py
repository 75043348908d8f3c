"""Sessions of pilots' devices: each is kept by a process of its own, which ends with its pilot.

A vendor's session costs until it is closed, also if those who opened it are killed. So whoever
looks after a pilot's workers (an agent, or the manager of an in-process pilot) starts a keeper,
`pilotcut.backends.session_keeper`, and holds a pipe to it: the end of the pipe, which comes with
any death, is the end of the session. The session's id is in a file that workers read. Of batches
there is one a query: a worker asks for that of the query whose work it runs, by a file beside, and
whoever ends the query has it closed by another. This module owns pipe and files, and refuses to
know what a session is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.errors import DeviceError, PilotError
from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.worker import process_tree

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription

#: Where workers of a pilot find the file, and where an agent finds what to open. Not in its
#: command line, which all users of a machine can read.
VARIABLE, ASKED = "PILOTCUT_SESSION_FILE", "PILOTCUT_SESSION"
#: How long a session may take to open, and how long a keeper is waited for at the end.
OPEN_S, CLOSE_S = 120.0, 20.0
_POLL_S = 0.05
#: What the file has of batches, by query, and how files beside it are called.
BATCHES, WANTED, ENDED = "batches", "wanted", "over"

#: Files of the pilots whose workers are threads of this process, by the pilot's name.
_HERE: dict[str, Path] = {}


class SessionKeeper:
    """A process that opens a pilot's session and closes it.

    Parameters
    ----------
    pilot
        The pilot's name.
    qpu
        The description of its device in JSON.
    """

    def __init__(self, pilot: str, qpu: str) -> None:
        self._pilot = pilot
        self.file = Path(tempfile.mkdtemp(prefix="pilotcut-session-")) / "session.json"
        # Without the mark of those who start it, since what carries that is ended with them, and
        # in a session of its own, as its signals would be theirs too.
        env = {k: v for k, v in os.environ.items() if k != process_tree.VARIABLE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pilotcut.backends.session_keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=env | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        asked = {"pilot": pilot, "qpu": qpu, "file": str(self.file)}
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()

    def wait_open(self) -> None:
        """Wait until the session is open.

        Raises
        ------
        PilotError
            If it cannot be opened, with the reason.
        """
        limit = time.monotonic() + OPEN_S
        while not (found := _read(self.file)):
            if self.process.poll() is not None or time.monotonic() > limit:
                self.close()
                raise PilotError(
                    f"pilot '{self._pilot}': its session could not be opened in {OPEN_S:g} s"
                )
            time.sleep(_POLL_S)
        if "fault" in found:
            self.close()
            raise PilotError(found["fault"])

    def close(self) -> None:
        """Close the session; its keeper is not ended before it has."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(CLOSE_S)


def asked_for(description: PilotDescription) -> dict[str, str]:
    """Return what an agent's environment says of the session to open, {} for none."""
    qpu = description.backend.qpu
    if qpu is None or not qpu.keeps_session:
        return {}
    asked = {"pilot": description.name, "qpu": qpu.model_dump_json(exclude_unset=True)}
    return {ASKED: json.dumps(asked)}


def open_here(description: PilotDescription) -> Callable[[], None]:
    """Open the session of a pilot whose workers are threads of this process; return what closes it.

    Raises
    ------
    PilotError
        If it cannot be opened.
    """
    asked, name = asked_for(description), description.name
    if not asked:
        return lambda: None
    keeper = SessionKeeper(**json.loads(asked[ASKED]))
    keeper.wait_open()
    _HERE[name] = keeper.file

    def close() -> None:
        _HERE.pop(name, None)
        keeper.close()

    return close


@contextlib.asynccontextmanager
async def kept_session(env: dict[str, str]) -> AsyncIterator[None]:
    """Keep the session that this agent's environment asks for, and tell workers by theirs."""
    asked = os.environ.pop(ASKED, None)
    if asked is None:
        yield
        return
    keeper = SessionKeeper(**json.loads(asked))
    try:
        await asyncio.to_thread(keeper.wait_open)
        env[VARIABLE] = str(keeper.file)
        yield
    finally:
        await asyncio.to_thread(keeper.close)


def session_file(pilot: str) -> Path | None:
    """Return the file with the session of a pilot's workers, None where there is none."""
    said = os.environ.get(VARIABLE)
    return _HERE.get(pilot) or (Path(said) if said else None)


_QUERY: ContextVar[str] = ContextVar("query", default="")


@contextlib.contextmanager
def during(query: str) -> Iterator[None]:
    """Have what this thread runs meanwhile belong to a query, which has a batch of its own."""
    token = _QUERY.set(query)
    try:
        yield
    finally:
        _QUERY.reset(token)


def current_query() -> str:
    """Return the query that this thread runs a part of, "" for none with a batch."""
    return _QUERY.get()


def session_of(pilot: str) -> str | None:
    """Return the id of the session of a pilot's workers, or of this query's batch, if any.

    Raises
    ------
    DeviceError
        If no batch is opened for the query.
    """
    file = session_file(pilot)
    found = {} if file is None else _read(file)
    if file is None or BATCHES not in found:
        return found.get("session")
    if not (query := current_query()):
        return None
    batch = found[BATCHES].get(query)
    batch = _another(file, "") if batch is None else batch
    if not batch:
        raise DeviceError(
            f"pilot '{pilot}': no batch could be opened for this query, or it has ended; expected "
            "a service that opens one, or access: shared"
        )
    return str(batch)


def write_session(file: Path, content: dict[str, Any]) -> None:
    """Write what a keeper has to say."""
    write_atomically(file, json.dumps(content), permissions=0o600)


def ask_for_another(pilot: str, old: str, patience_s: float = OPEN_S) -> str | None:
    """Return the id of a session in the place of one that has ended, None if none comes."""
    file = session_file(pilot)
    if file is None:
        return None
    return _another(file, old, patience_s)


def _another(file: Path, old: str, patience_s: float = OPEN_S) -> str | None:
    limit = time.monotonic() + patience_s
    query = current_query()
    with contextlib.suppress(OSError):
        write_atomically(_beside(file, WANTED, query) if query else request_of(file), old)
    while time.monotonic() < limit and file.exists():
        found = _read(file)
        new = found.get(BATCHES, {}).get(query) if query else found.get("session")
        if new is not None and new != old:
            return str(new)
        time.sleep(_POLL_S)
    return None


def end_query(pilot: str, query: str) -> None:
    """Have the batch of a query closed, by the pilot that it was opened for."""
    if (file := session_file(pilot)) is not None:
        with contextlib.suppress(OSError):
            write_atomically(_beside(file, ENDED, query), "")


def requests_by_query(file: Path, what: str) -> dict[str, str]:
    """Return what workers have asked for, or ended, since the last call: texts by query."""
    found = {}
    for one in file.parent.glob(f"{what}-*"):
        with contextlib.suppress(OSError):
            found[one.name.removeprefix(f"{what}-")] = one.read_text()
            one.unlink()
    return found


def _beside(file: Path, what: str, query: str) -> Path:
    return file.with_name(f"{what}-{query}")


def request_of(file: Path) -> Path:
    """Return the file by which workers say that a session has ended."""
    return file.with_name("ended")


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
