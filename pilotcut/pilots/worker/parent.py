"""Parent of an agent or a rank: its orders and answers over pipes, and its end."""

from __future__ import annotations

import os
import threading
from typing import IO

#: How often a process looks whether its parent is there still.
POLL_S = 1.0


def take_streams() -> tuple[IO[str], IO[str]]:
    """Keep the pipes for ourselves, so that no task reads orders or prints answers."""
    orders = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return orders, answers


def wait_for_end_of(parent: int) -> None:
    """Return once this process, which was started by `parent`, belongs to another one.

    The end of stdin tells that sooner, unless something else holds its other end open.
    """
    tick = threading.Event()
    while os.getppid() == parent:
        tick.wait(POLL_S)
