"""Worker links: a manager's own connections to its workers, by which calls go there and back.

dask's scheduler says which workers there are; calls pass it by. This module refuses to know what a
call is, which worker gets it, and what becomes of one that is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pilotcut.io.descriptors import make_room
from pilotcut.pilots.crew import Crew, Launch
from pilotcut.pilots.worker.frames import FramedProtocol, FrameKind, Payload
from pilotcut.pilots.worker.node_config import gpu_resource, pilot_resource
from pilotcut.pilots.worker.stored_calls import own_secret

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

#: How long to wait for a worker's answer, between two trials, and how many connect at a time.
_ANSWER_S, _PAUSE_S, _AT_ONCE = 20.0, 0.5, 16

#: Descriptors for a worker: its connection, and the memory of big arguments that it maps.
_DESCRIPTORS = 4

#: The numbers of our launches, whichever client sends them.
_NUMBERS = itertools.count()

#: A launch that another connection takes over, and where it was sent ("" for nowhere yet).
LeftLaunch = tuple[str, Launch]


class WorkerLink(FramedProtocol):
    """The connection to one worker.

    Parameters
    ----------
    address, gpus, crew
        Whose connection it is.
    launches
        What was sent there before, by an earlier connection.
    on_loss
        Is called with the address and what was there when the connection is lost.
    greeting
        Who we are, if that worker is to keep what is ours when the connection is lost.
    """

    def __init__(
        self,
        address: str,
        gpus: float,
        crew: Crew,
        launches: dict[int, Launch],
        on_loss: Callable[[str, dict[int, Launch]], None],
        greeting: tuple[bytes, float] | None,
    ) -> None:
        super().__init__()
        self.address = address
        self.gpus = gpus
        self.launches = launches
        self._on_loss = on_loss
        self._greeting = greeting
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._crew = crew
        self._others = False
        self._is_near = False

    @property
    def load(self) -> int:
        """How much stands here: launches, and one more where other managers have some here too."""
        return len(self.launches) + self._others

    def run(self, launch: Launch) -> None:
        """Send a launch."""
        self.launches[launch.number] = launch
        launch.recalled = False
        self.send(FrameKind.RUN, launch.number, *launch.payload(self._is_near))

    def recall(self) -> bool:
        """Ask for the last launch in line, if one may not have begun."""
        last = next(reversed(self.launches.values()), None)
        if self.load < 2 or last is None or last.recalled:
            return False
        last.recalled = True
        self.send(FrameKind.RECALL, last.number)
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who is there; the worker answers once it has all that was shared."""
        super().connection_made(transport)
        if self._greeting is not None:
            self.send(FrameKind.RESUME, 0, pickle.dumps((*self._greeting, list(self.launches)), 5))
        self.send(FrameKind.HELLO, 0, own_secret().question)

    def take(self, kind: FrameKind, number: int, payload: Payload) -> None:
        """Hear what the worker says."""
        if kind is FrameKind.DONE and self._greeting is not None and number in self.launches:
            self.send(FrameKind.TAKEN, number)
        if kind is FrameKind.HELLO:
            self._is_near = own_secret().is_answered_by(payload)
            self._crew.add(self)
        elif kind is FrameKind.SHARED:
            self._others = bool(number)
            self._crew.place(self)
        elif (launch := self.launches.pop(number, None)) is not None:
            self._crew.place(self)
            if kind is FrameKind.DONE:
                launch.on_end(pickle.loads(payload))
                self._crew.serve()
            else:
                self._crew.send_first(launch)

    def say_goodbye(self) -> None:
        """Have nothing of ours kept."""
        if self._greeting is not None:
            self.send(FrameKind.RESUME, 0, pickle.dumps((self._greeting[0], 0.0, []), 5))

    def connection_lost(self, error: Exception | None) -> None:
        """Have it decided what becomes of what was here."""
        self._crew.remove(self)
        launches, self.launches = self.launches, {}
        self._on_loss(self.address, launches)
        if not self.ended.done():
            self.ended.set_result(None)


