"""Callback thread: done callbacks of tasks run here, so that they may wait for other tasks."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from pilotcut.pilots.worker.exception_text import traceback_of

_log = logging.getLogger(__name__)


class CallbackThread:
    """Runs callbacks one after the other, whatever they raise, until it is told to end."""

    def __init__(self) -> None:
        self._callbacks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, daemon=True, name="task-callbacks")
        self.thread.start()

    def post(self, callback: Callable[[], Any]) -> None:
        """Run `callback` once those before it have returned."""
        self._callbacks.put(callback)

    def end(self) -> None:
        """End once the callbacks posted so far have returned."""
        self._callbacks.put(None)

    def _run(self) -> None:
        while (callback := self._callbacks.get()) is not None:
            try:
                callback()
            except BaseException as error:  # SystemExit must not end everybody's callbacks
                _log.error("a done callback of a task failed\n%s", traceback_of(error))
