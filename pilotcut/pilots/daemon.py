"""Daemon of pilots that outlive a command: it keeps them until it is told to end.

    python -m pilotcut.pilots.daemon RUN_DIR PILOTS.yaml

``pilotcut pilots up`` starts it and ``pilots down`` ends it. ``keeper.json`` says which
process it is, and it makes ``keeper.ready`` once its pilots are up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from pilotcut.errors import PilotError, UserError
from pilotcut.io.directory_lock import locked
from pilotcut.io.new_directory import private_directory
from pilotcut.pilots.agent import keepers
from pilotcut.pilots.agent.process import log_tail
from pilotcut.pilots.keeper import KeptManager, cancel_left, left_connection

FILE_NAME = keepers.FILE_NAME
_READY = "keeper.ready"
_POLL_S = 0.1
_START_S, _STOP_S = 90.0, 30.0


def serve(run_dir: Path, pilots_file: Path) -> None:
    """Keep the pilots of a file until SIGTERM, or until all of them have ended.

    Those that a keeper has left which died are taken over.
    """
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    with locked(run_dir / "logs"):
        keepers.remember(run_dir, pilots_file)
        (run_dir / _READY).unlink(missing_ok=True)
        manager = KeptManager.from_yaml(pilots_file, run_dir=run_dir)
        _start(manager)
        with manager:
            (run_dir / _READY).touch()
            while not stopping.wait(_POLL_S):
                if manager.lost.is_set():
                    _begin_again("the scheduler has ended by itself")
                if all(pilot.state.final for pilot in manager.pilots):
                    break
        cancel_left(run_dir)
    _forget(run_dir)


def _start(manager: KeptManager) -> None:
    try:
        manager.start()
    except PilotError as error:
        if not manager.takes_over:
            raise
        _begin_again(f"what was left could not be taken over ({error})")


def _begin_again(why: str) -> None:
    """Take over from ourselves: what a keeper does that finds no scheduler is done in one place."""
    print(f"{why}; the keeper begins again", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "pilotcut.pilots.daemon", *sys.argv[1:]])


def up(run_dir: Path, pilots_file: Path) -> None:
    """Start a daemon, and return once its pilots can be used or wait for Slurm.

    Raises
    ------
    PilotError
        With what it said, if it ends before that.
    """
    keepers.check_is_here(run_dir)
    if keepers.alive(run_dir) is not None:
        raise UserError(
            f"{run_dir} already has running pilots, expected none; end them with 'pilotcut pilots "
            f"down --run-dir {run_dir}', or give another --run-dir"
        )
    private_directory(run_dir)
    (run_dir / "logs").mkdir(exist_ok=True)
    (run_dir / _READY).unlink(missing_ok=True)
    log = run_dir / "logs" / "keeper.log"
    process = keepers.start(run_dir, str(pilots_file))
    deadline = time.monotonic() + _START_S
    # The daemon's own word is waited for: while it ended pilots that had failed, it was taken for
    # ready by its process alone.
    while not (run_dir / _READY).exists():
        # The scheduler may just have started another one, which is as good.
        if process.poll() is not None and keepers.alive(run_dir) is None:
            if left_connection(run_dir) is None:
                _forget(run_dir)
            raise PilotError(f"the pilots did not start; {log} ends with:{log_tail(log)}")
        if time.monotonic() > deadline:
            raise PilotError(f"the pilots were not ready in time; see {log}")
        time.sleep(_POLL_S)


def down(run_dir: Path) -> None:
    """End a daemon and all its pilots, also those that one has left which died.

    Raises
    ------
    UserError
        If none runs there, or on another machine.
    """
    keepers.check_is_here(run_dir)
    process = keepers.alive(run_dir)
    if process is None:
        if left_connection(run_dir) is not None:
            cancel_left(run_dir)
            _forget(run_dir)
            return
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
    return keepers.alive(run_dir) is not None


def _forget(run_dir: Path) -> None:
    for name in (FILE_NAME, _READY):
        (run_dir / name).unlink(missing_ok=True)


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