class WorkerLinks:
    """A manager's connections to all workers of a scheduler.

    Parameters
    ----------
    client
        A client of the scheduler.
    security
        What every connection is made with.
    identity
        Who we are to workers: the same for all connections of a manager, and nobody else's.
    returns_s
        How long workers keep calls and outcomes for us when a connection is lost; 0 for not at
        all, where the loss of a connection is that of its worker.
    left
        What connections by another client have handed over.

    Attributes
    ----------
    heard
        How often we have heard of workers that came or went.
    """

    def __init__(
        self,
        client: Client,
        security: Security,
        identity: bytes,
        returns_s: float = 0.0,
        left: Sequence[LeftLaunch] = (),
    ) -> None:
        from pilotcut.pilots.agent.entry_points import TOPIC, workers_for_calls

        self._tls = security.get_connection_args("client")["ssl_context"]
        loop: Any = client.loop  # tornado's, a thin coat over asyncio's
        self._loop = cast(asyncio.AbstractEventLoop, loop.asyncio_loop)
        self._greeting = (identity, returns_s) if returns_s else None
        # What was sent to workers whose connection is lost, while the scheduler knows them still.
        self._held: dict[str, dict[int, Launch]] = {}
        self._links: dict[str, WorkerLink] = {}
        self._crews: dict[str, Crew] = {}
        self._known: dict[str, asyncio.Task[None]] = {}
        self._connecting = asyncio.Semaphore(_AT_ONCE)
        self._inbox: deque[Launch] = deque()
        # What is heard before we know who was there: a worker that has gone since is no news then.
        self._early: list[Mapping[str, Any]] | None = []
        self._is_told = False
        self._is_handed_over = False
        self.heard = 0
        client.subscribe_topic(TOPIC, self._hear)
        there = client.run_on_scheduler(workers_for_calls)
        self._loop.call_soon_threadsafe(self._begin, there, left)

    def send(self, pilot: str, launch: Launch) -> None:
        """Have a worker of the pilot of that key run calls; for any thread."""
        launch.number, launch.pilot = next(_NUMBERS), pilot
        self._inbox.append(launch)
        if not self._is_told:
            self._is_told = True
            try:
                self._loop.call_soon_threadsafe(self._take_inbox)
            except RuntimeError:  # the loop has ended, and another client is to come
                self._take_inbox()

    def drop(self, pilot: str) -> None:
        """Forget what a pilot that has ended was sent; for any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it what was sent
            self._loop.call_soon_threadsafe(lambda: self._crew(pilot).drop())

    def hand_over(self) -> list[LeftLaunch]:
        """Return all that was sent and has not ended, for others to ask for; for other threads."""
        if self._is_handed_over:
            return []
        self._is_handed_over = True
        return asyncio.run_coroutine_threadsafe(self._hand_over(), self._loop).result(_ANSWER_S)

    def close(self) -> None:
        """Let go of all workers; for any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._close)

    # -- on the loop's thread ------------------------------------------------------------

    def _begin(self, there: Sequence[Mapping[str, Any]], left: Sequence[LeftLaunch]) -> None:
        """Connect to the workers that there are; ask for what they were sent, and send the rest."""
        known = {worker["address"] for worker in there}
        for address, launch in left:
            if not address:
                self._crew(launch.pilot).send(launch)
            elif address in known:
                self._held.setdefault(address, {})[launch.number] = launch
            else:
                launch.on_end("")
        early, self._early = self._early or [], None
        for worker in (*there, *early):
            self._take_news(worker)

    async def _hand_over(self) -> list[LeftLaunch]:
        self._take_inbox()
        left = [one for crew in self._crews.values() for one in crew.hand_over()]
        for address, launches in self._held.items():
            left += [(address, launch) for launch in launches.values()]
        self._held.clear()
        return left

    def _lose(self, address: str, launches: dict[int, Launch]) -> None:
        """Hold what was at a worker that may be there still; else report what is lost.

        That is the first of it: the others had not begun, and go elsewhere.
        """
        if self._greeting is not None and address in self._known:
            self._held.setdefault(address, {}).update(launches)
            return
        for number, launch in reversed(tuple(enumerate(launches.values()))):
            if number:
                self._crew(launch.pilot).send_first(launch)
            else:
                launch.on_end(address)

    def _take_inbox(self) -> None:
        self._is_told = False  # first: what comes while the inbox is emptied is told of once more
        while self._inbox:
            launch = self._inbox.popleft()
            if self._is_handed_over:  # nobody would ask for it
                launch.on_end("")
            else:
                self._crew(launch.pilot).send(launch)

    def _crew(self, pilot: str) -> Crew:
        if pilot not in self._crews:
            self._crews[pilot] = Crew(self._loop)
        return self._crews[pilot]

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take note of a worker that has come or gone, as dask tells it."""
        self.heard += 1
        if self._early is None:
            self._take_news(event[1])
        else:
            self._early.append(event[1])

    def _take_news(self, worker: Mapping[str, Any]) -> None:
        address = worker["address"]
        if worker["port"] is None:
            if (task := self._known.pop(address, None)) is not None:
                task.cancel()
            self._lose(address, self._held.pop(address, {}))
        elif address not in self._known:
            make_room(_DESCRIPTORS * len(self._known))
            self._known[address] = self._loop.create_task(self._keep(worker))

    async def _keep(self, worker: Mapping[str, Any]) -> None:
        """Be connected to a worker for as long as the scheduler knows it."""
        link: WorkerLink | None = None
        try:
            while True:
                with contextlib.suppress(OSError, TimeoutError):
                    async with self._connecting:
                        link = await asyncio.wait_for(self._connect(worker), _ANSWER_S)
                    await link.ended
                await asyncio.sleep(_PAUSE_S)
        finally:
            self._links.pop(worker["address"], None)
            if link is not None:
                link.close()

    async def _connect(self, worker: Mapping[str, Any]) -> WorkerLink:
        address, resources = worker["address"], worker["resources"]
        pilot = next(name for name in map(_pilot_of, resources) if name)
        gpus, crew = resources.get(gpu_resource(pilot), 0), self._crew(pilot)
        host = address.rpartition(":")[0].rpartition("/")[2].strip("[]")
        made: list[WorkerLink] = []

        def make() -> WorkerLink:  # is called once there is a connection, not yet a secure one
            held = self._held.pop(address, {})
            made.append(WorkerLink(address, gpus, crew, held, self._lose, self._greeting))
            return made[0]

        try:
            _, link = await self._loop.create_connection(
                make, host, worker["port"], ssl=self._tls, server_hostname=""
            )
        except BaseException:
            for link in made:
                link.connection_lost(None)
            raise
        self._links[address] = link
        return link

    def _close(self) -> None:
        for link in self._links.values():
            if not self._is_handed_over:
                link.say_goodbye()
        for task in self._known.values():
            task.cancel()
        self._known.clear()


def _pilot_of(resource: str) -> str:
    key = resource.partition(":")[2]
    return key if resource == pilot_resource(key) else ""
