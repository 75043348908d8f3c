"""Pilots on this machine: processes that join one dask scheduler of our own.

The scheduler has a process to itself, and each pilot has one agent process that
nurses its workers. dask only executes: what runs where and when is decided by the
task manager, which places a task on a pilot by a dask resource named after it. (A
restriction to worker addresses would not survive the restart of a worker.)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pilotcut.descriptions import PilotDescription
from pilotcut.errors import PilotError
from pilotcut.pilots.payload import (
    THREAD_VARIABLES,
    Call,
    Loss,
    Report,
    pack_call,
    unpack_outcome,
)
from pilotcut.pilots.pilot import Pilot, PilotState

if TYPE_CHECKING:
    from distributed import Client

_CLOSE_S = 5.0
_LOG_TAIL_LINES = 12
_LARGE_BYTES = 1_000_000


class Agent:
    """A process of `pilotcut.pilots.agent`, spoken to in lines of text."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str]) -> None:
        self.log = log
        self.on_exit: Callable[[str], None] = lambda reason: None
        self._is_ready = False
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=env,
                text=True,
                # A group of its own: the agent can end its workers at one blow, and
                # Ctrl-C in the terminal reaches us only.
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True, name=f"{log.stem}-agent").start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for line in answers:
                self._answers.put(line.strip())
        self._answers.put(None)
        self._kill_group()  # of an agent that was killed, workers may be left
        code = self.process.wait()
        self.on_exit(f"{self.log.stem} ended by itself (exit status {code}), log in {self.log}")

    def say(self, line: str) -> None:
        """Send a line; an agent that is gone is noticed by `hear`."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def hear(self, deadline: float) -> str:
        """Return the agent's next line.

        Raises
        ------
        PilotError
            With the end of the agent's log, if it ends or is silent until `deadline`.
        """
        try:
            answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise PilotError(self._complaint("was not ready in time")) from None
        if answer is None:
            raise PilotError(self._complaint("ended before it was ready"))
        self._is_ready = True
        return answer

    def _complaint(self, what: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        tail = "".join(f"\n  {line}" for line in lines)
        return f"{self.log.stem} {what}; its log, {self.log}, ends with:{tail or ' nothing'}"

    def close(self) -> None:
        """End the process and all that it started."""
        self.on_exit = lambda reason: None
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if not self._is_ready:  # it may still be in its `setup`, which reads no orders
            self._kill_group()
        try:
            self.process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self.process.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class DaskScheduler:
    """The one dask scheduler of a manager, in its own process, and our client of it."""

    def __init__(self, logs: Path, scratch: Path) -> None:
        self._logs = logs
        self._scratch = scratch
        self._agent: Agent | None = None
        self._client: Client | None = None
        self.address = ""

    @property
    def client(self) -> Client:
        """Our client of the scheduler, once connected."""
        assert self._client is not None
        return self._client

    def launch_process(self) -> None:
        """Start the process; `connect` waits for it."""
        config = {"local_directory": str(self._scratch)}
        self._agent = Agent(
            _agent_command("scheduler", config, sys.executable),
            self._logs / "scheduler.log",
            _environment(threads=1),
        )

    def connect(self, deadline: float, on_loss: Callable[[str], None]) -> None:
        """Wait for the scheduler and become its client."""
        assert self._agent is not None
        import dask
        from distributed import Client

        _silence_dask()
        self.address = self._agent.hear(deadline)
        with dask.config.set({"distributed.comm.timeouts.connect": "10s"}):
            self._client = Client(
                self.address,
                set_as_default=False,
                timeout=max(1.0, deadline - time.monotonic()),
                name="pilotcut",
            )
        self._agent.on_exit = on_loss

    @property
    def pid(self) -> int:
        """Process id of the scheduler."""
        assert self._agent is not None
        return self._agent.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._agent is not None and self._agent.process.poll() is None

    def share(self, key: str, blob: bytes) -> None:
        """Carry `blob` to every worker, now and when it joins, as shared object `key`."""
        from pilotcut.pilots.agent import SharedObject

        if not self.is_alive:
            raise PilotError("nothing can be shared: the scheduler has ended")
        self.client.register_plugin(SharedObject(key, blob), name=key)

    def unshare(self, key: str) -> None:
        """Drop the shared object `key` from every worker."""
        if self.is_alive:
            with contextlib.suppress(Exception):  # a worker that just left has dropped it too
                self.client.unregister_worker_plugin(key)

    def close(self) -> None:
        """Disconnect and end the process."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close(timeout=_CLOSE_S)
        if self._agent is not None:
            self._agent.close()


