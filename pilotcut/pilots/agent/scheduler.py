"""The scheduler of pilots that stay: it keeps what clients wanted whose connection was lost.

dask forgets the tasks of a client at once that is not there any more. Refuses to know who the
clients are, and what their tasks are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from distributed import Scheduler

#: Stands before the name of a client that is away.
_AWAY = "pilotcut-away:"


class KeepingScheduler(Scheduler):
    """A dask scheduler that keeps tasks and results of lost clients for a while.

    Attributes
    ----------
    keeps_s
        For how long.
    told_to_end
        Is set by `end`.
    """

    keeps_s = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told_to_end = asyncio.Event()

    def remove_client(self, client: str, stimulus_id: str | None = None) -> None:
        """Forget a client, but not what it wanted unless it has said goodbye."""
        state = self.clients.get(client)
        # dask 2026.8 gives this argument only where a connection has ended without a word.
        if stimulus_id is not None and state is not None and state.wants_what:
            away = f"{_AWAY}{client}"
            self.client_desires_keys([task.key for task in state.wants_what], away)
            self.loop.call_later(self.keeps_s, super().remove_client, away)
        super().remove_client(client, stimulus_id)


def want(dask_scheduler: Any, client: str, keys: Sequence[str]) -> list[str]:
    """Give a client what it wanted before its connection was lost; return what there is of it."""
    known = [key for key in keys if key in dask_scheduler.tasks]
    dask_scheduler.client_desires_keys(known, client)
    for name in [name for name in dask_scheduler.clients if str(name).startswith(_AWAY)]:
        dask_scheduler.client_releases_keys(known, name)
    return known


def end(dask_scheduler: Any) -> None:
    """Have the scheduler in whose process this runs end."""
    dask_scheduler.told_to_end.set()
