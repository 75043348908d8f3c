"""Hollow workers: many real dask workers in one process, whose tasks only wait.

They join a manager as an attached pilot does. With the build before calls had a way of their
own (it has no `call_server`), tasks reach them through dask.

    python benchmarks/hollow_workers.py CONNECTION_FILE PILOT COUNT FIRST
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from distributed import Worker

from pilotcut.pilots.worker.connection import Connection
from pilotcut.pilots.worker.dask_settings import WORKER_CONFIG, dask_settings, worker_settings
from pilotcut.pilots.worker.node_config import THREADS, pilot_resource

AT_ONCE = 8


def main(path: str, pilot: str, count: str, first: str) -> None:
    """Serve until stdin ends."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:
        dask_settings({"local_directory": scratch}, **WORKER_CONFIG)
        asyncio.run(serve(Connection.read(Path(path)), pilot, int(count), int(first)))


async def serve(connection: Connection, pilot: str, count: int, first: int) -> None:
    """Be workers until stdin ends."""
    settings = worker_settings(connection, {"memory_bytes": 0})
    resources = {pilot_resource(pilot): 1.0, f"{THREADS}:{pilot}": 1.0}
    gate = asyncio.Semaphore(AT_ONCE)

    async def join(number: int) -> Worker:
        async with gate:
            name = f"{pilot}-{number}"
            return await Worker(
                connection.address, name=name, resources=resources, **plugins(), **settings
            )

    workers = await asyncio.gather(*(join(first + k) for k in range(count)))
    print("ready", len(workers), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def plugins() -> dict[str, Any]:
    """Return what makes workers take calls."""
    try:
        from pilotcut.pilots.agent.call_server import CallServer
    except ImportError:
        return {}
    return {"plugins": (CallServer(),)}


if __name__ == "__main__":
    main(*sys.argv[1:])
