"""Keeper of a pilot's session, or batches: opened, replaced if they expire, closed at the end.

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
from pilotcut.io.extras import require
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.pilots.worker.sessions import (
    BATCHES,
    ENDED,
    WANTED,
    request_of,
    requests_by_query,
    write_session,
)

#: Pause between two looks, and how many queries are remembered that have ended.
_LOOK_S, _KEPT = 0.1, 100


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
        qpu = QpuDescription.model_validate_json(asked["qpu"])
        client = _client_of(asked["pilot"], qpu)
        session = "" if qpu.way == "batch" else client.open()
    except Exception as error:
        fault = str(error) if isinstance(error, UserError) else type(error).__name__
        if not isinstance(error, UserError):
            fault = f"pilot '{asked['pilot']}': its session cannot be opened ({fault})"
        write_session(file, {"fault": fault})
        _wait_for_end(read)
    else:
        if qpu.way == "batch":
            _keep_batches(client, file, read)
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
        require(f"pilot '{pilot}': backend.qpu.runtime", "ibm")
        import qiskit_ibm_runtime

        kind = "Batch" if qpu.way == "batch" else "Session"
        return RuntimeSessions(qiskit_ibm_runtime, runtime_backend(pilot, qpu.runtime), kind)
    sampler = sampler_of(pilot, qpu)
    if lacking := [name for name in METHODS if not callable(getattr(sampler, name, None))]:
        raise DescriptionError(
            f"pilot '{pilot}': backend.qpu.access is {qpu.way}, expected a sampler with "
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


def _keep_batches(client: SessionClient, file: Path, signals: int) -> None:
    """Open a batch for each query that asks for one, and close it when the query has ended."""
    known: dict[str, str] = {}  # '' for those that have ended
    try:
        write_session(file, {BATCHES: known})
        while not _ended(signals, _LOOK_S):
            wanted, ended = (requests_by_query(file, what) for what in (WANTED, ENDED))
            for query, old in wanted.items():
                _open_batch(client, known, query, old)
            for query in ended:
                if batch := known.get(query):
                    _close(client, batch)
                known[query] = ""
            if wanted or ended:
                write_session(file, {BATCHES: known})
                over = [query for query, batch in known.items() if not batch]
                for query in over[:-_KEPT]:
                    del known[query]
    finally:
        for batch in filter(None, known.values()):
            _close(client, batch)


def _open_batch(client: SessionClient, known: dict[str, str], query: str, old: str) -> None:
    """Open a query's batch, or another one in the place of `old`, unless that takes jobs."""
    now = known.get(query)
    if now == "" or now not in (None, old):
        return
    try:
        if now is None or not client.is_open(now):
            known[query] = client.open()
    except Exception as error:
        print(f"batch: {type(error).__name__} at its beginning", file=sys.stderr)
        known[query] = ""


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