class LocalPilot(Pilot):
    """Workers that are processes on this machine."""

    prefetch = 1

    def __init__(self, description: PilotDescription) -> None:
        super().__init__(description)
        self._agent: Agent | None = None
        self._scheduler: DaskScheduler | None = None
        self._in_flight: dict[str, Callable[[Report], None]] = {}
        self._numbers = itertools.count()
        self.watch(self._lose_all_if_ended)

    @property
    def _client(self) -> Client:
        assert self._scheduler is not None
        return self._scheduler.client

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: Any = self._client.loop  # tornado's, a thin coat over asyncio's
        return cast(asyncio.AbstractEventLoop, loop.asyncio_loop)

    def launch_process(self, logs: Path, scratch: Path) -> None:
        """Start the agent; it imports dask while the scheduler does the same."""
        self.move(PilotState.STARTING)
        threads = self.description.threads_per_worker
        config = {
            "local_directory": str(scratch),
            "threads": threads,
            "workers": [self._worker(i) for i in range(self.slots)],
        }
        python = self.description.python or sys.executable
        command = _agent_command("workers", config, python, self.description.setup)
        try:
            self._agent = Agent(command, logs / f"{self.name}.log", _environment(threads))
        except OSError as error:
            raise PilotError(f"pilot '{self.name}': {python}: {error.strerror}") from error

    def _worker(self, index: int) -> dict[str, Any]:
        description = self.description
        memory = description.memory_bytes or 0
        resources = {_resource(self.name): 1.0}
        if index < description.gpus:
            resources[_gpu_resource(self.name)] = float(description.gpus_per_worker)
        return {
            "name": f"{self.name}-{index}",
            "resources": resources,
            "memory_bytes": memory // description.workers_per_node,
            "env": _gpu_environment(description, index) | _backend_environment(description),
        }

    def join(self, scheduler: DaskScheduler) -> None:
        """Tell the agent where the scheduler is."""
        assert self._agent is not None
        self._scheduler = scheduler
        self._agent.say(scheduler.address)

    def wait_active(self, deadline: float) -> None:
        """Wait until all workers have joined."""
        assert self._agent is not None
        self._agent.hear(deadline)
        self._agent.on_exit = self._agent_lost
        self.move(PilotState.ACTIVE)

    def _agent_lost(self, reason: str) -> None:
        self.move(PilotState.FAILED, reason)

    def launch(self, calls: Sequence[Call], report: Callable[[Report], None]) -> None:
        """Send `calls` to a worker of this pilot as one dask task."""
        key = f"{self.name}-{os.getpid()}-{id(self)}-{next(self._numbers)}"
        with self._lock:
            self._in_flight[key] = report
        if self.state is not PilotState.ACTIVE:
            self._report(key, Loss(self._why_gone()))
            return
        try:
            future = self._submit(key, calls)
            asyncio.run_coroutine_threadsafe(self._follow(key, future), self._loop)
        except Exception as error:
            self._report(key, Loss(f"dask refused the task: {error!r}"))

    def _submit(self, key: str, calls: Sequence[Call]) -> Any:
        import dask

        from pilotcut.pilots.agent import run_parcel

        blobs = [pack_call(call) for call in calls]
        resources = {_resource(self.name): 1.0}
        gpus = max(call.gpus for call in calls)
        if gpus:
            resources[_gpu_resource(self.name)] = float(gpus)
        quiet: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if sum(map(len, blobs)) > _LARGE_BYTES:
            quiet = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
        with quiet:
            return self._client.submit(
                run_parcel, blobs, key=key, resources=resources, pure=False, retries=0
            )

    async def _follow(self, key: str, future: Any) -> None:
        """Fetch the outcomes as soon as they exist, so that no worker has the only copy."""
        report: Report
        try:
            blobs = await self._client.gather(future, asynchronous=True)
            report = [unpack_outcome(blob) for blob in blobs]
        except asyncio.CancelledError:
            report = Loss(self._why_gone())
        except Exception as error:
            report = Loss(_in_words(error))
        finally:
            future.release()
        self._report(key, report)

    def _report(self, key: str, report: Report) -> None:
        with self._lock:
            receiver = self._in_flight.pop(key, None)
        if receiver is not None:  # otherwise the end of the pilot was quicker
            receiver(report)

    def _lose_all_if_ended(self, _: Pilot) -> None:
        if self.state.final:
            with self._lock:
                keys = list(self._in_flight)
            for key in keys:
                self._report(key, Loss(self._why_gone()))

    def _why_gone(self) -> str:
        return self.reason or f"pilot '{self.name}' is {self.state.value}"

    def close(self) -> None:
        """End the workers."""
        is_new = self.state is PilotState.NEW
        was_active = self.move(PilotState.DRAINING) and not is_new
        if self._agent is not None:
            self._agent.close()
        self.move(PilotState.DONE if was_active else PilotState.CANCELED)


# -- processes -------------------------------------------------------------------------


def _agent_command(
    role: str, config: dict[str, Any], python: str, setup: Sequence[str] = ()
) -> list[str]:
    command = [python, "-m", "pilotcut.pilots.agent", role, json.dumps(config)]
    if not setup:
        return command
    # The pipes are the agent's: `module load` and its like may be chatty.
    script = "\n".join(["set -e", "{", *setup, "} </dev/null >&2", f"exec {shlex.join(command)}"])
    return ["bash", "-c", script]


def _environment(threads: int) -> dict[str, str]:
    """Return our environment with the thread counts that must stand before numpy loads."""
    # As multiprocessing does: what can be imported here can be imported there.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"PYTHONPATH": path}


def _gpu_environment(description: PilotDescription, index: int) -> dict[str, str]:
    """Return which GPUs worker `index` sees: its own, or its share of too few."""
    if not description.gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(i) for i in range(description.gpus)]
    each = description.gpus_per_worker
    mine = [ids[(index * each + i) % len(ids)] for i in range(each)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}


def _backend_environment(description: PilotDescription) -> dict[str, str]:
    """Return how the pilot's workers are to simulate, for whatever backend runs there."""
    backend = description.backend
    return {"PILOTCUT_DEVICE": backend.device, "PILOTCUT_METHOD": backend.method}


def _resource(pilot: str) -> str:
    return f"pilot:{pilot}"


def _gpu_resource(pilot: str) -> str:
    return f"gpu:{pilot}"


def _in_words(error: Exception) -> str:
    if type(error).__name__ == "KilledWorker":
        return "the worker died while it held the task"
    return f"the task was lost: {error!r}"


def _silence_dask() -> None:
    """Keep dask's account of lost connections off the terminal; errors reach us anyway."""
    for name in ("distributed.client", "distributed.core", "distributed.comm.tcp"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
