"""Call server: where managers send the calls that a worker runs, past dask's scheduler.

dask's scheduler says who is there and who has gone; it hears of no call. Every manager has a
connection to every worker, and a worker has a short queue: what has not begun can be recalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.frames import FramedProtocol, FrameKind
from pilotcut.pilots.worker.payload import run_packed

#: Under which name a worker tells the scheduler its port for calls.
PORT = "pilotcut-port"


class CallServer(WorkerPlugin):
    """Has a worker run calls that managers send it, one after the other."""

    name = "pilotcut-calls"

    async def setup(self, worker: Any) -> None:
        """Listen, and have the scheduler told where."""
        loop = asyncio.get_running_loop()
        queue = CallQueue(str(worker.name), loop)
        tls = worker.security.get_listen_args("worker")["ssl_context"]
        server = await loop.create_server(
            lambda: Caller(worker, queue), worker.ip, 0, ssl=tls, backlog=1024
        )
        port = server.sockets[0].getsockname()[1]

        async def tell(_: Any) -> int:
            return int(port)

        worker.startup_information[PORT] = tell


class Caller(FramedProtocol):
    """The connection to one manager, as the worker sees it."""

    def __init__(self, worker: Any, queue: CallQueue) -> None:
        super().__init__()
        self._worker = worker
        self._queue = queue

    def take(self, kind: FrameKind, number: int, payload: bytes) -> None:
        """Do as the manager says."""
        if kind is FrameKind.RUN:
            self._queue.add(self, number, pickle.loads(payload))
        elif kind is FrameKind.RECALL and self._queue.recall(self, number):
            self.send(FrameKind.RETURNED, number)
        elif kind is FrameKind.HELLO:
            self._greeting = asyncio.ensure_future(self._greet())

    async def _greet(self) -> None:
        await self._worker  # until it has what was shared before it came
        self._queue.join(self)
        self.send(FrameKind.HELLO)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what the manager wants and has not begun."""
        self._queue.leave(self)


class CallQueue:
    """The calls that wait for a worker, and the thread that runs them."""

    def __init__(self, worker: str, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._loop = loop
        self._launches: deque[tuple[Caller, int, Sequence[Any]]] = deque()
        self._running: Caller | None = None
        self._callers: dict[Caller, bool] = {}  # and whether they know of others' calls
        self._changed = threading.Condition()
        # Not one that the end of the process would wait for: a task cannot be stopped.
        threading.Thread(target=self._run, daemon=True, name="task-runner").start()

    # -- on the loop's thread ------------------------------------------------------------

    def join(self, caller: Caller) -> None:
        """Take in another manager."""
        self._callers[caller] = False
        self._tell_of_others()

    def leave(self, caller: Caller) -> None:
        """Forget a manager and its calls; one that runs ends for nobody."""
        self._callers.pop(caller, None)
        with self._changed:
            self._launches = deque(entry for entry in self._launches if entry[0] is not caller)
        self._tell_of_others()

    def add(self, caller: Caller, number: int, blobs: Sequence[Any]) -> None:
        """Put calls last in line."""
        with self._changed:
            self._launches.append((caller, number, blobs))
            self._changed.notify()
        self._tell_of_others()

    def recall(self, caller: Caller, number: int) -> bool:
        """Take calls out of the line; False if they are not there any more."""
        with self._changed:
            for at, entry in enumerate(self._launches):
                if entry[0] is caller and entry[1] == number:
                    del self._launches[at]
                    break
            else:
                return False
        self._tell_of_others()
        return True

    def _end(self, caller: Caller, number: int, outcomes: list[bytes]) -> None:
        caller.send(FrameKind.DONE, number, pickle.dumps(outcomes, 5))
        self._tell_of_others()

    def _tell_of_others(self) -> None:
        """Tell each manager when calls of others come between its own, and when that is over."""
        if len(self._callers) < 2 and not any(self._callers.values()):
            return
        with self._changed:
            here = {entry[0] for entry in self._launches} | {self._running}
        for caller, knows in self._callers.items():
            others = bool(here - {caller, None})
            if others is not knows:
                self._callers[caller] = others
                caller.send(FrameKind.SHARED, others)

    # -- on the thread of the calls ------------------------------------------------------

    def _run(self) -> None:
        process_tree.allow_processes()
        while True:
            with self._changed:
                self._running = None
                while not self._launches:
                    self._changed.wait()
                caller, number, blobs = self._launches.popleft()
                self._running = caller
            outcomes = run_packed(blobs, self._worker)
            with contextlib.suppress(RuntimeError):  # the worker ends
                self._loop.call_soon_threadsafe(self._end, caller, number, outcomes)
            del blobs, outcomes  # they may be big, and the next call may be long in coming
