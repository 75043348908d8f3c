"""Scheduler of a manager: one dask scheduler in a process of its own, and our client of it.

dask is imported where it is used: programs with pilots in this process only start without it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.errors import PilotError, UserError
from pilotcut.pilots.agent.command import agent_command, environment
from pilotcut.pilots.agent.process import Agent
from pilotcut.pilots.worker.connection import Connection
from pilotcut.pilots.worker.dask_settings import SEND_S
from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.pilots.worker_links import LeftLaunch, WorkerLinks

if TYPE_CHECKING:
    from distributed import Client

_CLOSE_S = 5.0
#: How often the scheduler is asked for its workers at least, though it tells of each change.
_ASK_S = 10.0

#: Where schedulers listen that serve this machine only.
LOOPBACK = "127.0.0.1"

#: Names the address to listen on, and to be reached by.
HOST_VARIABLE = "PILOTCUT_HOST"

#: With "on" there is a dashboard. It is plain HTTP without a password: whoever else is on a login
#: node can read it.
DASHBOARD_VARIABLE = "PILOTCUT_DASHBOARD"


class SchedulerLink:
    """A client of a scheduler that somebody runs.

    Parameters
    ----------
    home
        The directory of its connection file, which all who join can read and write.

    Attributes
    ----------
    returns
        Whether one that cannot be reached may come back.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._client: Client | None = None
        self._links: WorkerLinks | None = None
        self.returns = False
        self._shared: dict[str, bytes] = {}
        self._left: list[LeftLaunch] = []
        self._identity = uuid.uuid4().bytes
        self._workers: list[dict[str, float]] = []
        self._looked = (-1, 0.0)  # what had been heard of workers then, and when

    @property
    def links(self) -> WorkerLinks:
        """Our connections to its workers, once connected."""
        assert self._links is not None
        return self._links

    @property
    def client(self) -> Client:
        """Our client of the scheduler, once connected."""
        assert self._client is not None
        return self._client

    @property
    def is_alive(self) -> bool:
        """Whether the scheduler can be reached, as far as is known."""
        return self._client is not None and self._client.status == "running"

    def attach(self, connection: Connection, timeout_s: float) -> None:
        """Become a client, for the first time or again.

        Raises
        ------
        PilotError
            If nobody answers there in time.
        """
        import dask
        from distributed import Client

        _silence_dask()
        is_again, self.returns = self._client is not None, connection.returns_s > 0
        if self._links is not None:
            self._left += self._links.hand_over()
        SchedulerLink.close(self)
        try:
            # dask's own 30 s are long for a manager that has ended.
            with dask.config.set({"distributed.comm.timeouts.connect": "10s"}):
                self._client = Client(
                    connection.address,
                    security=connection.security(),
                    set_as_default=False,
                    timeout=max(1.0, timeout_s),
                    name="pilotcut",
                )
            # dask 2026.8 sends every 10 ms: more than many a task takes. Measured on one worker,
            # tasks one after the other: 19 to 23 ms each so, 12 ms this way; as many a second.
            if self._client.scheduler_comm is not None:
                self._client.scheduler_comm.interval = SEND_S
            if self.returns:
                # dask 2026.8 would connect again by itself, to the same address only.
                self._client._timeout = 0
            if is_again:
                self._share_again()
            left, self._left = self._left, []
            self._looked = (-1, 0.0)
            self._links = WorkerLinks(
                self._client, connection.security(), self._identity, connection.returns_s, left
            )
        except OSError as error:
            raise PilotError(
                f"no manager answers at {connection.address}: it has ended, or its network cannot "
                f"be reached from here"
            ) from error

    def reclaim(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return dask's futures of what is known there still, after a connection was lost."""
        from distributed import Future

        from pilotcut.pilots.agent.scheduler import want

        # Before the scheduler is asked: its answers about them go to futures that exist.
        futures: dict[str, Any] = {key: Future(key, self.client) for key in keys}
        found = self.client.run_on_scheduler(want, client=self.client.id, keys=list(keys))
        return {key: futures[key] for key in found}

    def workers(self) -> list[dict[str, float]]:
        """Return the dask resources of each worker that has joined."""
        from pilotcut.pilots.agent.entry_points import resources_of_workers

        # Looked at twice a second; the scheduler is asked when it has told of one that came or
        # went, which by itself cost 6 ms of CPU a second in both processes.
        heard, now = self.links.heard, time.monotonic()
        if heard != self._looked[0] or now - self._looked[1] > _ASK_S:
            self._workers = self.client.run_on_scheduler(resources_of_workers)
            self._looked = heard, now
        return self._workers

    def share(self, key: str, blob: bytes) -> None:
        """Carry `blob` to every worker, now and when it joins, as shared object `key`."""
        from pilotcut.pilots.agent.entry_points import SharedObject

        if not self.is_alive:
            raise PilotError(self._cannot_share())
        try:
            self.client.register_plugin(SharedObject(key, blob), name=key)
            if self.returns:
                self._shared[key] = blob
        except Exception as error:  # dask's CommClosedError, an OSError, and whatever else it has
            is_gone = isinstance(error, OSError) or not self.is_alive
            fault = f"nothing can be shared: {words_of(error)}"
            raise PilotError(self._cannot_share() if is_gone else fault) from error

    def _share_again(self) -> None:
        """Share with a scheduler that is another one what the one before had."""
        from pilotcut.pilots.agent.entry_points import SharedObject, names_of_shared

        there = self.client.run_on_scheduler(names_of_shared)
        for key in self._shared.keys() - set(there):
            self.client.register_plugin(SharedObject(key, self._shared[key]), name=key)

    def _cannot_share(self) -> str:
        log = self.home / "logs" / "scheduler.log"
        return (
            "nothing can be shared: the scheduler of the pilots has ended"
            f"{f', log in {log}' if log.exists() else ''}; start the pilots anew"
        )

    def unshare(self, key: str) -> None:
        """Drop the shared object `key` from every worker."""
        self._shared.pop(key, None)
        if self.is_alive:
            with contextlib.suppress(Exception):  # a worker that just left has dropped it too
                self.client.unregister_worker_plugin(key)

    def close(self) -> None:
        """Disconnect."""
        if self._links is not None:
            self._links.close()
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close(timeout=_CLOSE_S)


# In a process of its own and with `worker-saturation` inf, no-op tasks are submitted at 1,249 a
# second in place of 756 with a scheduler in the client's (dask 2026.8, two pilots of two threads).
class DaskScheduler(SchedulerLink):
    """The scheduler that a manager runs in a process of its own.

    Parameters
    ----------
    home, scratch
        Where its log, in ``logs``, and its files go.
    host
        The address or name it listens on; None for all interfaces of this machine.
    """

    def __init__(self, home: Path, scratch: Path, host: str | None = LOOPBACK) -> None:
        super().__init__(home)
        self._scratch = scratch
        self._host = host
        self._agent: Agent | None = None
        self.dashboard = ""

    def launch_process(self, **more: Any) -> None:
        """Start the process; `connect` waits for it."""
        config = {
            "local_directory": str(self._scratch),
            "host": self._host,
            "dashboard": has_dashboard(),
        } | more
        self._agent = Agent(
            agent_command("scheduler", config, None),
            self.home / "logs" / "scheduler.log",
            environment(threads=1),
        )

    def connect(
        self, deadline: float, on_loss: Callable[[str], None], connection: Connection | None = None
    ) -> Connection:
        """Wait for the scheduler, become its client, and return how others join it.

        `connection` has the certificate, None for a new one.
        """
        assert self._agent is not None
        connection = connection or Connection.fresh()
        self._agent.say(json.dumps(asdict(connection)))  # a key is nothing for a command line
        address, dashboard = self._agent.hear(deadline).split()
        self.dashboard = "" if dashboard == "-" else dashboard
        connection = connection.at(address)
        self.attach(connection, deadline - time.monotonic())
        self._agent.on_exit = on_loss
        return connection

    @property
    def pid(self) -> int:
        """Process id of the scheduler."""
        assert self._agent is not None
        return self._agent.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._agent is not None and self._agent.process.poll() is None

    def close(self) -> None:
        """Disconnect and end the process."""
        super().close()
        if self._agent is not None:
            self._agent.close()


def listening_host(wide: bool) -> str | None:
    """Return where to listen: this machine only, or all interfaces if `wide`.

    The environment variable PILOTCUT_HOST names another address, for clusters whose nodes
    reach only some of this machine's.

    Raises
    ------
    UserError
        If that is no address of this machine.
    """
    named = os.environ.get(HOST_VARIABLE)
    if not named:
        return None if wide else LOOPBACK
    try:
        family, *_, address = socket.getaddrinfo(named, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError as error:
        raise UserError(
            f"{HOST_VARIABLE} is '{named}', expected an address or a name of this machine "
            f"({error.strerror or error}); 'hostname -I' prints its addresses"
        ) from None
    return named


def _silence_dask() -> None:
    """Keep dask's account of lost connections off the terminal; errors reach us anyway."""
    for name in ("batched", "client", "comm.tcp", "core"):
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)


def has_dashboard() -> bool:
    """Return whether dask's dashboard is wanted, as the environment says.

    Raises
    ------
    UserError
        If it says neither "on" nor "off".
    """
    said = os.environ.get(DASHBOARD_VARIABLE) or "off"
    if said not in ("on", "off"):
        raise UserError(
            f"{DASHBOARD_VARIABLE} is '{said}', expected on or off; leave it out for off"
        )
    return said == "on"
