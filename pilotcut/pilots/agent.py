"""The other side: what runs in the processes that a pilot starts.

    python -m pilotcut.pilots.agent scheduler '{"local_directory": ...}'
    python -m pilotcut.pilots.agent workers   '{"workers": [...], ...}'

An agent speaks lines of text with its parent: the scheduler says its address, the
workers are told it and say `ready`. Everything else, of the agent and of the tasks,
goes to stderr, which the parent points at a log file. An agent lives as long as its
parent: the end of stdin, which comes with any death of the parent, ends the agent and
its whole process group.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
from typing import IO, Any

import dask
from distributed import Nanny, Scheduler
from distributed.diagnostics.plugin import WorkerPlugin

from pilotcut.pilots import payload

_LOOPBACK = "127.0.0.1"
_PARENT_POLL_S = 1.0
_CLOSE_S = 2.0

_SCHEDULER_CONFIG = {
    # The ready queue is ours: dask must take what it is given at once.
    "distributed.scheduler.worker-saturation": float("inf"),
    # Losses are counted by the task manager, which knows each task's `retries`.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing-interval": "20ms",
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


# -- the process -----------------------------------------------------------------------


async def _serve_scheduler(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    dask.config.set(_SCHEDULER_CONFIG | _local(config))
    async with Scheduler(
        host=_LOOPBACK, port=0, dashboard=False, dashboard_address=f"{_LOOPBACK}:0"
    ) as scheduler:
        print(scheduler.address, file=answers, flush=True)
        await _parent_ends(orders)


async def _serve_workers(config: dict[str, Any], orders: IO[str], answers: IO[str]) -> None:
    threads = dict.fromkeys(payload.THREAD_VARIABLES, config["threads"])
    dask.config.set(_local(config) | {"distributed.nanny.pre-spawn-environ": threads})
    address = await asyncio.to_thread(orders.readline)
    if not address:
        return
    nannies = [_nanny(address.strip(), worker) for worker in config["workers"]]
    try:
        await asyncio.gather(*(nanny for nanny in nannies))
        print("ready", file=answers, flush=True)
        await _parent_ends(orders)
    finally:
        closing = (nanny.close(timeout=_CLOSE_S) for nanny in nannies)
        await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), _CLOSE_S)


def _nanny(address: str, worker: dict[str, Any]) -> Nanny:
    return Nanny(
        address,
        name=worker["name"],
        nthreads=1,
        host=_LOOPBACK,
        resources=worker["resources"],
        env=worker["env"],
        memory_limit=worker["memory_bytes"],
        dashboard=False,
        dashboard_address=f"{_LOOPBACK}:0",
        death_timeout=60,
    )


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


def main(argv: list[str]) -> None:
    """Serve as the agent that the command line asks for, then end the process group."""
    role, config = argv[0], json.loads(argv[1])
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
