"""Pilot: its states, and the interface between the managers and a kind of resource.

A kind of resource is a subclass of `Pilot` with `launch` and `close`, see
`pilotcut.pilots.resources`.
It knows nothing of queues, policies or dependencies: it is handed calls that fit,
and reports once for each launch.
"""

from __future__ import annotations

import enum
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from pilotcut.options import counted
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.worker.payload import Call, Loss, Report, run_call
from pilotcut.pilots.worker.sessions import open_here


class PilotState(enum.Enum):
    """States of a pilot's life."""

    NEW = "new"
    PENDING = "pending"
    STARTING = "starting"
    ACTIVE = "active"
    DRAINING = "draining"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """Whether no other state follows."""
        return self in (PilotState.DONE, PilotState.FAILED, PilotState.CANCELED)


class Pilot(ABC):
    """A placeholder allocation that runs calls on its workers.

    Attributes
    ----------
    description
        What was asked for.
    prefetch
        Calls per slot that the pilot takes beyond the running ones, to hide latency.
    starts_ranks
        Whether MPI ranks can be started from a worker.
    """

    prefetch = 0
    starts_ranks = True

    def __init__(self, description: PilotDescription) -> None:
        self.description = description
        self._lock = threading.Lock()
        self._state = PilotState.NEW
        self._since = {PilotState.NEW: time.time()}
        self._watchers: list[Callable[[Pilot], None]] = []
        self.reason = ""
        self.is_retired = False  # let go of, for nothing needed it
        self.ends: float | None = None  # when its walltime is over, if that is known

    def __repr__(self) -> str:
        slots = counted(self.slots, "slot")
        return f"<{type(self).__name__} {self.name!r}: {self.state.value}, {slots}>"

    @property
    def name(self) -> str:
        """The name from the description, unique among the pilots of a manager."""
        return self.description.name

    @property
    def in_words(self) -> str:
        """Where it stands, and why; the same for all of an entry that stand by."""
        stands_by = self.description.elastic is not None and self.state is PilotState.NEW
        name = self.description.kind if stands_by else self.name
        return f"pilot '{name}' is {self.state.value}" + (
            f" ({self.reason})" if self.reason else ""
        )

    @property
    def slots(self) -> int:
        """Number of tasks that run here at the same time."""
        return self.description.slots

    @property
    def state(self) -> PilotState:
        """The state now."""
        return self._state

    @property
    def since(self) -> Mapping[PilotState, float]:
        """When each state was entered, in seconds since the epoch."""
        return MappingProxyType(dict(self._since))

    def watch(self, callback: Callable[[Pilot], None]) -> None:
        """Call `callback(pilot)` after every change of state, from any thread."""
        self._watchers.append(callback)

    def move(self, state: PilotState, reason: str = "") -> bool:
        """Enter `state` and tell the watchers; False if the pilot had already ended."""
        with self._lock:
            if self._state.final or self._state is state:
                return False
            self._state = state
            self._since[state] = time.time()
            self.reason = reason
        # Outside of the lock, which watchers take as well (`DaskPilot._lose_all_if_ended`).
        for callback in tuple(self._watchers):
            callback(self)
        return True

    def note(self, state: PilotState, reason: str) -> None:
        """Enter `state`, or stay in it for another reason; watchers hear of either."""
        if self.move(state, reason):
            return
        with self._lock:
            changed = self._state is state and self.reason != reason
            if changed:
                self.reason = reason
        if changed:
            for callback in tuple(self._watchers):
                callback(self)

    @abstractmethod
    def launch(self, calls: Sequence[Call], report: Callable[[Report], None]) -> None:
        """Run `calls` one after the other on one worker; `report` once, from any thread."""

    @abstractmethod
    def close(self) -> None:
        """Give the resource back; calls still running are reported as lost."""


class DirectPilot(Pilot):
    """A pilot that reaches its workers by itself, past dask's scheduler."""

    @abstractmethod
    def start(self) -> None:
        """Ask for the workers; become active at once, or later, from any thread.

        Raises
        ------
        PilotError
            If there will be none.
        """

    def share(self, key: str, pack: Callable[[], bytes]) -> None:
        """Have each process of its workers keep what `pack` returns, by `keep_packed`.

        Threads of this process find it here.
        """

    def unshare(self, key: str) -> None:
        """Have it forgotten again."""


class InProcessPilot(DirectPilot):
    """Workers that are threads of this process."""

    def start(self) -> None:
        """Become active, which costs nothing: threads start with the first calls."""
        self._end_session = open_here(self.description)
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix=self.name)
        self.move(PilotState.ACTIVE)

    def launch(self, calls: Sequence[Call], report: Callable[[Report], None]) -> None:
        """Run `calls` on one thread."""
        try:
            self._pool.submit(self._run, calls, report)
        except RuntimeError:  # the pool is shut down
            report(Loss(f"pilot '{self.name}' is closed"))

    def _run(self, calls: Sequence[Call], report: Callable[[Report], None]) -> None:
        worker = threading.current_thread().name.replace("_", "-")
        threads = self.description.threads_per_worker
        report([run_call(call, worker, threads) for call in calls])

    def close(self) -> None:
        """Wait for the running calls: a thread cannot be stopped from outside."""
        if self.state is PilotState.NEW:
            self.move(PilotState.CANCELED)
        elif self.move(PilotState.DRAINING):
            self._pool.shutdown(wait=True)
            self._end_session()
            self.move(PilotState.DONE)
