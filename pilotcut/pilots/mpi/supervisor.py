"""Supervisor of the ranks of an MPI pilot: starts all together, and again when one has died.

    launcher -n RANKS python -m mpi4py -m pilotcut.pilots.mpi.rank CONFIG

The launcher is srun inside a job and mpiexec elsewhere. It ends all ranks when one dies, so
this side only has to wait for its end. Ranks that leave in peace say so: a launcher's exit
status is 0 as well if a rank dies of `os._exit(0)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pilotcut.errors import PilotError, TaskError
from pilotcut.pilots.mpi.launch import DIRECTORY_VARIABLE
from pilotcut.pilots.mpi.protocol import REFUSED, failure_mark
from pilotcut.pilots.mpi.starters import RankStart, on_this_machine, start_of_ranks
from pilotcut.pilots.mpi.world import of_no_rank
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.node_config import thread_environment
from pilotcut.pilots.worker.step_environment import step_environment

#: Ranks must have joined after this time.
_JOIN_S = 60.0
#: What ranks may take to leave before they are ended.
_LEAVE_S, _TERM_S = 3.0, 1.0
#: Starts in a row that may fail, and deaths in a row that come within `_SHORT_S` of a start,
#: before the pilot is given up. What a failed task ends counts as neither.
MOST_FAILED_STARTS, MOST_SHORT_LIVES, _SHORT_S = 3, 10, 60.0
_PAUSE_S = 1.0
#: How often ranks on this machine are looked at.
_LOOK_S = 0.5


class RankSupervisor:
    """All ranks of a pilot, as the agent sees them.

    Parameters
    ----------
    config
        What the agent was told, see `pilotcut.pilots.worker.node_config`.
    in_job
        Whether the ranks are to be started by Slurm, on the nodes of a job.

    Attributes
    ----------
    failure
        Why there are no ranks any more, and will not be again; empty as long as there are.
    """

    def __init__(self, config: dict[str, Any], in_job: bool) -> None:
        self.failure = ""
        self._config = config
        self._in_job = in_job
        self._mark = failure_mark(_directory(config), config["pilot"])
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_closing = False
        self._tree = process_tree.new_mark()
        self._pids: list[int] = []
        self._refusal = ""
        self._is_silent = False

    @property
    def is_running(self) -> bool:
        """Whether there are ranks, or will be again."""
        return self._keeping is not None and not self._keeping.done()

    async def start(self) -> None:
        """Start the ranks and wait until they have joined.

        Raises
        ------
        PilotError
            If they do not.
        """
        joined = False
        for again in range(MOST_FAILED_STARTS):
            if again:
                await asyncio.sleep(_PAUSE_S)
            if joined := await self._launch():
                break
            if self._refusal or self._is_silent:
                break
        if self._refusal:
            raise PilotError(f"pilot '{self._config['pilot']}': {self._refusal}")
        if not joined:
            raise PilotError(f"the ranks of pilot '{self._config['pilot']}' did not join")
        self._keeping = asyncio.create_task(self._keep())

    async def _launch(self) -> bool:
        """Start the ranks; return whether rank 0 has joined."""
        try:
            start = start_of_ranks(self._in_job, os.environ | self._config["env"])
        except TaskError as error:
            raise PilotError(str(error)) from None
        command = rank_command(self._config, start, self._in_job)
        env = start.environment(rank_environment(self._config, self._in_job))
        self._mark.unlink(missing_ok=True)
        self._process = process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=env | process_tree.marked(self._tree),
        )
        assert process.stdin is not None
        # By this line rank 0 knows that its stdin is connected: one that a launcher has closed from
        # the start must not look like our end.
        process.stdin.write(b"stay\n")
        try:
            self._pids = []
            return await asyncio.wait_for(self._hear("ready", process), _JOIN_S)
        except TimeoutError:
            self._is_silent = True
            await self._end(process)
            return False

    async def _hear(self, word: str, process: asyncio.subprocess.Process) -> bool:
        """Return whether rank 0 says a word before all ranks have ended."""
        assert process.stdout is not None
        async for line in process.stdout:
            first, *pids = line.split() or [b""]
            if first == REFUSED.encode():
                self._refusal = line.decode(errors="replace").removeprefix(REFUSED).strip()
                return False
            if first == word.encode():
                self._pids = [*map(int, pids)] or self._pids
                return True
            sys.stderr.write(line.decode(errors="replace"))  # the launcher's own words
        return False

    async def _keep(self) -> None:
        """Start the ranks again whenever they have died, and tell why if that has an end."""
        try:
            self.failure = await self._restart_for_ever()
        except (PilotError, OSError) as error:
            self.failure = str(error)
        if self.failure:
            self._log(f"given up, for {self.failure}")

    async def _restart_for_ever(self) -> str:
        """Return why there is no use in it any more; nothing if it is the pilot that ends."""
        failed_starts = short_lives = 0
        joined, joined_at = True, time.monotonic()
        while True:
            in_peace, status = await self._end_of_ranks()
            if self._is_closing:
                return ""
            if self._refusal:
                return self._refusal
            if in_peace:
                return "its ranks have left: the manager's scheduler is gone"
            if self._mark.exists():
                self._log("a task has failed; its ranks start anew")
                failed_starts = short_lives = 0
            else:
                self._log(f"a rank has died ({in_words(status)}); all start anew")
                is_short = joined and time.monotonic() - joined_at < _SHORT_S
                failed_starts = 0 if joined else failed_starts + 1
                short_lives = short_lives + 1 if is_short else 0
            if failed_starts >= MOST_FAILED_STARTS or short_lives >= MOST_SHORT_LIVES:
                times = max(failed_starts, short_lives)
                return f"its ranks died {times} times in a row ({in_words(status)})"
            if failed_starts:
                await asyncio.sleep(_PAUSE_S)
            joined, joined_at = await self._launch(), time.monotonic()

    async def _end_of_ranks(self) -> tuple[bool, int]:
        """Return, once they have ended, whether that was in peace, and the launcher's status."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        farewell = asyncio.create_task(self._hear("left", process))
        watch = asyncio.create_task(self._watch_ranks())
        status = await process.wait()
        watch.cancel()
        process.stdin.close()
        await asyncio.wait([farewell], timeout=_TERM_S)
        await self._end_offspring()
        return farewell.done() and farewell.result(), status

    async def _watch_ranks(self) -> None:
        """End what keeps the launcher from ending when a rank has died.

        It waits for the pipes of a rank to close, which processes that a task has started hold
        open. On the nodes of a job that is not our doing: Slurm waits for the ranks themselves.
        """
        while not any(map(process_tree.is_gone, self._pids)) or self._in_job:
            await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(_TERM_S)
        await self._end_offspring()

    def _log(self, text: str) -> None:
        print(f"pilotcut: pilot '{self._config['pilot']}': {text}", file=sys.stderr, flush=True)

    async def close(self) -> None:
        """Let the ranks leave, and end those that do not."""
        self._is_closing = True
        if self._process is not None:
            await self._end(self._process)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._end_offspring()

    async def _end_offspring(self) -> None:
        """End what ranks that are gone have left on this node; srun does it on the others."""
        await asyncio.to_thread(process_tree.end_all, self._tree)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        for patience_s, end in ((_LEAVE_S, process.terminate), (_TERM_S, process.kill)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), patience_s)
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    end()
        await process.wait()


