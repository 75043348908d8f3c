"""Command lines of agents, and the environment that they start with."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.worker.node_config import thread_environment


def agent_command(role: str, config: dict[str, Any], python: str | None) -> list[str]:
    """Return the command of an agent, by default with the Python that runs here."""
    return [python or sys.executable, "-m", "pilotcut.pilots.agent.main", role, json.dumps(config)]


def after_setup(command: list[str], setup: Sequence[str], *, has_pipes: bool) -> list[str]:
    """Return a command that runs the shell lines of `setup` first.

    With `has_pipes` the command speaks with us over stdin and stdout, and `setup` is kept from
    both: ``module load`` and its like may be chatty.
    """
    if not setup:
        return command
    lines = ["{", *setup, "} </dev/null >&2"] if has_pipes else [*setup]
    return ["bash", "-c", "\n".join(["set -e", *lines, f"exec {shlex.join(command)}"])]


def on_all_nodes(agent: list[str], description: PilotDescription) -> list[str]:
    """Return the command that starts an agent on each of the pilot's nodes."""
    # srun does not inherit --cpus-per-task any more (Slurm 22.05), but it does inherit an
    # --export=NONE of the job, which leaves its tasks without PATH and PYTHONPATH.
    return [
        "srun",
        # Tasks of several ranks start steps of their own in this job (`mpi.launch`), on the same
        # cores.
        "--overlap",
        "--export=ALL",
        f"--nodes={description.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={description.cores_per_node}",
        "--kill-on-bad-exit=1",
        *agent,
    ]


def environment(threads: int) -> dict[str, str]:
    """Return our environment with the thread counts that must stand before numpy loads."""
    return os.environ | thread_environment(threads) | {"PYTHONPATH": python_path()}


def python_path() -> str:
    """Return our search path: as with multiprocessing, what can be imported here can be there."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
