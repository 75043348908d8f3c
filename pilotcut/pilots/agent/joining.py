"""Joining of a manager by an agent of a job: whether it is there, and whether it comes back.

Refuses to know what joins it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from distributed.core import rpc

from pilotcut.errors import PilotError
from pilotcut.pilots.worker.connection import Connection

_TRY_S = 1.0
#: How long a scheduler's answer may take.
_ANSWER_S = 10.0
#: A job that starts has found nobody after so many refusals; a keeper that has just died is
#: started again meanwhile.
_REFUSALS, _REFUSALS_OF_KEEPER = 3, 20
#: For how long, at most, nodes are held for a keeper that is away.
MOST_WAIT_S = 120.0


async def answers(connection: Connection, limit_s: float = _ANSWER_S) -> bool:
    """Return whether a scheduler answers there."""
    arguments = connection.security().get_connection_args("worker")
    try:
        async with rpc(connection.address, connection_args=arguments, timeout=limit_s) as one:
            await asyncio.wait_for(one.identity(), limit_s)
    except (OSError, TimeoutError):
        return False
    return True


async def is_there(connection: Connection) -> bool:
    """Return the same, soon also where nobody listens: dask tries again for 30 s then."""
    return await asyncio.to_thread(connection.is_listened_at) and await answers(connection)


async def find(connection: Connection) -> None:
    """Return once the scheduler answers.

    Raises
    ------
    PilotError
        If it does not: a job that starts after its manager has ended is to hold no nodes.
    """
    for number in range(_REFUSALS_OF_KEEPER if connection.returns_s else _REFUSALS):
        if number:
            await asyncio.sleep(_TRY_S)
        if await is_there(connection):
            return
    raise PilotError(
        f"no manager answers at {connection.address}: it has ended, or its network cannot be "
        f"reached from here (PILOTCUT_HOST names the address that it listens on)"
    )


async def found_again(path: Path, before: Connection, stopping: asyncio.Event) -> Connection | None:
    """Return the connection to a manager that comes back; None if it ends, or never went.

    Parameters
    ----------
    path
        The connection file: it is removed by a manager that ends.
    before
        What was joined.
    stopping
        Ends the wait.
    """
    if not before.returns_s or stopping.is_set() or await is_there(before):
        return None
    limit = time.monotonic() + min(before.returns_s, MOST_WAIT_S)
    while time.monotonic() < limit and path.exists() and not stopping.is_set():
        await asyncio.sleep(_TRY_S)
        try:
            now = Connection.read(path)
        except PilotError:
            continue
        if await is_there(now):
            return now
    return None
