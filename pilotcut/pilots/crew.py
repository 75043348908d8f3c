"""Crew: the workers of one pilot that can be reached, and which of them gets what is launched.

Every worker has a short queue, so that it need not wait for the manager between two calls; what
stands there and has not begun is recalled as soon as another worker idles. Refuses to know how a
worker is reached.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pilotcut.pilots.worker.stored_calls import StoredCall, to_parts

#: Most launches at a worker: the one that runs, and those that wait behind it.
DEPTH = 3
#: How long a worker idles before it gets what stands in line at another.
_IDLE_S = 0.002


@dataclass(eq=False)
class Launch:
    """Calls that run one after the other on one worker.

    Attributes
    ----------
    calls
        The calls, packed or stored.
    gpus
        What the worker must have.
    on_end
        Is called once, on the loop's thread, with the packed outcomes, or with the address of the
        worker that was lost with it; "" if it went with the scheduler.
    pilot
        The key of its pilot.
    """

    calls: Sequence[bytes | StoredCall]
    gpus: int
    on_end: Callable[[list[bytes] | str], None]
    number: int = 0
    pilot: str = ""
    recalled: bool = False

    def payload(self, is_near: bool) -> list[Any]:
        """Return what travels to a worker, which is on this machine or not, in parts."""
        calls = [
            call if isinstance(call, bytes) else call.for_worker(is_near) for call in self.calls
        ]
        return to_parts(calls)


class CrewMember(Protocol):
    """A worker, as its crew sees it.

    Attributes
    ----------
    address, gpus
        Which it is, and what it has.
    launches
        What stands there, by number: the first may run, the others have not begun.
    """

    address: str
    gpus: float
    launches: dict[int, Launch]

    @property
    def load(self) -> int:
        """How much stands there."""

    def run(self, launch: Launch) -> None:
        """Send a launch."""

    def recall(self) -> bool:
        """Ask for the last launch in line, if one may not have begun."""


class Crew:
    """The workers of one pilot that can be reached, and what waits for one of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Launch] = deque()
        # By their load, in the order in which they came to have it: the first has run longest.
        self._levels: dict[int, dict[CrewMember, None]] = {}
        self._level: dict[CrewMember, int] = {}
        self._is_looking = False

    def add(self, link: CrewMember) -> None:
        """Take in a worker that is ready."""
        self._level[link] = -1
        self.place(link)
        self.serve()

    def remove(self, link: CrewMember) -> None:
        """Forget a worker."""
        level = self._level.pop(link, None)
        if level is not None:
            del self._levels[level][link]

    def place(self, link: CrewMember) -> None:
        """Take note of what stands at a worker now."""
        before, now = self._level.get(link), link.load
        if before is None or before == now:
            return
        if before >= 0:
            del self._levels[before][link]
        self._levels.setdefault(now, {})[link] = None
        self._level[link] = now
        if now == 0:
            self._look_soon()

    def send(self, launch: Launch) -> None:
        """Send a launch to the worker with least to do, or have it wait for one."""
        self._waiting.append(launch)
        self.serve()

    def send_first(self, launch: Launch) -> None:
        """Send a launch that comes back from a worker: it has waited longer than the others."""
        self._waiting.appendleft(launch)
        self.serve()

    def serve(self) -> None:
        """Send what waits, in order, as far as workers take it."""
        while self._waiting:
            link = self._least(self._waiting[0].gpus)
            if link is None:
                return
            link.run(self._waiting.popleft())
            self.place(link)

    def hand_over(self) -> list[tuple[str, Launch]]:
        """Return all launches, each with the address of its worker; they are not here any more."""
        left = [("", launch) for launch in self._waiting]
        for link in self._level:
            left += [(link.address, launch) for launch in link.launches.values()]
        self.drop()
        return left

    def drop(self) -> None:
        """Forget what waits and what runs."""
        self._waiting.clear()
        for link in list(self._level):
            link.launches.clear()
            self.place(link)

    def _least(self, gpus: int) -> CrewMember | None:
        for level in range(DEPTH):
            for link in self._levels.get(level, ()):
                if link.gpus >= gpus:
                    return link
        return None

    # -- recalling -----------------------------------------------------------------------

    def _look_soon(self) -> None:
        """Look in a while whether a worker idles still: most are sent something at once."""
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_later(_IDLE_S, self._look)

    def _look(self) -> None:
        self._is_looking = False
        idle = self._levels.get(0)
        if not idle or self._waiting:
            return
        wanted = len(idle)
        for level in sorted((level for level in self._levels if level > 1), reverse=True):
            for link in tuple(self._levels[level]):
                if wanted <= 0:
                    return
                if self._is_of_use(link, idle) and link.recall():
                    wanted -= 1

    def _is_of_use(self, link: CrewMember, idle: Mapping[CrewMember, None]) -> bool:
        last = next(reversed(link.launches.values()), None)
        return last is not None and (not last.gpus or any(i.gpus >= last.gpus for i in idle))
