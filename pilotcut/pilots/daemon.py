"""Daemon of pilots that outlive a command: it keeps them until it is told to end.

    python -m pilotcut.pilots.daemon RUN_DIR PILOTS.yaml

``pilotcut pilots up`` starts it and ``pilots down`` ends it. ``keeper.json`` says which
process it is, and it makes ``keeper.ready`` once its pilots are up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from pilotcut.errors import PilotError, UserError
from pilotcut.io.new_directory import private_directory
from pilotcut.pilots.agent.process import log_tail
from pilotcut.pilots.manager import PilotManager

FILE_NAME = "keeper.json"
_READY = "keeper.ready"
_POLL_S = 0.1
_START_S, _STOP_S = 90.0, 30.0


def serve(run_dir: Path, pilots_file: Path) -> None:
    """Keep the pilots of a file until SIGTERM, or until all of them have ended."""
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    with PilotManager.from_yaml(pilots_file, run_dir=run_dir) as manager:
        (run_dir / _READY).touch()
        while not stopping.wait(_POLL_S):
            if all(pilot.state.final for pilot in manager.pilots):
                break
    _forget(run_dir)


def up(run_dir: Path, pilots_file: Path) -> None:
    """Start a daemon, and return once its pilots can be used or wait for Slurm.

    Raises
    ------
    PilotError
        With what it said, if it ends before that.
    """
    if _alive(run_dir) is not None:
        raise UserError(
            f"{run_dir} already has running pilots, expected none; end them with 'pilotcut pilots "
            f"down --run-dir {run_dir}', or give another --run-dir"
        )
    private_directory(run_dir)
    (run_dir / "logs").mkdir(exist_ok=True)
    _forget(run_dir)  # what a killed daemon has left
    log = run_dir / "logs" / "keeper.log"
    command = [sys.executable, "-m", "pilotcut.pilots.daemon", str(run_dir), str(pilots_file)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # it outlives this terminal
        )
    _remember(run_dir, process.pid)
    deadline = time.monotonic() + _START_S
    # The daemon's own word is waited for: while it ended pilots that had failed, it was taken for
    # ready by its process alone.
    while not (run_dir / _READY).exists():
        if process.poll() is not None:
            _forget(run_dir)
            raise PilotError(f"the pilots did not start; {log} ends with:{log_tail(log)}")
        if time.monotonic() > deadline:
            raise PilotError(f"the pilots were not ready in time; see {log}")
        time.sleep(_POLL_S)


def down(run_dir: Path) -> None:
    """End a daemon and all its pilots.

    Raises
    ------
    UserError
        If none runs there.
    """
    process = _alive(run_dir)
    if process is None:
        raise UserError(
            f"{run_dir} has no running pilots, expected the run directory that 'pilotcut pilots "
            f"up' has printed"
        )
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except psutil.TimeoutExpired:
        raise PilotError(f"the keeper, process {process.pid}, did not end in time") from None


def is_up(run_dir: Path) -> bool:
    """Return whether a daemon runs there."""
    return _alive(run_dir) is not None


def _remember(run_dir: Path, pid: int) -> None:
    record = {"pid": pid, "started": psutil.Process(pid).create_time()}
    (run_dir / FILE_NAME).write_text(json.dumps(record), encoding="utf-8")


def _forget(run_dir: Path) -> None:
    for name in (FILE_NAME, _READY):
        (run_dir / name).unlink(missing_ok=True)


def _alive(run_dir: Path) -> psutil.Process | None:
    """Return the daemon's process; its start time guards against another with its number."""
    with contextlib.suppress(OSError, ValueError, KeyError, psutil.NoSuchProcess):
        record = json.loads((run_dir / FILE_NAME).read_text(encoding="utf-8"))
        process = psutil.Process(record["pid"])
        # Numbers of processes are given again; a zombie is one that has ended, and was not waited
        # for.
        same = abs(process.create_time() - record["started"]) < 1.0
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def main(argv: Sequence[str]) -> int:
    """Serve; what goes wrong is a line in the log for each fault."""
    try:
        serve(Path(argv[0]), Path(argv[1]))
    except UserError as error:
        print(*error.faults, sep="\n", file=sys.stderr)
        return 2
    except (PilotError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
