"""The other side: what runs in the processes that a pilot starts.

    python -m pilotcut.pilots.agent.main scheduler '{"local_directory": ...}'
    python -m pilotcut.pilots.agent.main workers   '{"pilot": ..., "resources": [...], ...}'
    python -m pilotcut.pilots.agent.main node      '{"pilot": ..., "connection": ..., ...}'

The first two are children of a manager and speak lines of text with it: the scheduler is
told its certificate and says its address, the workers are told the connection file and say
`ready`. Everything else, of the agent and of the tasks, goes to stderr, which the parent
points at a log file. Such an agent lives as long as its parent: the end of stdin, which
comes with any death of the parent, ends the agent and its whole process group.

The third runs in a batch job or by hand: it reads the connection file, and lives as long as
its workers and the scheduler do.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any

import dask
from distributed import Nanny, Scheduler, Status
from distributed.core import rpc
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from pilotcut.errors import PilotError, UserError
from pilotcut.io.environment import whole_number
from pilotcut.pilots import payload
from pilotcut.pilots.agent import lineage, versions
from pilotcut.pilots.agent.node_config import gpu_environment, node_layout
from pilotcut.pilots.connection import Connection
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.mpi import protocol
from pilotcut.pilots.mpi.agent import take_streams
from pilotcut.pilots.mpi.launch import DIRECTORY_VARIABLE
from pilotcut.pilots.mpi.supervisor import RankSet

_LOOPBACK = "127.0.0.1"
_PARENT_POLL_S = 1.0
_CLOSE_S = 2.0
_JOIN_S = 60
#: How often an agent of a job looks after its workers and the scheduler, and how often in a
#: row the scheduler may be silent.
_WATCH_S, _PATIENCE = 2.0, 8

_SCHEDULER_CONFIG = {
    # The ready queue is ours: dask must take what it is given at once.
    "distributed.scheduler.worker-saturation": float("inf"),
    # Losses are counted by the task manager, which knows each task's `retries`.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing-interval": "20ms",
    # A node that is cut off silently is given up after this time, not after 45 s.
    "distributed.comm.timeouts.tcp": "12s",
}


WORKER_CONFIG = {
    # A daemonic process may have no children, and tasks may start some.
    "distributed.worker.daemon": False,
    # Results are fetched at once, so there is nothing to spill; and a paused worker would wait
    # for ever for memory that a task keeps on purpose.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}

#: Least seconds between two messages of a client or a scheduler.
SEND_S = 0.001


class SharedObject(WorkerPlugin):
    """Carries one pickled object to every worker, also to those that join later."""

    def __init__(self, key: str, blob: bytes) -> None:
        self.name = key
        self.blob = blob

    def setup(self, worker: Any) -> None:
        """Keep the object in the worker's process."""
        payload.keep_packed(self.name, self.blob)

    def teardown(self, worker: Any) -> None:
        """Forget it."""
        payload.drop_shared(self.name)


def run_on_ranks(blob: bytes, words: str) -> list[bytes]:
    """Run a packed call on all ranks of the MPI pilot whose rank 0 this process is."""
    return [protocol.run_on_all_ranks(blob, words)]


def run_parcel(blobs: list[bytes]) -> list[bytes]:
    """Run packed calls on the dask worker of this process."""
    from distributed import get_worker

    lineage.allow_processes()
    return payload.run_packed(blobs, str(get_worker().name))


def describe_workers(dask_scheduler: Any) -> dict[str, dict[str, Any]]:
    """Return the workers of the scheduler in whose process this runs, by name."""
    return {
        str(worker.name): {
            "resources": dict(worker.resources),
            "threads": worker.nthreads,
            "host": worker.host,
            "extra": dict(worker.extra),
        }
        for worker in dask_scheduler.workers.values()
    }


