"""Keeper of a pilot's session: opens it, replaces one that expires, closes it at the end.

    python -m pilotcut.backends.session_keeper

The first line of stdin says what to open (see `pilotcut.pilots.worker.sessions`), the end of
stdin that the pilot has ended, however that came. SIGTERM, which Slurm sends to all of a job,
ends it as well. What goes wrong at first is told in the file; afterwards the session is closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from pilotcut.backends.device_sessions import (
    METHODS,
    RuntimeSessions,
    SamplerSessions,
    SessionClient,
)
from pilotcut.backends.samplers import runtime_backend, sampler_of
from pilotcut.errors import DescriptionError, UserError
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.pilots.worker.sessions import request_of, write_session

_LOOK_S = 0.1


def main() -> None:
    """Keep one session."""
    # Before anything is opened: a signal in between would leave a session behind.
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)
    asked = json.loads(sys.stdin.readline())
    file = Path(asked["file"])
    try:
        client = _client_of(asked["pilot"], QpuDescription.model_validate_json(asked["qpu"]))
        session = client.open()
    except Exception as error:
        fault = str(error) if isinstance(error, UserError) else type(error).__name__
        if not isinstance(error, UserError):
            fault = f"pilot '{asked['pilot']}': its session cannot be opened ({fault})"
        write_session(file, {"fault": fault})
        _wait_for_end(read)
    else:
        _keep(client, session, file, read)
    finally:
        shutil.rmtree(file.parent, ignore_errors=True)


def _client_of(pilot: str, qpu: QpuDescription) -> SessionClient:
    """Return what opens and closes sessions of a pilot's device.

    Raises
    ------
    DescriptionError
        If its sampler has none.
    """
    if qpu.runtime is not None:
        import qiskit_ibm_runtime

        return RuntimeSessions(qiskit_ibm_runtime, runtime_backend(pilot, qpu.runtime))
    sampler = sampler_of(pilot, qpu)
    if lacking := [name for name in METHODS if not callable(getattr(sampler, name, None))]:
        raise DescriptionError(
            f"pilot '{pilot}': backend.qpu.access is session, expected a sampler with "
            f"{', '.join(METHODS)}, and that of {qpu.sampler} lacks {', '.join(lacking)}; see "
            f"docs/qpus.md, or leave access out"
        )
    return SamplerSessions(sampler)


def _keep(client: SessionClient, session: str, file: Path, signals: int) -> None:
    """Keep a session open, and another one after it, until the pilot ends."""
    try:
        write_session(file, {"session": session})
        while not _ended(signals, _LOOK_S):
            if _is_gone(client, session, request_of(file)):
                session = client.open()
                write_session(file, {"session": session})
    finally:
        _close(client, session)


def _close(client: SessionClient, session: str) -> None:
    """Close a session; a service that does not answer is asked again."""
    for pause_s in (1.0, 5.0, 20.0, 0.0):
        try:
            client.close(session)
            return
        except Exception as error:
            print(f"session {session}: {type(error).__name__} at its end", file=sys.stderr)
            time.sleep(pause_s)


def _is_gone(client: SessionClient, session: str, request: Path) -> bool:
    """Return whether a worker says that a session has ended, and the service too."""
    try:
        said = request.read_text()
    except OSError:
        return False
    with contextlib.suppress(OSError):
        request.unlink()
    return said == session and not client.is_open(session)


def _ended(signals: int, patience_s: float) -> bool:
    ready, _, _ = select.select([sys.stdin, signals], [], [], patience_s)
    return bool(ready)


def _wait_for_end(signals: int) -> None:
    select.select([sys.stdin, signals], [], [])


if __name__ == "__main__":
    main()
