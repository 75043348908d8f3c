"""Nannies: the workers of one node, each with a dask nanny that starts it again when it dies.

This module owns what the process of a worker is started with, and the end of what its tasks have
left behind. It refuses to know who asked for the workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from distributed import Nanny, Status

from pilotcut.io.env_variables import whole_number
from pilotcut.pilots.agent.call_server import CallServer
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.connection import Connection
from pilotcut.pilots.worker.dask_settings import worker_settings
from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.pilots.worker.node_config import gpu_environment, thread_environment

_CLOSE_S = 2.0
#: How often a worker is started that dies before it has joined.
_TRIALS = 3


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

    def __init__(
        self,
        connection: Connection,
        config: dict[str, Any],
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._mark = process_tree.new_mark()
        self._tell = tell
        self._make = partial(_nanny, connection, config, self._mark)
        self._nannies = [self._make(index) for index in range(len(config["resources"]))]

    @property
    def is_running(self) -> bool:
        """Whether there is a worker left."""
        return any(nanny.status is Status.running for nanny in self._nannies)

    async def start(self) -> None:
        """Start all workers; those that die meanwhile are tried again, twice."""
        indices: Iterable[int] = range(len(self._nannies))
        for trial in range(1, _TRIALS + 1):
            died = await self._start(indices)
            for index, error in died.items():
                # Nobody answers, or not in time: that is not the worker's death.
                if trial == _TRIALS or isinstance(error, OSError | TimeoutError):
                    raise error
                self._tell(
                    f"worker {self._nannies[index].name} died while it started "
                    f"({words_of(error)}); it is started again, time {trial + 1} of {_TRIALS}"
                )
                self._nannies[index] = self._make(index)
            indices = died

    async def _start(self, indices: Iterable[int]) -> dict[int, Exception]:
        """Start some workers, their processes one after the other; return why some did not.

        A process gets its environment from ours, where its nanny puts it just before, in another
        thread: two at once could give both workers the same GPUs.
        """
        starting: dict[int, asyncio.Future[Any]] = {}
        for index in indices:
            nanny = self._nannies[index]
            starting[index] = begun = asyncio.ensure_future(nanny)
            while not begun.done() and (nanny.process is None or nanny.process.pid is None):
                await asyncio.sleep(0.01)
        ends = await asyncio.gather(*starting.values(), return_exceptions=True)
        found = dict(zip(starting, ends, strict=True))
        return {index: end for index, end in found.items() if isinstance(end, Exception)}

    async def close(self) -> None:
        """End all workers."""
        closing = (nanny.close(timeout=_CLOSE_S) for nanny in self._nannies)
        try:
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 2 * _CLOSE_S)
        finally:
            await asyncio.to_thread(process_tree.end_all, self._mark)


def _nanny(connection: Connection, config: dict[str, Any], mark: str, index: int) -> TreeNanny:
    """Return the nanny of one worker of this node, to be started."""
    # Names must differ on all nodes of a job, and srun numbers the agents on them.
    first = whole_number("SLURM_PROCID", 0) * len(config["resources"])
    nanny = TreeNanny(
        connection.address,
        name=f"{config['pilot']}-{first + index}",
        resources=config["resources"][index],
        plugins=(CallServer(),),
        **worker_settings(connection, config),
    )
    # What the process is started with: before numpy asks for threads, and Aer for GPUs.
    # dask's own setting would give way to variables that we happen to have.
    nanny.mark = mark
    own = thread_environment(config["threads"]) | config["env"] | gpu_environment(config, index)
    nanny.pre_spawn_env.update(own)
    nanny.env.update(own)
    return nanny