class Prompt(SchedulerPlugin):
    """Has the scheduler tell workers of tasks at once, not every 5 ms as dask 2026.8 does.

    Tasks of a few milliseconds that follow each other would mostly wait for that.
    """

    def add_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Shorten the pauses between messages to a new worker."""
        scheduler.stream_comms[worker].interval = SEND_S


# -- the process -----------------------------------------------------------------------


async def _serve_scheduler(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    dask_settings(config, **_SCHEDULER_CONFIG)
    order = await asyncio.to_thread(orders.readline)
    if not order:
        return
    connection = Connection(**json.loads(order))
    async with Scheduler(
        protocol="tls",
        security=connection.security(),
        host=config["host"],
        port=0,
        dashboard=config["dashboard"],
        dashboard_address=f"{_LOOPBACK}:0",  # plain HTTP: for this machine only
    ) as scheduler:
        scheduler.add_plugin(Prompt(), name="prompt")
        link = _dashboard(scheduler) if config["dashboard"] else "-"
        print(scheduler.address, link, file=answers, flush=True)
        await _parent_ends(orders).wait()


def _dashboard(scheduler: Scheduler) -> str:
    """Return where the dashboard is; "-" without bokeh, which draws it."""
    if importlib.util.find_spec("bokeh") is None or "dashboard" not in scheduler.services:
        return "-"
    return f"http://{_LOOPBACK}:{scheduler.services['dashboard'].port}/status"


class _Nurse(Nanny):
    """A nanny that ends what the processes of its worker have left behind.

    Attributes
    ----------
    mark
        What all lives of the worker have above their own mark.
    """

    mark = ""
    _life = ""

    async def instantiate(self) -> Status:
        """Start the worker's process, once nothing is left of the one before."""
        if self.process is None or not self.process.is_alive():
            if self._life:
                await asyncio.to_thread(lineage.end_all, self._life)
                if self.status in (Status.closing, Status.closed):
                    return self.status
            self._life = lineage.new_mark(self.mark)
            for variables in (self.pre_spawn_env, self.env):
                variables.update(lineage.marked(self._life))
        return await super().instantiate()


class _NannySet:
    """The workers of a node, each nursed by a nanny, which starts it again when it dies."""

    failure = ""

    def __init__(self, connection: Connection, config: dict[str, Any]) -> None:
        self._mark = lineage.new_mark()
        self._nannies = _nannies(connection, config, self._mark)

    @property
    def is_running(self) -> bool:
        """Whether there is a worker left."""
        return any(nanny.status is Status.running for nanny in self._nannies)

    async def start(self) -> None:
        """Start all workers, their processes one after the other.

        A process gets its environment from ours, where its nanny puts it just before.
        """
        starting: list[asyncio.Future[Any]] = []
        for nanny in self._nannies:
            starting.append(asyncio.ensure_future(nanny))
            while not starting[-1].done() and (nanny.process is None or nanny.process.pid is None):
                await asyncio.sleep(0.01)
        await asyncio.gather(*starting)

    async def close(self) -> None:
        """End all workers."""
        closing = (nanny.close(timeout=_CLOSE_S) for nanny in self._nannies)
        try:
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 2 * _CLOSE_S)
        finally:
            await asyncio.to_thread(lineage.end_all, self._mark)


def _workers_of(
    connection: Connection, config: dict[str, Any], in_job: bool
) -> _NannySet | RankSet:
    """Return what is to be started on this node, if the versions agree."""
    different = versions.differences(connection.versions, versions.installed())
    if different and not config["allow_version_mismatch"]:
        raise PilotError(
            f"pilot '{config['pilot']}' is refused: {'; '.join(different)}; install the same "
            f"versions, or allow it with allow_version_mismatch"
        )
    dask_settings(config, **WORKER_CONFIG)
    return RankSet(config, in_job) if config["ranks"] > 1 else _NannySet(connection, config)


