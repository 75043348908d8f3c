"""Keepers: which process keeps the pilots of a run directory, and that another one takes over.

A keeper and the scheduler of its pilots look after each other: each starts the other again when
that has died. Refuses to know what a keeper does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from pilotcut.errors import PilotError, UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.connection import FILE_NAME as CONNECTION
from pilotcut.pilots.worker.connection import Connection

#: Says which process keeps the pilots, and since when there were how many of them.
FILE_NAME = "keeper.json"

_WATCH_S = 1.0
#: How long a scheduler waits for its address to be that of the connection file.
_STRANGE_S = 60.0
#: How often keepers may begin within such a time: more often something is wrong.
_MOST, _WITHIN_S = 6, 600.0


def remember(run_dir: Path, pilots_file: Path) -> None:
    """Write down that this process is the keeper.

    Raises
    ------
    PilotError
        If too many were it lately.
    """
    pid, now = os.getpid(), time.time()
    begun = [when for when in _read(run_dir).get("begun", []) if now - when < _WITHIN_S]
    if len(begun) >= _MOST:
        raise PilotError(
            f"the keeper of {run_dir} has died {len(begun)} times within {_WITHIN_S:.0f} s, so it "
            f"is not started again; its log says why"
        )
    record = {"pid": pid, "started": psutil.Process(pid).create_time(), "file": str(pilots_file)}
    begun_here = {"begun": [*begun, now], "host": socket.gethostname()}
    write_atomically(run_dir / FILE_NAME, json.dumps(record | begun_here))


def alive(run_dir: Path) -> psutil.Process | None:
    """Return the keeper's process; its start time guards against another with its number."""
    with contextlib.suppress(KeyError, TypeError, psutil.NoSuchProcess):
        record = _read(run_dir)
        process = psutil.Process(record["pid"])
        # Numbers of processes are given again; a zombie is one that has ended, and was not waited
        # for.
        same = abs(process.create_time() - record["started"]) < 1.0
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def check_is_here(run_dir: Path) -> None:
    """Raise a `UserError` if the keeper runs on another machine, where it cannot be looked after.

    File systems that machines share need not keep two keepers apart.
    """
    host = _read(run_dir).get("host", socket.gethostname())
    if host != socket.gethostname() and (run_dir / CONNECTION).exists():
        raise UserError(
            f"the pilots of {run_dir} are kept on '{host}', expected this command there; if that "
            f"machine is gone, remove {run_dir / FILE_NAME} and give the command again"
        )


def _read(run_dir: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return {}


def start(run_dir: Path, pilots_file: str) -> subprocess.Popen[bytes]:
    """Start a keeper, which outlives this process and its terminal."""
    # The mark of what ends with this process is not for the keeper.
    env = {k: v for k, v in os.environ.items() if k != process_tree.VARIABLE}
    with (run_dir / "logs" / "keeper.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pilotcut.pilots.daemon", str(run_dir), pilots_file],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )


def start_next(run_dir: Path) -> subprocess.Popen[bytes] | None:
    """Start the next keeper in place of one that has died; what it says is in its log."""
    with contextlib.suppress(OSError):
        return start(run_dir, _read(run_dir).get("file", ""))
    return None


async def outlive(
    run_dir: Path, address: str, told_to_end: asyncio.Event, patience_s: float
) -> None:
    """Return once we are told to end, or nobody keeps the pilots by our scheduler any more.

    A keeper that has died is started again; one that has ended has removed the connection file,
    and one that died before it had written our address there is followed by one with another
    scheduler.
    """
    away, strange = 0.0, 0.0
    starting: subprocess.Popen[bytes] | None = None
    while not told_to_end.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told_to_end.wait(), _WATCH_S)
            return
        now = time.monotonic()
        if alive(run_dir) is not None:
            away, starting = 0.0, None
            strange = 0.0 if _is_ours(run_dir, address) else strange or now
            if strange and now - strange > _STRANGE_S:
                return
            continue
        away = away or now
        if now - away > patience_s or not (run_dir / CONNECTION).exists():
            return
        if starting is None or _has_died(starting, run_dir):
            starting = start_next(run_dir)


def _has_died(process: subprocess.Popen[bytes], run_dir: Path) -> bool:
    """Return whether one that we have started was a keeper, or killed before; else it has refused.

    It may have come and gone between two looks.
    """
    code = process.poll()
    return code is not None and (code < 0 or _read(run_dir).get("pid") == process.pid)


def _is_ours(run_dir: Path, address: str) -> bool:
    try:
        return Connection.read(run_dir / CONNECTION).address == address
    except PilotError:  # it is written just now, or removed: then told_to_end follows
        return False
