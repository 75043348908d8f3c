"""Nannies: the workers of one node, each with a dask nanny that starts it again when it dies.

This module owns what the process of a worker is started with, and the end of what its tasks have
left behind. It refuses to know who asked for the workers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from distributed import Nanny, Status

from pilotcut.io.env_variables import whole_number
from pilotcut.pilots.agent.call_server import CallServer
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.connection import Connection
from pilotcut.pilots.worker.dask_settings import worker_settings
from pilotcut.pilots.worker.node_config import gpu_environment, thread_environment

_CLOSE_S = 2.0


class TreeNanny(Nanny):
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
                await asyncio.to_thread(process_tree.end_all, self._life)
                if self.status in (Status.closing, Status.closed):
                    return self.status
            self._life = process_tree.new_mark(self.mark)
            # dask (2026.8) puts the first into its own environment before it starts the process,
            # and the second into that of the process once Python runs there.
            for variables in (self.pre_spawn_env, self.env):
                variables.update(process_tree.marked(self._life))
        return await super().instantiate()


class NannySet:
    """The workers of a node, each nursed by a nanny, which starts it again when it dies."""

    failure = ""

    def __init__(self, connection: Connection, config: dict[str, Any]) -> None:
        self._mark = process_tree.new_mark()
        self._nannies = _nannies(connection, config, self._mark)

    @property
    def is_running(self) -> bool:
        """Whether there is a worker left."""
        return any(nanny.status is Status.running for nanny in self._nannies)

    async def start(self) -> None:
        """Start all workers, their processes one after the other.

        A process gets its environment from ours, where its nanny puts it just before, in another
        thread: two at once could give both workers the same GPUs.
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
            await asyncio.to_thread(process_tree.end_all, self._mark)


def _nannies(connection: Connection, config: dict[str, Any], mark: str) -> list[TreeNanny]:
    """Return the workers of this node, to be started."""
    # Names must differ on all nodes of a job, and srun numbers the agents on them.
    first = whole_number("SLURM_PROCID", 0) * len(config["resources"])
    nannies = [
        TreeNanny(
            connection.address,
            name=f"{config['pilot']}-{first + index}",
            resources=resources,
            plugins=(CallServer(),),
            **worker_settings(connection, config),
        )
        for index, resources in enumerate(config["resources"])
    ]
    threads = thread_environment(config["threads"])
    for index, nanny in enumerate(nannies):
        # What the process is started with: before numpy asks for threads, and Aer for GPUs.
        # dask's own setting would give way to variables that we happen to have.
        nanny.mark = mark
        own = threads | config["env"] | gpu_environment(config, index)
        nanny.pre_spawn_env.update(own)
        nanny.env.update(own)
    return nannies
