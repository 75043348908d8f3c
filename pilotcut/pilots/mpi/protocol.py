"""Protocol among the ranks of an MPI pilot: rank 0 passes on what all of them run.

Rank 0 is told what to run, and passes it on; the others wait for that asleep. This module
knows MPI by the communicator it is given, and neither dask nor a scheduler: every rank
imports it, and all but the first need nothing more.

A task that fails leaves its ranks anywhere: some in a collective call that the failed one
will never enter, and messages under way that the next task would take for its own. So a
failure ends all ranks, and they are started anew. What went wrong is left behind as *last
words*, a file that the pilot's manager finds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilotcut.errors import TaskError
from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.mpi.launch import DIRECTORY_VARIABLE
from pilotcut.pilots.worker.payload import Outcome, pack_outcome, run_blob
from pilotcut.pilots.worker.shared_objects import drop_shared, keep_packed, mirror_shared

#: What a rank says instead of ``ready``, with the reason behind it: starting again is no use.
REFUSED = "refused"

_ORDER, _DONE = 1, 2
_ABORT_S = 3.0
#: Pauses between two looks for a message: a tenth of the time waited so far, at most this.
#: MPI itself would wait awake: this takes 0.3 % of a core of an idle rank.
_SHORTEST_S, _LONGEST_S = 0.0001, 0.02

_here: RankGroup | None = None


class RankGroup:
    """All ranks of an MPI pilot, as one of them sees it.

    Parameters
    ----------
    comm
        The communicator of all ranks; what is said here goes over a duplicate of it.
    pilot
        The pilot's key.
    """

    def __init__(self, comm: Any, pilot: str) -> None:
        global _here
        self._comm = comm
        # A context of its own: no message of ours is taken by a task, which uses the communicator
        # itself.
        self._control = comm.Dup()
        self._rank = comm.Get_rank()
        self._others = range(1, comm.Get_size())
        self._pilot = pilot
        self._name = f"{pilot}-0, rank {self._rank}" if self._rank else f"{pilot}-0"
        # Filled on the thread on which dask delivers, emptied on that of the tasks; a deque bears
        # that.
        self._news: deque[tuple[str, bytes | None]] = deque()
        self._running = threading.Lock()
        _here = self

    # -- rank 0 --------------------------------------------------------------------

    def lead(self) -> None:
        """Pass on to the others what is shared with this process from now on."""
        mirror_shared(lambda key, blob: self._news.append((key, blob)))

    def run(self, blob: bytes, words: str) -> bytes:
        """Run a packed call on all ranks and return the packed outcome of this one.

        Parameters
        ----------
        blob
            The call.
        words
            Name of the file for the last words, in the pilot's directory.
        """
        with self._running:
            try:
                self._order((self._drain(), blob, words))
                outcome = self._run(blob, words)
                self._await_others()
            except BaseException:  # of MPI itself: the others would wait for ever
                traceback.print_exc()
                self.abort(1)
                raise
        return pack_outcome(outcome)

    def end(self) -> None:
        """Let all ranks go home; in the midst of a task, end them."""
        if not self._running.acquire(blocking=False):
            self.abort(1)
        self._order(None)

    def abort(self, status: int) -> None:
        """End all ranks at once; the launcher does if MPI cannot."""
        threading.Timer(_ABORT_S, os._exit, args=(status,)).start()
        self._comm.Abort(status)

    def _await_others(self) -> None:
        for _ in self._others:
            _sleep_until(lambda: self._control.iprobe(tag=_DONE))
            self._control.recv(tag=_DONE)

    def _drain(self) -> list[tuple[str, bytes | None]]:
        return [self._news.popleft() for _ in range(len(self._news))]

    def _order(self, order: Any) -> None:
        for other in self._others:  # wakes them up: a broadcast is waited for awake
            self._control.send(None, dest=other, tag=_ORDER)
        self._control.bcast(order)

    # -- the others ----------------------------------------------------------------

    def follow(self) -> None:
        """Run what rank 0 passes on, until it lets us go."""
        while (order := self._next_order()) is not None:
            news, blob, words = order
            for key, packed in news:
                drop_shared(key) if packed is None else keep_packed(key, packed)
            self._run(blob, words)
            self._control.send(None, dest=0, tag=_DONE)

    def _next_order(self) -> Any:
        _sleep_until(lambda: self._control.iprobe(source=0, tag=_ORDER))
        self._control.recv(source=0, tag=_ORDER)
        return self._control.bcast(None)

    # -- every rank ----------------------------------------------------------------

    def _run(self, blob: bytes, words: str) -> Outcome:
        outcome = run_blob(blob, self._name)
        if outcome.error is not None:
            with contextlib.suppress(OSError):
                leave_last_words(self._pilot, words, outcome)
            self.abort(1)
        return outcome


def run_on_all_ranks(blob: bytes, words: str) -> bytes:
    """Run a packed call on all ranks of the MPI pilot whose rank 0 this process is."""
    if _here is None:
        raise TaskError("there are no ranks here, expected rank 0 of an MPI pilot")
    return _here.run(blob, words)


def _sleep_until(is_so: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not is_so():
        pause = (time.monotonic() - began) / 10
        time.sleep(min(_LONGEST_S, max(_SHORTEST_S, pause)))


# -- last words ------------------------------------------------------------------------


def failure_mark(directory: Path, pilot: str) -> Path:
    """Return the file that tells ranks ended by a failed task from ranks that died.

    Their exit status does not: srun makes that of a killed rank of both.
    """
    return directory / f"failed-{pilot}"


def leave_last_words(pilot: str, name: str, outcome: Outcome) -> None:
    """Leave the outcome of a failed task where its manager looks for it; the first one stays."""
    directory = Path(os.environ[DIRECTORY_VARIABLE])
    failure_mark(directory, pilot).touch()
    path = directory / name
    if not path.exists():
        write_atomically(path, pack_outcome(outcome))


def take_last_words(path: Path) -> bytes | None:
    """Return the packed outcome that ranks have left behind, and remove it; None without one."""
    try:
        words = path.read_bytes()
    except OSError:
        return None
    path.unlink(missing_ok=True)
    return words