def rank_command(config: dict[str, Any], start: RankStart, in_job: bool) -> list[str]:
    """Return the command that starts all ranks."""
    ranks, nodes = config["ranks"], config["nodes"]
    module = [sys.executable, "-m", "mpi4py", "-m", "pilotcut.pilots.mpi.rank"]
    command = [*start.command]
    if in_job and start.is_srun:
        # Said anew: srun would take the job's own numbers, which are for one agent a node.
        command += [
            "--export=ALL",
            "--kill-on-bad-exit=1",
            # Our stdin is rank 0's alone: its end is the order to leave, which the others hear from
            # rank 0.
            "--input=0",
            "--wait=5",  # for the others, once a rank has ended, in whatever way
            f"--nodes={nodes}",
            f"--ntasks-per-node={-(-ranks // nodes)}",
            f"--cpus-per-task={config['threads']}",
        ]
    return [*command, "-n", str(ranks), *module, json.dumps(config)]


def rank_environment(config: dict[str, Any], in_job: bool) -> dict[str, str]:
    """Return what the ranks are started with."""
    threads = thread_environment(config["threads"])
    own = {DIRECTORY_VARIABLE: str(_directory(config))}
    env = of_no_rank(step_environment()) | threads | config["env"] | own
    return env if in_job else on_this_machine(env)


def _directory(config: dict[str, Any]) -> Path:
    """Return the directory of the connection file: ranks and manager both have it."""
    return Path(config["connection"]).resolve().parent


def in_words(status: int) -> str:
    """Return the exit status of a launcher as text.

    Examples
    --------
    >>> in_words(9), in_words(137), in_words(1)
    ('ended by SIGKILL', 'ended by SIGKILL', 'exit status 1')
    """
    # A launcher tells of a signal by its number, srun and shells by 128 more.
    number = -status if status < 0 else status - 128 if status > 128 else status
    if number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT, signal.SIGBUS):
        return f"ended by {signal.Signals(number).name}"
    return f"exit status {status}"
