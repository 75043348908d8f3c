"""Pilots on this machine: an agent process that nurses worker processes."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from pilotcut.errors import PilotError
from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.layout import node_layout
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.process import Agent, agent_command, environment
from pilotcut.pilots.scheduler import SchedulerLink

#: How long the workers of a pilot that comes later may take to join.
JOIN_S = 60.0


class LocalPilot(DaskPilot):
    """Workers that are processes on this machine."""

    _agent: Agent | None = None

    def launch_process(self, logs: Path, scratch: Path) -> None:
        """Start the agent; it imports dask while the scheduler does the same."""
        self.move(PilotState.STARTING)
        config = node_layout(self.description, self.key) | {"local_directory": str(scratch)}
        python = self.description.python or sys.executable
        command = agent_command("workers", config, python, self.description.setup)
        threads = self.description.threads_per_worker
        try:
            self._agent = Agent(command, logs / f"{self.key}.log", environment(threads))
        except OSError as error:
            raise PilotError(f"pilot '{self.name}': {python}: {error.strerror}") from error

    def join(self, scheduler: SchedulerLink, connection_file: Path) -> None:
        """Tell the agent how to join."""
        assert self._agent is not None
        self._scheduler = scheduler
        self._agent.say(str(connection_file))

    def wait_active(self, deadline: float) -> None:
        """Wait until all workers have joined."""
        assert self._agent is not None
        self._agent.hear(deadline)
        self._agent.on_exit = self._agent_lost
        self.move(PilotState.ACTIVE)

    def follow_on(
        self, scheduler: SchedulerLink, connection_file: Path, logs: Path, scratch: Path
    ) -> None:
        """Start in place of a pilot that has ended, and become active by and by."""
        self.launch_process(logs, scratch)
        self.join(scheduler, connection_file)
        threading.Thread(target=self._become_active, daemon=True, name=f"{self.key}-start").start()

    def _become_active(self) -> None:
        try:
            self.wait_active(time.monotonic() + JOIN_S)
        except PilotError as error:
            self.move(PilotState.FAILED, str(error))

    def _agent_lost(self, reason: str) -> None:
        self.move(PilotState.FAILED, reason)

    def close(self) -> None:
        """End the workers."""
        was_active = self.state is PilotState.ACTIVE
        self.move(PilotState.DRAINING)
        if self._agent is not None:
            self._agent.close()
        self.move(PilotState.DONE if was_active else PilotState.CANCELED)
