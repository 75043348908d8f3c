"""External pilots: started by hand, by another manager, or in the allocation of this process."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pilotcut.errors import PilotError
from pilotcut.options import counted
from pilotcut.pilots.agent.command import (
    after_setup,
    agent_command,
    environment,
    on_all_nodes,
    provide_package,
    search_path,
)
from pilotcut.pilots.agent.process import log_tail
from pilotcut.pilots.dask_pilot import DaskPilot, PilotSite
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.registry import RegistryEntry
from pilotcut.pilots.worker.node_config import THREADS, gpu_resource, remote_node_config
from pilotcut.pilots.worker.sessions import asked_for

#: A pilot that has lost all its workers is given up after this time.
EMPTY_S = 15.0
JOIN_S = 90.0
_CLOSE_S = 5.0


class AttachedPilot(DaskPilot):
    """Workers that joined by themselves, through the connection file."""

    def __init__(self, description: PilotDescription, generation: int = 0) -> None:
        super().__init__(description, generation)
        self._empty_since: float | None = None

    def start(self, site: PilotSite) -> None:
        """Take the workers that are there into use."""
        super().start(site)
        self.move(PilotState.ACTIVE, "attached")

    def observe(self, workers: Sequence[dict[str, float]], now: float) -> None:
        """Take note of the workers that there are now."""
        if workers:
            self._empty_since = None
            if len(workers) != self.slots:
                self.description = described(self.name, workers)
                self.note(PilotState.ACTIVE, f"attached, {counted(len(workers), 'worker')}")
            return
        # Not at once: a worker that its nanny starts again is away for a while.
        self._empty_since = self._empty_since or now
        if now - self._empty_since > EMPTY_S:
            self.move(PilotState.DONE, "its workers have left")

    def close(self) -> None:
        """Let go of the workers: they end with the scheduler."""
        self.move(PilotState.DONE)


def described(name: str, workers: Sequence[dict[str, float]]) -> PilotDescription:
    """Return what the workers' resources say of the pilot."""
    gpus = [worker.get(gpu_resource(name), 0) for worker in workers]
    threads = max(int(worker.get(f"{THREADS}:{name}", 1)) for worker in workers)
    return PilotDescription(
        name=name,
        resource="allocation",
        cores_per_node=threads * len(workers),
        threads_per_worker=threads,
        workers_per_node=len(workers),
        gpus_per_node=int(sum(gpus)),
    )


class RemotePilot(DaskPilot):
    """A pilot that another process manages; its state is what the registry says."""

    def __init__(self, entry: RegistryEntry) -> None:
        super().__init__(entry.description)
        self._key = entry.key

    @property
    def key(self) -> str:
        """What tells this pilot's workers from all others."""
        return self._key

    def mirror(self, entry: RegistryEntry) -> None:
        """Take over the state that its manager gives."""
        if entry.description != self.description:
            self.description = entry.description
        self.note(entry.state, entry.reason)

    def close(self) -> None:
        """Let go of the pilot; it stays with its manager."""
        self.move(PilotState.DONE, "not used from here any more")


class AllocationPilot(DaskPilot):
    """Workers on the nodes of the Slurm allocation that this process runs in."""

    _process: subprocess.Popen[bytes] | None = None
    _log = Path()
    _started = 0.0

    def check_possible(self) -> None:
        """Raise a `PilotError` outside of an allocation."""
        if "SLURM_JOB_ID" not in os.environ:
            raise PilotError(
                f"pilot '{self.name}': resource is allocation, but this process runs in no Slurm "
                f"allocation; start it with sbatch (see slurm/train.sbatch), or use resource: slurm"
            )

    def start(self, site: PilotSite) -> None:
        """Start an agent on every node through srun."""
        super().start(site)
        self._started, self._log = time.time(), site.logs / f"{self.key}.log"
        d = self.description
        config = remote_node_config(d, self.key, site.connection_file.resolve())
        agent = agent_command("node", config, d.python)
        agent = after_setup(agent, d.setup, has_pipes=False)
        # The agent of an MPI pilot starts the ranks by srun itself.
        command = agent if d.ranks > 1 else on_all_nodes(agent, d)
        run_dir = site.connection_file.resolve().parent
        provide_package(d.python, run_dir)
        path = search_path(d.python, run_dir)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(d.threads_per_worker, path) | asked_for(d),
                start_new_session=True,
            )
        self.move(PilotState.STARTING, "waiting for its workers")

    def observe(self, joined: int, now: float) -> None:
        """Take note of how many workers have joined."""
        assert self._process is not None
        if self.state.final or self.state is PilotState.DRAINING:
            return
        if self._process.poll() is not None:
            self.move(PilotState.FAILED, f"its workers have ended; {self._end_of_log()}")
        elif joined >= self.slots:
            self.move(PilotState.ACTIVE)
        elif self.state is PilotState.STARTING and now - self._started > JOIN_S:
            self.move(PilotState.FAILED, f"its workers did not join in time; {self._end_of_log()}")

    def _end_of_log(self) -> str:
        return f"their log, {self._log}, ends with:{log_tail(self._log)}"

    def _release(self) -> None:
        """End the workers; the allocation stays."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
