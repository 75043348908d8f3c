"""Rank of an MPI pilot: the process that mpiexec or srun starts for each of them.

    python -m mpi4py -m pilotcut.pilots.mpi.rank '{"pilot": ..., "connection": ..., ...}'

Rank 0 is a worker of the manager's scheduler. It says ``ready`` on stdout once it has joined,
with the process ids of all ranks, and ``left`` when it leaves: when its stdin ends, or when the
scheduler is gone. The others go with it. Everything else that is written goes to stderr, which
is the pilot's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from pilotcut.errors import TaskError
from pilotcut.io.env_variables import whole_number
from pilotcut.pilots.mpi.protocol import REFUSED, RankGroup
from pilotcut.pilots.mpi.world import check, prepare
from pilotcut.pilots.worker.node_config import gpu_environment
from pilotcut.pilots.worker.parent import take_streams, wait_for_end_of
from pilotcut.pilots.worker.process_tree import allow_processes

_CLOSE_S, _LEAVE_S = 1.0, 3.0
_LOCAL_RANK = ("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")


def main(argv: list[str]) -> None:
    """Be one rank until all are let go."""
    config: dict[str, Any] = json.loads(argv[0])
    orders, answers = take_streams()
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    _keep_to_own_gpus(config)
    allow_processes()

    try:
        prepare()
        # Here and not above: the import initialises MPI, and by then a rank must see its own GPUs
        # only.
        from mpi4py import MPI

        check(MPI.COMM_WORLD, config["ranks"])
        if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
            raise TaskError(
                "this MPI is not for threads, expected MPI_THREAD_SERIALIZED at least; take "
                "another library (mpi: mpich)"
            )
    except TaskError as error:
        print(REFUSED, error, file=answers, flush=True)
        sys.exit(f"pilotcut: {error}")
    group = RankGroup(MPI.COMM_WORLD, config["pilot"])
    pids = MPI.COMM_WORLD.allgather(os.getpid())
    if MPI.COMM_WORLD.Get_rank():
        answers.close()
        group.follow()
    else:
        in_peace = asyncio.run(_lead(group, config, orders, answers, pids))
        threading.Timer(_LEAVE_S, os._exit, args=(1,)).start()
        if not in_peace:  # the others were told as well, and have gone
            os._exit(1)
        group.end()
        print("left", file=answers, flush=True)
        sys.stderr.flush()
        MPI.Finalize()
        os._exit(0)  # threads of tasks, if any are left, would be waited for


async def _lead(
    group: RankGroup, config: dict[str, Any], orders: IO[str], answers: IO[str], pids: Sequence[int]
) -> bool:
    """Be a worker; return whether the other ranks are there still."""
    from distributed import Worker  # on rank 0 only: the others start without dask

    from pilotcut.pilots.worker.connection import Connection
    from pilotcut.pilots.worker.dask_settings import WORKER_CONFIG, dask_settings, worker_settings

    loop, stop, signaled = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, signaled.set)
    _keep_signals_from_children((signal.SIGTERM, signal.SIGINT))
    threading.Thread(
        target=_hear, args=(orders, lambda: loop.call_soon_threadsafe(stop.set)), daemon=True
    ).start()
    dask_settings(config, **WORKER_CONFIG)
    group.lead()
    connection = Connection.read(Path(config["connection"]))
    worker = Worker(
        connection.address,
        name=f"{config['pilot']}-0",
        resources=config["resources"][0],
        **worker_settings(connection, config),
    )
    try:
        await worker
        print("ready", *pids, file=answers, flush=True)
        reasons = (stop.wait(), signaled.wait(), worker.finished())
        ends = [asyncio.ensure_future(reason) for reason in reasons]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        with contextlib.suppress(TimeoutError):
            # A task that still runs cannot be stopped, and would be waited for.
            closing = worker.close(timeout=_CLOSE_S, executor_wait=False)
            await asyncio.wait_for(closing, 2 * _CLOSE_S)
    return not signaled.is_set()


def _keep_signals_from_children(signums: Sequence[int]) -> None:
    """Make processes that tasks fork end by signals as others do.

    They inherit our handlers and the pipe to our loop, so it would be us who hear of a signal
    that a task sends to a process of its own. Held back while it forks, it comes when the new
    process has let go of both.
    """
    held = threading.local()

    def hold_back() -> None:
        held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signums)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, held.mask)

    def let_go() -> None:
        signal.set_wakeup_fd(-1)
        for signum in signums:
            signal.signal(signum, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=hold_back, after_in_parent=go_on, after_in_child=let_go)


def _hear(orders: IO[str], on_end: Any) -> None:
    """Wait for the end of our stdin, if it is connected at all: then there is a first line."""
    if orders.readline():
        orders.read()
        with contextlib.suppress(RuntimeError):  # we have left meanwhile
            on_end()


def _die_with(parent: int) -> None:
    """End at once when the launcher's process on this node has died."""
    wait_for_end_of(parent)
    os._exit(1)


def _keep_to_own_gpus(config: dict[str, Any]) -> None:
    if config["gpus"]:
        name = next((name for name in _LOCAL_RANK if os.environ.get(name)), _LOCAL_RANK[0])
        os.environ.update(gpu_environment(config, whole_number(name, 0)))


if __name__ == "__main__":
    main(sys.argv[1:])
