"""Base class of pilots whose workers join our dask scheduler, wherever they run.

What runs on which pilot and when is decided by the task manager; which of its workers gets a call
is `worker_links`'. Calls of MPI pilots go through dask, placed by a resource named after the pilot.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pilotcut.pilots.crew import Launch
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.mpi.protocol import take_last_words
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.pilots.scheduler import SchedulerLink
from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.pilots.worker.node_config import gpu_resource, pilot_resource
from pilotcut.pilots.worker.payload import Call, Loss, Report, pack_call, unpack_outcome
from pilotcut.pilots.worker.stored_calls import pack_or_store

if TYPE_CHECKING:
    from distributed import Client

_LARGE_BYTES = 1_000_000
#: dask's word for workers that their nanny has ended for their memory, and how often that is
#: looked for.
_OVER, _LOOKS, _LOOK_S = "worker-restart-memory", 10, 0.05


#: Of what nobody knows any more when a connection is back.
_LOST = Loss("it was lost with the connection to its worker", preempted=True)


@dataclass(frozen=True)
class PilotSite:
    """Place of a manager's pilots: what their workers join, and where they write.

    Attributes
    ----------
    scheduler
        The scheduler that they join.
    connection_file
        What they read to join it, in the run directory.
    scratch
        A directory of this machine for temporary files, None where others start the workers.
    """

    scheduler: SchedulerLink
    connection_file: Path
    scratch: Path | None = None

    @property
    def logs(self) -> Path:
        """The directory of the logs."""
        return self.connection_file.parent / "logs"


class DaskPilot(Pilot):
    """Sends calls to its own workers through dask.

    Parameters
    ----------
    description
        What is asked for.
    generation
        How many pilots of this name there were before: workers of those may still linger.
    """

    prefetch = 1
    #: How long to wait, after a worker died, to learn whether its pilot ends.
    loss_patience_s = 0.0

    def __init__(self, description: PilotDescription, generation: int = 0) -> None:
        super().__init__(description)
        self.generation = generation
        if description.ranks > 1:
            self.prefetch = 0  # what stood in line would be lost with a task that fails
        self._scheduler: SchedulerLink | None = None
        self._in_flight: dict[str, Callable[[Report], None]] = {}
        self._numbers = itertools.count()
        self.watch(self._lose_all_if_ended)

    @property
    def key(self) -> str:
        """What tells this pilot's workers from all others."""
        return f"{self.name}~{self.generation}" if self.generation else self.name

    @property
    def is_ending(self) -> bool:
        """Whether the whole pilot goes, and not a worker alone."""
        return self.state.final or self.state is PilotState.DRAINING

    @property
    def _client(self) -> Client:
        assert self._scheduler is not None
        return self._scheduler.client

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: Any = self._client.loop  # tornado's, a thin coat over asyncio's
        return cast(asyncio.AbstractEventLoop, loop.asyncio_loop)

    def check_possible(self) -> None:
        """Raise a `PilotError` if such a pilot cannot be started from here."""

    def start(self, site: PilotSite) -> None:
        """Start the workers, which join by and by; here they are there already."""
        self._scheduler = site.scheduler

    def launch(self, calls: Sequence[Call], report: Callable[[Report], None]) -> None:
        """Send `calls` to a worker of this pilot."""
        # dask takes what has one key for one task, also from several processes that use these
        # pilots.
        key = f"{self.key}-{os.getpid()}-{id(self)}-{next(self._numbers)}"
        with self._lock:
            # Before the state is looked at: the other way round, a pilot that ends in between would
            # not know of this call, and nobody would ever report it.
            self._in_flight[key] = report
        if self.state is not PilotState.ACTIVE:
            self._report(key, Loss(self._why_gone(), preempted=True))
            return
        if self.description.ranks == 1:
            assert self._scheduler is not None
            gpus = max(call.gpus for call in calls)
            packed = [pack_or_store(call) for call in calls]
            launch = Launch(packed, gpus, partial(self._on_end, key))
            self._scheduler.links.send(self.key, launch)
            return
        try:
            future = self._submit(key, calls)
            asyncio.run_coroutine_threadsafe(self._follow(key, future), self._loop)
        except Exception as error:
            if not self._is_away:
                self._report(key, Loss(f"dask refused the task: {words_of(error)}"))

    @property
    def _is_away(self) -> bool:
        """Whether the scheduler cannot be reached now, and may come back: then `resume` asks."""
        assert self._scheduler is not None
        return self._scheduler.returns and not self._scheduler.is_alive

    def resume(self) -> None:
        """Ask a scheduler that is back for what it was sent, and report what it has lost."""
        assert self._scheduler is not None
        if self.description.ranks == 1:  # workers were sent it, and are asked
            return
        with self._lock:
            keys = list(self._in_flight)
        found = self._scheduler.reclaim(keys)
        for key in keys:
            if key in found:
                asyncio.run_coroutine_threadsafe(self._follow(key, found[key]), self._loop)
            else:
                self._report(key, _LOST)

    def _on_end(self, key: str, end: list[bytes] | str) -> None:
        """Report how calls have ended, or from the address of a worker that it is lost."""
        if end == "":
            self._report(key, _LOST)
        elif isinstance(end, str):
            asyncio.run_coroutine_threadsafe(self._report_death(key, end), self._loop)
        else:
            self._report(key, [unpack_outcome(blob) for blob in end])

    async def _report_death(self, key: str, worker: str) -> None:
        await asyncio.sleep(self.loss_patience_s)
        self._report(key, await self._death_of(worker))

    def _submit(self, key: str, calls: Sequence[Call]) -> Any:
        import dask  # here, not above: who runs tasks in this process does without it

        from pilotcut.pilots.agent.entry_points import run_on_ranks, run_parcel

        blobs = [pack_call(call) for call in calls]
        resources = {pilot_resource(self.key): 1.0}
        gpus = max(call.gpus for call in calls)
        if gpus:
            resources[gpu_resource(self.key)] = float(gpus)
        quiet: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if sum(map(len, blobs)) > _LARGE_BYTES:
            # dask warns of what has 10 MB, with advice that is for users of dask.
            quiet = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
        what: tuple[Any, ...] = (run_parcel, blobs)
        if calls[0].ranks > 1:
            what = (run_on_ranks, *blobs, _words(key))
        with quiet:
            return self._client.submit(*what, key=key, resources=resources, pure=False, retries=0)

    async def _follow(self, key: str, future: Any) -> None:
        """Fetch the outcomes as soon as they exist, so that no worker has the only copy."""
        report: Report
        client = self._client
        try:
            blobs = await client.gather(future, asynchronous=True)
            report = [unpack_outcome(blob) for blob in blobs]
        except (asyncio.CancelledError, Exception) as error:
            # Of a connection that was lost, the error comes before or after word of that.
            if self._is_away or self._client is not client:
                return
            if isinstance(error, asyncio.CancelledError):
                report = Loss(self._why_gone(), preempted=True)
            else:
                report = self._last_words(key) or await self._loss(error)
        finally:
            future.release()
        self._report(key, report)

    async def _loss(self, error: Exception) -> Loss:
        await asyncio.sleep(self.loss_patience_s)
        # By its name, since the class is dask's, which is not imported here.
        if type(error).__name__ != "KilledWorker":
            return Loss(f"the task was lost: {words_of(error)}", preempted=self.is_ending)
        return await self._death_of(error.last_worker.address)  # type: ignore[attr-defined]

    async def _death_of(self, worker: str) -> Loss:
        """Return the loss of what a worker held that has died."""
        d = self.description
        advice, held = "", "the worker died while it held the task"
        if d.ranks > 1:
            held = f"a rank of pilot '{self.name}' died while all held the task"
        elif d.memory_bytes is not None:
            limit = (
                f"the {d.memory_bytes // d.processes_per_node} bytes that a worker of pilot "
                f"'{self.name}' may take (memory_per_node is '{d.memory_per_node}', "
                f"workers_per_node is {d.workers_per_node})"
            )
            if await self._is_over_limit(worker):
                held = f"its worker was ended for taking more than {limit}"
                advice = (
                    "give the pilot more memory_per_node or fewer workers_per_node, or let the "
                    "task take less"
                )
            else:
                held += f", perhaps for more than {limit}"
        return Loss(held + self._log_in_words(), preempted=self.is_ending, advice=advice)

    async def _is_over_limit(self, worker: str) -> bool:
        """Return whether its nanny has ended a worker for its memory; word of that may be late."""
        scheduler: Any = self._client.scheduler
        for _ in range(_LOOKS):
            with contextlib.suppress(Exception):  # of a scheduler that goes as well
                events = await asyncio.wait_for(scheduler.events(topic=_OVER), 1.0)
                if any(event["worker"] == worker for _, event in events):
                    return True
            await asyncio.sleep(_LOOK_S)
        return False

    @property
    def has_calls(self) -> bool:
        """Whether anything that was launched here, from this process, has not been reported."""
        return bool(self._in_flight)

    def retire(self, reason: str) -> None:
        """Take no more calls; `close` is to follow once nothing runs here any more."""
        self.is_retired = True
        self.move(PilotState.DRAINING, reason)

    def close(self) -> None:
        """End the workers, and give back where they ran."""
        was_active = PilotState.ACTIVE in self.since
        self.move(PilotState.DRAINING)
        reason = self.reason if self.is_retired else ""
        self._release()
        self.move(PilotState.DONE if was_active else PilotState.CANCELED, reason)

    def _release(self) -> None:
        """End what `start` has started."""

    @property
    def log(self) -> Path:
        """Where the workers' output goes, if they were not started by hand."""
        assert self._scheduler is not None
        return self._scheduler.home / "logs" / f"{self.key}.log"

    def _log_in_words(self) -> str:
        return f", log in {self.log}" if self.log.exists() else ""

    def _last_words(self, key: str) -> Report | None:
        """Return how a call ended whose ranks have ended themselves over it."""
        assert self._scheduler is not None
        words = None
        if self.description.ranks > 1:
            words = take_last_words(self._scheduler.home / _words(key))
        return None if words is None else [unpack_outcome(words)]

    def _report(self, key: str, report: Report) -> None:
        with self._lock:
            receiver = self._in_flight.pop(key, None)
        if receiver is not None:  # otherwise the end of the pilot was quicker
            receiver(report)

    def _lose_all_if_ended(self, _: Pilot) -> None:
        if self.state.final:
            if self._scheduler is not None:
                self._scheduler.links.drop(self.key)
            with self._lock:
                keys = list(self._in_flight)
            for key in keys:
                self._report(key, Loss(self._why_gone(), preempted=True))

    def _why_gone(self) -> str:
        return self.reason or f"pilot '{self.name}' is {self.state.value}"


def _words(key: str) -> str:
    """Return the file, beside the connection file, where ranks say why they end over a call."""
    return f"last-words-{key}"
