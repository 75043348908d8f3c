"""Agent processes on this machine, which a manager starts and speaks with in lines of text."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pilotcut.errors import PilotError
from pilotcut.io.disk import full_in_words
from pilotcut.pilots.worker import process_tree

_CLOSE_S = 5.0
_LOG_TAIL_LINES = 12


class Agent:
    """A process of `pilotcut.pilots.agent.main`, spoken to in lines of text."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str]) -> None:
        self.log = log
        self.on_exit: Callable[[str], None] = lambda reason: None
        self._is_ready = False
        self._mark = process_tree.new_mark()
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=env | process_tree.marked(self._mark),
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
        self.on_exit(f"{self.log.stem} {_end_in_words(code)}, log in {self.log}")
        process_tree.end_all(self._mark)  # what tasks have started outside of the group

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
        return f"{self.log.stem} {what}; its log, {self.log}, ends with:{log_tail(self.log)}"

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
            process_tree.end_all(self._mark)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def log_tail(log: Path) -> str:
    """Return the end of a log, indented, each line after a line break."""
    if not log.exists():
        return f" nothing{full_in_words(log)}"
    lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "".join(f"\n  {line}" for line in lines) or f" nothing{full_in_words(log)}"


def _end_in_words(code: int) -> str:
    if code >= 0:
        return f"ended by itself (exit status {code})"
    number = -code
    known = number in set(signal.Signals)
    name = signal.Signals(number).name if known else f"signal {number}"
    is_cancel = number == signal.SIGTERM  # which scancel and a time limit send to all of a job
    return f"was ended by {name}" + (", as a job's processes are when it is canceled" * is_cancel)
