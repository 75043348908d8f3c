"""Agent: the process that a pilot starts on a node, and that looks after what runs there.

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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pilotcut.errors import PilotError, UserError
from pilotcut.io.descriptors import make_room
from pilotcut.pilots.agent import joining, keepers
from pilotcut.pilots.agent.entry_points import PromptMessages, WorkerNews
from pilotcut.pilots.agent.nannies import NannySet
from pilotcut.pilots.agent.scheduler import KeepingScheduler, QuietScheduler
from pilotcut.pilots.mpi.launch import DIRECTORY_VARIABLE
from pilotcut.pilots.mpi.supervisor import RankSupervisor
from pilotcut.pilots.mpi.world import of_no_rank
from pilotcut.pilots.worker import process_tree, versions
from pilotcut.pilots.worker.connection import Connection
from pilotcut.pilots.worker.dask_settings import (
    LOOPBACK,
    SCHEDULER_CONFIG,
    WORKER_CONFIG,
    dask_settings,
)
from pilotcut.pilots.worker.node_config import remote_node_config
from pilotcut.pilots.worker.parent import POLL_S, take_streams, wait_for_end_of
from pilotcut.pilots.worker.sessions import asked_for, kept_session

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription

#: How often an agent of a job looks after its workers and the scheduler, and how often in a
#: row the scheduler may be silent.
_WATCH_S, _PATIENCE = 2.0, 8
#: For the connections of thousands of workers.
_DESCRIPTORS = 32_768
#: How often in a row it is not there, while workers start.
_REFUSALS = 2


async def _serve_scheduler(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    dask_settings(config, **SCHEDULER_CONFIG)
    make_room(_DESCRIPTORS)
    # The certificate comes by this pipe, since any user of the machine can read a command line.
    order = await asyncio.to_thread(orders.readline)
    if not order:
        if "kept" in config:
            keepers.start_next(Path(config["kept"]))
        return
    connection = Connection(**json.loads(order))
    async with (KeepingScheduler if "kept" in config else QuietScheduler)(
        protocol="tls",
        security=connection.security(),
        host=config["host"],
        port=0,
        dashboard=config["dashboard"],
        dashboard_address=f"{LOOPBACK}:0",  # plain HTTP: for this machine only
    ) as scheduler:
        scheduler.add_plugin(PromptMessages(), name="prompt")
        scheduler.add_plugin(WorkerNews(), name="news")
        link = _dashboard(scheduler) if config["dashboard"] else "-"
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile
            print(scheduler.address, link, file=answers, flush=True)
        if isinstance(scheduler, KeepingScheduler):
            scheduler.keeps_s = config["returns_s"]
            await keepers.outlive(
                Path(config["kept"]), scheduler.address, scheduler.told_to_end, config["returns_s"]
            )
        else:
            await _parent_ends(orders).wait()


def _dashboard(scheduler: QuietScheduler) -> str:
    """Return where the dashboard is; "-" without bokeh, which draws it."""
    if importlib.util.find_spec("bokeh") is None or "dashboard" not in scheduler.services:
        return "-"
    return f"http://{LOOPBACK}:{scheduler.services['dashboard'].port}/status"


def _say(line: str) -> None:
    print(f"pilotcut: {line}", file=sys.stderr, flush=True)


def _workers_of(
    connection: Connection,
    config: dict[str, Any],
    in_job: bool,
    tell: Callable[[str], None] = _say,
) -> NannySet | RankSupervisor:
    """Return what is to be started on this node, if the versions agree."""
    different = versions.differences(connection.versions, versions.installed())
    if different and not config["allow_version_mismatch"]:
        raise PilotError(
            f"pilot '{config['pilot']}' is refused: {'; '.join(different)}; install the same "
            f"versions, or allow it with allow_version_mismatch"
        )
    dask_settings(config, **WORKER_CONFIG)
    if config["ranks"] > 1:
        return RankSupervisor(config, in_job)
    return NannySet(connection, config, tell)


async def _serve_workers(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    path = (await asyncio.to_thread(orders.readline)).strip()
    if not path:
        return
    parent = _parent_ends(orders)
    async with kept_session(config["env"]):
        config = config | {"connection": path}
        tell = partial(print, file=answers, flush=True)
        connection = Connection.read(Path(path))
        workers = _workers_of(connection, config, False, tell)
        try:
            if not await _have_started(workers, connection, parent):
                return
            print("ready", file=answers, flush=True)
            while not parent.is_set() and not workers.failure:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(parent.wait(), POLL_S)
        finally:
            await workers.close()


async def _serve_node(config: dict[str, Any]) -> None:
    path = Path(config["connection"])
    connection = Connection.read(path)
    config["env"][DIRECTORY_VARIABLE] = str(path.resolve().parent)
    # What a task starts is not one of the several agents that srun has started.
    for name in os.environ.keys() - of_no_rank(os.environ).keys():
        del os.environ[name]
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    async with kept_session(config["env"]):
        failure = ""
        joined: Connection | None = connection
        while joined is not None:
            failure = await _serve_manager(joined, config, stopping)
            joined = await joining.found_again(path, joined, stopping)
    if failure:
        raise PilotError(failure)


async def _serve_manager(
    connection: Connection, config: dict[str, Any], stopping: asyncio.Event
) -> str:
    """Serve until all workers have ended or the manager is gone; return what went wrong."""
    await joining.find(connection)
    workers = _workers_of(connection, config, in_job="SLURM_JOB_ID" in os.environ)
    try:
        if await _have_started(workers, connection, stopping):
            await _outlive(workers, connection, stopping)
    finally:
        # Of workers that were starting, dask may wait for a scheduler that is gone.
        with contextlib.suppress(TimeoutError):
            await workers.close()
    return workers.failure


async def _have_started(
    workers: NannySet | RankSupervisor, connection: Connection, stopping: asyncio.Event
) -> bool:
    """Start the workers; False if the manager goes meanwhile: dask would wait for a minute."""
    starting = asyncio.ensure_future(workers.start())
    silent = 0
    while not starting.done() and silent < _REFUSALS and not stopping.is_set():
        await asyncio.wait([starting], timeout=_WATCH_S)
        if not starting.done():
            silent = 0 if await joining.is_there(connection) else silent + 1
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await starting
        return False
    try:
        await starting
    except Exception:
        if await joining.is_there(connection):
            raise
        return False
    return True


async def _outlive(
    workers: NannySet | RankSupervisor, connection: Connection, stopping: asyncio.Event
) -> None:
    """Return once all workers have ended, the scheduler is gone, or we are told to stop."""
    silent = 0
    while silent < _PATIENCE and workers.is_running:
        try:
            await asyncio.wait_for(stopping.wait(), _WATCH_S)
            return
        except TimeoutError:
            pass
        silent = 0 if await joining.answers(connection, 5 * _WATCH_S) else silent + 1


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
    wait_for_end_of(parent)
    _end(parent, scratch, mark)


def _end(parent: int, scratch: str, mark: str) -> None:
    """End all that we started; a parent that died cannot remove its scratch itself."""
    if mark:
        process_tree.end_all(mark)
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
    config = remote_node_config(description, description.name, connection_file)
    os.environ.update(asked_for(description))
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
    ending = (os.getppid(), config["local_directory"], os.environ.get(process_tree.VARIABLE, ""))
    if not config.get("kept"):
        threading.Thread(target=_die_with, args=ending, daemon=True).start()
    try:
        asyncio.run(serve(config, *take_streams()))
    except PilotError as error:
        print(f"pilotcut: {error}", file=sys.stderr)
    finally:
        # `_end` kills this process as well, with whatever has not been written yet.
        sys.stderr.flush()
        _end(*ending)


if __name__ == "__main__":
    main(sys.argv[1:])
