"""Command lines of agents, and the environment that they start with."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.pilots.worker.node_config import thread_environment
from pilotcut.pilots.worker.step_environment import step_environment

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription

#: Of a run directory: where pilotcut is for an interpreter with packages of its own.
_ALONE = "package"


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


def environment(threads: int, path: str | None = None) -> dict[str, str]:
    """Return our environment with the thread counts that must stand before numpy loads.

    `path` is a search path of `search_path`; None is our own.
    """
    own = {"PYTHONPATH": python_path() if path is None else path}
    return step_environment() | thread_environment(threads) | own


def search_path(python: str | None, run_dir: Path) -> str:
    """Return the search path of an agent: ours, or for another Python pilotcut alone.

    Its own packages are why it was named: on our path it would import Aer without the GPU.
    """
    return python_path() if python is None else str(run_dir / _ALONE)


def provide_package(python: str | None, run_dir: Path) -> None:
    """Put pilotcut, and nothing beside it, into the run directory for another Python."""
    if python is None:
        return
    alone = run_dir / _ALONE
    alone.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileExistsError):  # of another pilot
        (alone / "pilotcut").symlink_to(Path(__file__).resolve().parents[2])


def python_path() -> str:
    """Return our search path: as with multiprocessing, what can be imported here can be there."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
