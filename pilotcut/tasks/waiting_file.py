"""The tasks that wait, and why, as a file beside the connection file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pilotcut.io.atomic import write_atomically

FILE_NAME = "waiting.json"

#: How often the file is written, in seconds, and for how many tasks.
PERIOD_S, MOST = 1.0, 50


def write(path: Path, tasks: Iterable[tuple[str, str]]) -> None:
    """Write (task, reason) pairs, whole or not at all."""
    entries = [{"task": task, "reason": reason} for task, reason in tasks]
    write_atomically(path, json.dumps(entries))
