"""The other side: what runs in the processes that a pilot starts.

    python -m pilotcut.pilots.agent scheduler '{"local_directory": ...}'
    python -m pilotcut.pilots.agent workers   '{"pilot": ..., "resources": [...], ...}'
    python -m pilotcut.pilots.agent node      '{"pilot": ..., "connection": ..., ...}'

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
from distributed.diagnostics.plugin import WorkerPlugin

from pilotcut.descriptions import PilotDescription
from pilotcut.errors import PilotError
from pilotcut.pilots import payload, versions
from pilotcut.pilots.connection import Connection
from pilotcut.pilots.layout import node_layout
from pilotcut.pilots.ranks import DIRECTORY_VARIABLE

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


def run_parcel(blobs: list[bytes]) -> list[bytes]:
    """Run packed calls on the dask worker of this process."""
    from distributed import get_worker

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


# -- the process -----------------------------------------------------------------------


async def _serve_scheduler(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    dask.config.set(_SCHEDULER_CONFIG | _local(config))
    order = await asyncio.to_thread(orders.readline)
    if not order:
        return
    connection = Connection(**json.loads(order))
    async with Scheduler(
        protocol="tls",
        security=connection.security(),
        host=config["host"],
        port=0,
        dashboard=True,
        dashboard_address=f"{_LOOPBACK}:0",  # plain HTTP: for this machine only
    ) as scheduler:
        print(scheduler.address, _dashboard(scheduler), file=answers, flush=True)
        await _parent_ends(orders)


def _dashboard(scheduler: Scheduler) -> str:
    """Return where the dashboard is; "-" without bokeh, which draws it."""
    if importlib.util.find_spec("bokeh") is None or "dashboard" not in scheduler.services:
        return "-"
    return f"http://{_LOOPBACK}:{scheduler.services['dashboard'].port}/status"


async def _serve_workers(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    path = await asyncio.to_thread(orders.readline)
    if not path:
        return
    nannies = _nannies(Connection.read(Path(path.strip())), config)
    try:
        await asyncio.gather(*(nanny for nanny in nannies))
        print("ready", file=answers, flush=True)
        await _parent_ends(orders)
    finally:
        await _close(nannies)


async def _serve_node(config: dict[str, Any]) -> None:
    path = Path(config["connection"])
    connection = Connection.read(path)
    config["env"][DIRECTORY_VARIABLE] = str(path.resolve().parent)
    nannies = _nannies(connection, config)
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    try:
        await _start(nannies)
        await _outlive(nannies, connection, stopping)
    finally:
        await _close(nannies)


async def _start(nannies: list[Nanny]) -> None:
    """Start all workers, their processes one after the other.

    A process gets its environment from ours, where its nanny puts it just before.
    """
    starting: list[asyncio.Future[Any]] = []
    for nanny in nannies:
        starting.append(asyncio.ensure_future(nanny))
        while not starting[-1].done() and (nanny.process is None or nanny.process.pid is None):
            await asyncio.sleep(0.01)
    await asyncio.gather(*starting)


async def _outlive(nannies: list[Nanny], connection: Connection, stopping: asyncio.Event) -> None:
    """Return once all workers have ended, the scheduler is gone, or we are told to stop."""
    silent = 0
    arguments = connection.security().get_connection_args("worker")
    while silent < _PATIENCE and any(n.status is Status.running for n in nannies):
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


def _nannies(connection: Connection, config: dict[str, Any]) -> list[Nanny]:
    """Return the workers of this node, to be started, if the versions agree."""
    different = versions.differences(connection.versions, versions.installed())
    if different and not config["allow_version_mismatch"]:
        raise PilotError(
            f"pilot '{config['pilot']}' is refused: {'; '.join(different)}; install the same "
            f"versions, or allow it with allow_version_mismatch"
        )
    dask.config.set(_local(config))
    first = int(os.environ.get("SLURM_PROCID", 0)) * len(config["resources"])
    local = f"//{_LOOPBACK}:" in connection.address
    nannies = [
        Nanny(
            connection.address,
            name=f"{config['pilot']}-{first + index}",
            nthreads=1,
            host=_LOOPBACK if local else None,
            protocol="tls",
            security=connection.security(),
            resources=resources,
            memory_limit=config["memory_bytes"],
            dashboard=False,
            dashboard_address=f"{_LOOPBACK}:0",
            death_timeout=_JOIN_S,
        )
        for index, resources in enumerate(config["resources"])
    ]
    threads = dict.fromkeys(payload.THREAD_VARIABLES, str(config["threads"]))
    for index, nanny in enumerate(nannies):
        # What the process is started with: before numpy asks for threads, and Aer for GPUs.
        # dask's own setting would give way to variables that we happen to have.
        own = threads | config["env"] | _gpu_environment(config, index)
        nanny.pre_spawn_env.update(own)
        nanny.env.update(own)
    return nannies


def _gpu_environment(config: dict[str, Any], index: int) -> dict[str, str]:
    """Return which GPUs worker `index` of this node sees: its own, or its share of too few."""
    if not config["gpus"]:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(i) for i in range(config["gpus"])]
    each = config["gpus_per_worker"]
    mine = [ids[(index * each + i) % len(ids)] for i in range(each)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}


async def _close(nannies: list[Nanny]) -> None:
    closing = (nanny.close(timeout=_CLOSE_S) for nanny in nannies)
    await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 2 * _CLOSE_S)


def _local(config: dict[str, Any]) -> dict[str, Any]:
    return {"temporary-directory": config["local_directory"]}


async def _parent_ends(orders: IO[str]) -> None:
    await asyncio.to_thread(orders.read)


def _die_with(parent: int, scratch: str) -> None:
    """End the group if the parent died although something else holds our stdin open."""
    tick = threading.Event()
    while os.getppid() == parent:
        tick.wait(_PARENT_POLL_S)
    _end(parent, scratch)


def _end(parent: int, scratch: str) -> None:
    """End the group of processes; a parent that died cannot remove its scratch itself."""
    if os.getppid() != parent:
        shutil.rmtree(scratch, ignore_errors=True)
    if os.getpgrp() == os.getpid():  # a group of our own, see local.py
        os.killpg(0, signal.SIGKILL)


def _take_streams() -> tuple[IO[str], IO[str]]:
    """Keep the pipes for ourselves, so that no task reads orders or prints answers."""
    orders = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return orders, answers


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
    except (PilotError, OSError, TimeoutError, RuntimeError) as error:
        print(f"pilotcut: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def main(argv: list[str]) -> None:
    """Serve as the agent that the command line asks for, then end the process group."""
    role, config = argv[0], json.loads(argv[1])
    if role == "node":
        _run_node(config)
        return
    serve = {"scheduler": _serve_scheduler, "workers": _serve_workers}[role]
    ending = (os.getppid(), config["local_directory"])
    threading.Thread(target=_die_with, args=ending, daemon=True).start()
    try:
        asyncio.run(serve(config, *_take_streams()))
    finally:
        sys.stderr.flush()
        _end(*ending)


if __name__ == "__main__":
    main(sys.argv[1:])
