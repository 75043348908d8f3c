"""Call server: where managers send the calls that a worker runs, past dask's scheduler.

dask's scheduler says who is there and who has gone; it hears of no call. Every manager has a
connection to every worker, and a worker has a short queue: what has not begun can be recalled.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.frames import FramedProtocol, FrameKind, Payload
from pilotcut.pilots.worker.payload import run_packed
from pilotcut.pilots.worker.stored_calls import answer_to, from_payload

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
        self._sender = Sender(self)
        self._waits_for: list[int] = []

    def take(self, kind: FrameKind, number: int, payload: Payload) -> None:
        """Do as the manager says."""
        if kind is FrameKind.RUN:
            self._queue.add(self._sender, number, from_payload(payload))
        elif kind is FrameKind.RECALL and self._queue.recall(self._sender, number):
            self.send(FrameKind.RETURNED, number)
        elif kind is FrameKind.TAKEN:
            self._sender.untaken.pop(number, None)
        elif kind is FrameKind.RESUME:
            identity, keeps_s, self._waits_for = pickle.loads(payload)
            self._sender = self._queue.sender(self, identity, keeps_s)
        elif kind is FrameKind.HELLO:
            self._greeting = asyncio.ensure_future(self._greet(answer_to(payload)))

    async def _greet(self, answer: bytes) -> None:
        await self._worker  # until it has what was shared before it came
        if not self.is_open:
            return
        self._queue.join(self._sender)
        self.send(FrameKind.HELLO, 0, answer)
        self._queue.resume(self._sender, self._waits_for)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what the manager wants and has not begun, unless it comes back."""
        if self._sender.caller is self:
            self._queue.leave(self._sender)


@dataclass(eq=False)
class Sender:
    """A manager that sends calls, over one connection after the other if it comes back.

    Attributes
    ----------
    caller
        Its connection; None while it has none.
    identity, keeps_s
        Who it is, and for how long what is its is kept while it is away.
    left
        When its last connection was lost, by the loop's clock.
    untaken
        Outcomes that it may not have, by the number of the launch.
    """

    caller: Caller | None
    identity: bytes = b""
    keeps_s: float = 0.0
    left: float = 0.0
    untaken: dict[int, list[bytes]] = field(default_factory=dict)

    def send(self, kind: FrameKind, number: int, payload: bytes = b"") -> None:
        """Send a frame, if there is a connection."""
        if self.caller is not None:
            self.caller.send(kind, number, payload)


class CallQueue:
    """The calls that wait for a worker, and the thread that runs them."""

    def __init__(self, worker: str, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._loop = loop
        self._launches: deque[tuple[Sender, int, Sequence[Any]]] = deque()
        self._running: tuple[Sender | None, int] = (None, 0)
        self._senders: dict[bytes, Sender] = {}  # those that come back
        self._callers: dict[Sender, bool] = {}  # and whether they know of others' calls
        self._changed = threading.Condition()
        # Not one that the end of the process would wait for: a task cannot be stopped.
        threading.Thread(target=self._run, daemon=True, name="task-runner").start()

    # -- on the loop's thread ------------------------------------------------------------

    def sender(self, caller: Caller, identity: bytes, keeps_s: float) -> Sender:
        """Return the manager of that identity, which has this connection now."""
        sender = self._senders.setdefault(identity, Sender(None, identity))
        sender.caller, sender.keeps_s = caller, keeps_s
        return sender

    def join(self, sender: Sender) -> None:
        """Take in another manager."""
        self._callers[sender] = False
        self._tell_of_others()

    def resume(self, sender: Sender, numbers: Sequence[int]) -> None:
        """Tell a manager that is back how its launches have ended, and give back what is unknown.

        What it does not wait for any more is forgotten.
        """
        with self._changed:
            self._launches = deque(
                entry for entry in self._launches if entry[0] is not sender or entry[1] in numbers
            )
            here = {entry[1] for entry in self._launches if entry[0] is sender}
            here |= {self._running[1]} if self._running[0] is sender else set()
        for number in [number for number in sender.untaken if number not in numbers]:
            del sender.untaken[number]
        for number in numbers:
            if number in sender.untaken:
                outcomes = sender.untaken[number]
                sender.send(FrameKind.DONE, number, pickle.dumps(outcomes, 5))
            elif number not in here:
                sender.send(FrameKind.RETURNED, number)

    def leave(self, sender: Sender) -> None:
        """Take note that a manager's connection is lost."""
        sender.caller, sender.left = None, self._loop.time()
        self._callers.pop(sender, None)
        if sender.keeps_s:
            self._loop.call_later(sender.keeps_s + 0.1, self._forget, sender)
        else:
            self._forget(sender)

    def _forget(self, sender: Sender) -> None:
        """Forget a manager that is away and its calls; one that runs ends for nobody."""
        was_back = self._loop.time() - sender.left < sender.keeps_s
        if sender.caller is None and not was_back:
            self._senders.pop(sender.identity, None)
            with self._changed:
                self._launches = deque(e for e in self._launches if e[0] is not sender)
            self._tell_of_others()

    def add(self, sender: Sender, number: int, blobs: Sequence[Any]) -> None:
        """Put calls last in line."""
        with self._changed:
            self._launches.append((sender, number, blobs))
            self._changed.notify()
        self._tell_of_others()

    def recall(self, sender: Sender, number: int) -> bool:
        """Take calls out of the line; False if they are not there any more."""
        with self._changed:
            for at, entry in enumerate(self._launches):
                if entry[0] is sender and entry[1] == number:
                    del self._launches[at]
                    break
            else:
                return False
        self._tell_of_others()
        return True

    def _end(self, sender: Sender, number: int, outcomes: list[bytes]) -> None:
        if sender.keeps_s:
            sender.untaken[number] = outcomes
        sender.send(FrameKind.DONE, number, pickle.dumps(outcomes, 5))
        self._tell_of_others()

    def _tell_of_others(self) -> None:
        """Tell each manager when calls of others come between its own, and when that is over."""
        if len(self._callers) < 2 and not any(self._callers.values()):
            return
        with self._changed:
            here = {entry[0] for entry in self._launches} | {self._running[0]}
        for sender, knows in self._callers.items():
            others = bool(here - {sender, None})
            if others is not knows:
                self._callers[sender] = others
                sender.send(FrameKind.SHARED, others)

    # -- on the thread of the calls ------------------------------------------------------

    def _run(self) -> None:
        process_tree.allow_processes()
        while True:
            with self._changed:
                # Not once its end has been told: to wait for that took 5 % of tasks of 10 ms.
                self._running = (None, 0)
                while not self._launches:
                    self._changed.wait()
                sender, number, blobs = self._launches.popleft()
                self._running = (sender, number)
            outcomes = run_packed(blobs, self._worker)
            try:
                self._loop.call_soon_threadsafe(self._end, sender, number, outcomes)
            except RuntimeError:  # the worker ends
                return
            del blobs, outcomes  # they may be big, and the next call may be long in coming
