"""Schedulers: dask's with less to do while nothing happens, and that of pilots that stay.

The latter keeps what clients wanted whose connection was lost: dask forgets the tasks of a client
at once that is not there any more. Refuses to know who the clients are, and what their tasks are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from distributed import Scheduler

#: Stands before the name of a client that is away.
_AWAY = "pilotcut-away:"

#: Seconds between two heartbeats of a worker, and how many come in a second from many workers.
_HEARTBEAT_S, _MOST_HEARTBEATS, _LONGEST_S = 5.0, 20, 60.0
#: What dask looks for four times a second: time limits that nobody has set here.
_UNUSED = ("idle-timeout", "no-workers-timeout")


class QuietScheduler(Scheduler):
    """A dask scheduler that hears less often from workers that nothing happens to.

    Heartbeats tell of memory and the like, for dashboards: a worker that goes, and a node that is
    cut off, are noticed by their connection. At dask's pace (2026.8: two a second from one worker,
    167 from a thousand) they took up to 0.25 ms of CPU for each task of a second.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in _UNUSED:
            self.periodic_callbacks.pop(name, None)

    def heartbeat_worker(self, **told: Any) -> dict[str, Any]:
        """Take note of what a worker tells, and say when to tell again."""
        answer = super().heartbeat_worker(**told)
        if "heartbeat-interval" in answer:
            quiet_s = max(_HEARTBEAT_S, len(self.workers) / _MOST_HEARTBEATS)
            own_s = answer["heartbeat-interval"]
            answer["heartbeat-interval"] = max(own_s, min(_LONGEST_S, quiet_s))
        return answer


class KeepingScheduler(QuietScheduler):
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