async def _serve_workers(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    path = (await asyncio.to_thread(orders.readline)).strip()
    if not path:
        return
    workers = _workers_of(Connection.read(Path(path)), config | {"connection": path}, in_job=False)
    parent = _parent_ends(orders)
    try:
        await workers.start()
        print("ready", file=answers, flush=True)
        while not parent.is_set() and not workers.failure:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(parent.wait(), _PARENT_POLL_S)
    finally:
        await workers.close()


async def _serve_node(config: dict[str, Any]) -> None:
    path = Path(config["connection"])
    connection = Connection.read(path)
    config["env"][DIRECTORY_VARIABLE] = str(path.resolve().parent)
    workers = _workers_of(connection, config, in_job="SLURM_JOB_ID" in os.environ)
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    try:
        await workers.start()
        await _outlive(workers, connection, stopping)
    finally:
        await workers.close()
    if workers.failure:
        raise PilotError(workers.failure)


async def _outlive(
    workers: _NannySet | RankSet, connection: Connection, stopping: asyncio.Event
) -> None:
    """Return once all workers have ended, the scheduler is gone, or we are told to stop."""
    silent = 0
    arguments = connection.security().get_connection_args("worker")
    while silent < _PATIENCE and workers.is_running:
        try:
            await asyncio.wait_for(stopping.wait(), _WATCH_S)
            return
        except TimeoutError:
            pass
        try:
            async with rpc(connection.address, connection_args=arguments, timeout=_WATCH_S) as one:
                await asyncio.wait_for(one.identity(), 5 * _WATCH_S)
            silent = 0
        except (OSError, TimeoutError):
            silent += 1


def _nannies(connection: Connection, config: dict[str, Any], mark: str) -> list[_Nurse]:
    """Return the workers of this node, to be started."""
    first = whole_number("SLURM_PROCID", 0) * len(config["resources"])
    nannies = [
        _Nurse(
            connection.address,
            name=f"{config['pilot']}-{first + index}",
            resources=resources,
            **worker_settings(connection, config),
        )
        for index, resources in enumerate(config["resources"])
    ]
    threads = dict.fromkeys(payload.THREAD_VARIABLES, str(config["threads"]))
    for index, nanny in enumerate(nannies):
        # What the process is started with: before numpy asks for threads, and Aer for GPUs.
        # dask's own setting would give way to variables that we happen to have.
        nanny.mark = mark
        own = threads | config["env"] | gpu_environment(config, index)
        nanny.pre_spawn_env.update(own)
        nanny.env.update(own)
    return nannies


def worker_settings(connection: Connection, config: dict[str, Any]) -> dict[str, Any]:
    """Return what all workers of a pilot, and their nannies, are made with."""
    local = f"//{_LOOPBACK}:" in connection.address
    return {
        "nthreads": 1,
        "host": _LOOPBACK if local else None,
        "protocol": "tls",
        "security": connection.security(),
        "memory_limit": config["memory_bytes"],
        "dashboard": False,
        "dashboard_address": f"{_LOOPBACK}:0",
        "death_timeout": _JOIN_S,
    }


def dask_settings(config: dict[str, Any], **more: Any) -> None:
    """Set what dask keeps for a whole process."""
    dask.config.set({"temporary-directory": config["local_directory"]} | more)


def _parent_ends(orders: IO[str]) -> asyncio.Event:
    """Return what is set once the parent lets go of our stdin."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def listen() -> None:
        orders.read()
        with contextlib.suppress(RuntimeError):  # the loop was quicker
            loop.call_soon_threadsafe(ended.set)

    # Not a thread of the loop's: that would be waited for.
    threading.Thread(target=listen, daemon=True).start()
    return ended


def _die_with(parent: int, scratch: str, mark: str) -> None:
    """End the group if the parent died although something else holds our stdin open."""
    tick = threading.Event()
    while os.getppid() == parent:
        tick.wait(_PARENT_POLL_S)
    _end(parent, scratch, mark)


def _end(parent: int, scratch: str, mark: str) -> None:
    """End all that we started; a parent that died cannot remove its scratch itself."""
    if mark:
        lineage.end_all(mark)
    if os.getppid() != parent:
        shutil.rmtree(scratch, ignore_errors=True)
    if os.getpgrp() == os.getpid():  # a group of our own, see local.py
        os.killpg(0, signal.SIGKILL)


def serve_node(description: PilotDescription, connection_file: Path) -> None:
    """Serve the workers of a description on this node, until the manager ends or we are told.

    Raises
    ------
    PilotError
        If the manager refuses them, or is gone.
    """
    mismatch = description.allow_version_mismatch
    config = node_layout(description, description.name, allow_version_mismatch=mismatch)
    config |= {"connection": str(connection_file), "local_directory": None}
    try:
        asyncio.run(_serve_node(config))
    except (OSError, TimeoutError, RuntimeError) as error:  # the last from dask's nannies
        raise PilotError(f"the manager of {connection_file} cannot be joined: {error}") from error


def _run_node(config: dict[str, Any]) -> None:
    """Serve in a job; what goes wrong is one line in its log."""
    try:
        asyncio.run(_serve_node(config))
    except (PilotError, UserError, OSError, TimeoutError, RuntimeError) as error:
        print(f"pilotcut: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def main(argv: list[str]) -> None:
    """Serve as the agent that the command line asks for, then end the process group."""
    role, config = argv[0], json.loads(argv[1])
    if role == "node":
        _run_node(config)
        return
    serve = {"scheduler": _serve_scheduler, "workers": _serve_workers}[role]
    # The mark that our parent gave us: nannies put others into our environment.
    ending = (os.getppid(), config["local_directory"], os.environ.get(lineage.VARIABLE, ""))
    threading.Thread(target=_die_with, args=ending, daemon=True).start()
    try:
        asyncio.run(serve(config, *take_streams()))
    except PilotError as error:
        print(f"pilotcut: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        _end(*ending)


if __name__ == "__main__":
    main(sys.argv[1:])
