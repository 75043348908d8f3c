"""Process trees: what tasks have started ends with their worker, however that ends.

Tasks may start processes: pools, loaders of data, commands. A worker that is killed takes none
of them along, and some would wait for it for ever; a process group would not hold those that
begin a session of their own. So each life of a worker has a mark in its environment, which all
processes below it inherit, and whoever looks after workers ends what carries the mark of one
that is gone. A mark holds those above it: to end an agent's is to end all its workers'.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import time
import types
import uuid
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle

VARIABLE = "PILOTCUT_LINEAGE"

#: How long processes may take to end by SIGTERM, which launchers of ranks pass on, and by SIGKILL.
_TERM_S, _KILL_S = 1.0, 2.0
_POLL_S = 0.02


@functools.cache
def allow_processes() -> None:
    """Let tasks of this process start others as they would in the program that they come from.

    A worker was spawned, and would spawn; and what a task has brought along from ``__main__``
    is in no module here, where multiprocessing looks for it.
    """
    multiprocessing.set_start_method(None, force=True)
    ForkingPickler.reducer_override = _by_value  # type: ignore[method-assign]


def _by_value(_: Any, what: Any) -> Any:
    if not isinstance(what, types.FunctionType | type) or what.__module__ != "__main__":
        return NotImplemented
    # This process's own __main__ has it under its name, by which pickle finds it.
    if getattr(sys.modules["__main__"], what.__qualname__, None) is what:
        return NotImplemented
    return cloudpickle.loads, (cloudpickle.dumps(what),)


def new_mark(above: str | None = None) -> str:
    """Return a mark below another, by default that of this process."""
    above = os.environ.get(VARIABLE, "") if above is None else above
    return f"{above}/{uuid.uuid4().hex}"


def marked(mark: str) -> dict[str, str]:
    """Return what a process is started with to carry a mark, and to show it."""
    # setproctitle, which dask uses if it is there, would write over what /proc shows.
    return {VARIABLE: mark, "SPT_NOENV": "1"}


def end_all(mark: str) -> None:
    """End every process of this machine but this one that carries a mark, or one below it."""
    for signum, patience_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        signaled: set[int] = set()
        limit = time.monotonic() + patience_s
        while (found := set(_carriers(mark))) and time.monotonic() < limit:
            for pid in found - signaled:  # also those that came meanwhile
                with contextlib.suppress(OSError):
                    os.kill(pid, signum)
            signaled |= found
            time.sleep(_POLL_S)
        if not found:
            return


def is_gone(pid: int) -> bool:
    """Return whether a process of this machine has ended, waited for or not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def _carriers(mark: str) -> Iterator[int]:
    own, below = f"{VARIABLE}={mark}".encode(), f"{VARIABLE}={mark}/".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:  # somebody else's, or gone
            continue
        if any(variable == own or variable.startswith(below) for variable in variables):
            yield int(entry)
