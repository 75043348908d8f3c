"""Entry points: what a manager has dask run on a worker, or on the scheduler.

Each is sent by its name, so a process that runs one imports this module, and nothing above it.
"""

from __future__ import annotations

from typing import Any

from distributed import get_worker
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from pilotcut.pilots.agent.call_server import PORT
from pilotcut.pilots.mpi.protocol import run_on_all_ranks
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.dask_settings import SEND_S
from pilotcut.pilots.worker.payload import run_packed
from pilotcut.pilots.worker.shared_objects import drop_shared, keep_packed

#: Under which dask publishes which workers come and go.
TOPIC = "pilotcut-workers"


def run_parcel(blobs: list[bytes]) -> list[bytes]:
    """Run packed calls on the dask worker of this process."""
    process_tree.allow_processes()
    return run_packed(blobs, str(get_worker().name))


def run_on_ranks(blob: bytes, words: str) -> list[bytes]:
    """Run a packed call on all ranks of the MPI pilot whose rank 0 this process is."""
    return [run_on_all_ranks(blob, words)]


def workers_for_calls(dask_scheduler: Any) -> list[dict[str, Any]]:
    """Return the workers of the scheduler in whose process this runs that take calls."""
    return [news for worker in dask_scheduler.workers.values() if (news := _news_of(worker))]


def _news_of(worker: Any) -> dict[str, Any]:
    """Return where a worker takes calls, and for which pilot; nothing of one that takes none."""
    if PORT not in worker.extra:
        return {}
    resources = dict(worker.resources)
    return {"address": worker.address, "port": worker.extra[PORT], "resources": resources}


def resources_of_workers(dask_scheduler: Any) -> list[dict[str, float]]:
    """Return the resources of each worker of the scheduler in whose process this runs."""
    return [dict(worker.resources) for worker in dask_scheduler.workers.values()]


def names_of_shared(dask_scheduler: Any) -> list[str]:
    """Return the names of what the scheduler in whose process this runs shares with workers."""
    return list(dask_scheduler.worker_plugins)


class SharedObject(WorkerPlugin):
    """Carries one pickled object to every worker, also to those that join later."""

    def __init__(self, key: str, blob: bytes) -> None:
        self.name = key
        self.blob = blob

    def setup(self, worker: Any) -> None:
        """Keep the object in the worker's process."""
        keep_packed(self.name, self.blob)

    def teardown(self, worker: Any) -> None:
        """Forget it."""
        drop_shared(self.name)


class PromptMessages(SchedulerPlugin):
    """Has the scheduler tell workers of tasks at once, not every 5 ms as dask 2026.8 does.

    Tasks of a few milliseconds that follow each other would mostly wait for that.
    """

    def add_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Shorten the pauses between messages to a new worker."""
        scheduler.stream_comms[worker].interval = SEND_S


class WorkerNews(SchedulerPlugin):
    """Has the scheduler tell all managers which workers come and go."""

    def add_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Tell of a new worker; also of one that takes no calls: managers look when they hear."""
        news = _news_of(scheduler.workers[worker])
        scheduler.log_event(TOPIC, news or {"address": worker, "port": None})

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Tell of one that has gone."""
        scheduler.log_event(TOPIC, {"address": worker, "port": None})
