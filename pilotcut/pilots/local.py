"""Local pilots: worker processes on this machine, looked after by an agent."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

from pilotcut.errors import PilotError, TaskError
from pilotcut.pilots.agent.command import (
    after_setup,
    agent_command,
    environment,
    provide_package,
    search_path,
)
from pilotcut.pilots.agent.process import Agent, log_tail
from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.mpi.starters import start_of_ranks
from pilotcut.pilots.needed_extras import check_extras
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.worker.node_config import node_config
from pilotcut.pilots.worker.sessions import asked_for

_log = logging.getLogger(__name__)

#: How long the workers of a pilot that comes later may take to join.
JOIN_S = 60.0


class LocalPilot(DaskPilot):
    """Workers that are processes on this machine."""

    _agent: Agent | None = None

    def check_possible(self) -> None:
        """Raise a `PilotError` if there is no MPI here for its ranks."""
        check_extras(self.description)
        # Which MPI another Python has, only the agent that runs on it can tell.
        if self.description.ranks == 1 or self.description.python:
            return
        try:
            start_of_ranks(in_job=False, environ=os.environ | self.description.mpi_environment)
        except TaskError as error:
            raise PilotError(f"pilot '{self.name}': {error}") from None

    def launch_process(self, site: PilotSite) -> None:
        """Start the agent; it imports dask while the scheduler does the same."""
        self.move(PilotState.STARTING)
        config = node_config(self.description, self.key) | {"local_directory": str(site.scratch)}
        python = self.description.python or sys.executable
        command = agent_command("workers", config, python)
        command = after_setup(command, self.description.setup, has_pipes=True)
        run_dir = site.connection_file.parent
        provide_package(self.description.python, run_dir)
        path = search_path(self.description.python, run_dir)
        threads = self.description.threads_per_worker
        env = environment(threads, path) | asked_for(self.description)
        try:
            self._agent = Agent(command, site.logs / f"{self.key}.log", env)
        except OSError as error:
            raise PilotError(f"pilot '{self.name}': {python}: {error.strerror}") from error

    def join(self, site: PilotSite) -> None:
        """Tell the agent how to join."""
        assert self._agent is not None
        super().start(site)
        self._agent.say(str(site.connection_file))

    def wait_active(self, deadline: float) -> None:
        """Wait until all workers have joined."""
        assert self._agent is not None
        while (said := self._agent.hear(deadline)) != "ready":
            _log.warning("pilot '%s': %s", self.name, said)
        self._agent.on_exit = self._agent_lost
        self.move(PilotState.ACTIVE)

    def start(self, site: PilotSite) -> None:
        """Start while the scheduler runs, and become active by and by."""
        self.launch_process(site)
        self.join(site)
        threading.Thread(target=self._become_active, daemon=True, name=f"{self.key}-start").start()

    def _become_active(self) -> None:
        try:
            self.wait_active(time.monotonic() + JOIN_S)
        except PilotError as error:
            self.move(PilotState.FAILED, str(error))
            assert self._agent is not None
            self._agent.close()  # nobody else will: another pilot stands in its place
            return
        # Between its word and `on_exit` nobody hears of its end: the pilot stayed active without
        # workers.
        if self._agent is not None and self._agent.process.poll() is not None:
            self._agent_lost(f"{self._agent.log.stem} ended as soon as it was ready")

    def _agent_lost(self, reason: str) -> None:
        if self.description.ranks > 1:  # it says why
            assert self._agent is not None
            reason = f"{reason}, which ends with:{log_tail(self._agent.log)}"
        self.move(PilotState.FAILED, reason)

    def _release(self) -> None:
        if self._agent is not None:
            self._agent.close()
