"""Job script of a pilot: directives, environment and the agent's command, as a dask-jobqueue job.

Every value of the description is checked (see `pilotcut.pilots.description`) or quoted; only the
lines of `setup` are the user's own shell. This module refuses to know what becomes of the job.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pilotcut.errors import PilotError
from pilotcut.io.extras import require
from pilotcut.pilots.agent.command import agent_command, on_all_nodes, search_path
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.worker.node_config import remote_node_config, thread_environment
from pilotcut.pilots.worker.sessions import asked_for

if TYPE_CHECKING:
    from pilotcut.pilots.slurm.dask_job import PilotJob

_IMPORTING = threading.Lock()


def make_job(
    description: PilotDescription,
    key: str,
    connection_file: Path,
    logs: Path,
    *,
    is_rival: bool = False,
) -> PilotJob:
    """Return the job of a pilot, not yet submitted; of rivals all but the first to start end.

    Raises
    ------
    PilotError
        If sbatch would not take the path of the log.
    MissingExtraError
        If dask-jobqueue is not installed.
    """
    job = _bare(description, key, connection_file)
    job.job_header = _header(_directives(description, key, logs, f"{key}-%j.log"))
    job._command_template = _command(description, key, connection_file)
    if is_rival:
        claim = shlex.quote(str(claim_of(key, connection_file)))
        over = f"mkdir {claim} || {{ echo 'another size of this pilot has started'; exit 0; }}"
        job._command_template = f"{over}\n{job._command_template}"
    return job


def claim_of(key: str, connection_file: Path) -> Path:
    """Return the directory that the first of rivals makes when it starts."""
    return connection_file.with_name(f"{key}.started")


def make_array(
    members: Sequence[tuple[PilotDescription, str]], connection_file: Path, logs: Path
) -> PilotJob:
    """Return the array of the jobs of pilots of one entry, (description, key) each, in order.

    Raises
    ------
    PilotError
        See `make_job`.
    """
    description = members[0][0]
    kind = description.kind
    job = _bare(description, kind, connection_file)
    directives = _directives(description, kind, logs, f"{kind}-%A_%a.log")
    job.job_header = _header([*directives, f"--array=0-{len(members) - 1}"])
    cases = [
        f"{index}) {_command(one, key, connection_file)} ;;"
        for index, (one, key) in enumerate(members)
    ]
    job._command_template = "\n".join(['case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac"])
    return job


def make_hetjob(
    members: Sequence[tuple[PilotDescription, str]], connection_file: Path, logs: Path
) -> PilotJob:
    """Return the heterogeneous job whose components are pilots, (description, key) each, in order.

    Raises
    ------
    PilotError
        See `make_job`.
    """
    first, name = members[0][0], members[0][0].hetjob
    assert name is not None
    job = _bare(first, name, connection_file)
    components = [_header(_directives(d, name, logs, f"{name}-%j.log")) for d, _ in members]
    job.job_header = "\n#SBATCH hetjob\n".join(components)
    steps = []
    for index, (d, key) in enumerate(members):
        agent = agent_command("node", remote_node_config(d, key, connection_file), d.python)
        lines = [*_prologue(d, connection_file.parent), f"exec {shlex.join(agent)}"]
        step = on_all_nodes(["bash", "-c", "\n".join(lines)], d)
        steps.append(shlex.join([step[0], f"--het-group={index}", *step[1:]]) + " &")
    job._command_template = "\n".join([*steps, "wait"])
    return job


def _header(directives: Iterable[str]) -> str:
    return "\n".join(f"#SBATCH {line}" for line in directives)


def _bare(description: PilotDescription, key: str, connection_file: Path) -> PilotJob:
    """Return a job without directives and command."""
    require(f"pilot '{description.name}': resource slurm", "slurm")
    job_class = _pilot_job()
    # Of dask-jobqueue we use the submission. What it would write into the header and the
    # command, in part out of the user's jobqueue.yaml, is replaced by what is asked for.
    return job_class(
        "of the connection file",
        name=key,
        cores=description.cores_per_node,
        job_cpu=description.cores_per_node,
        processes=description.workers_per_node,
        memory="1GiB",
        job_mem="1G",
        walltime=description.walltime,
        interface="",
        worker_extra_args=[],
        shebang="#!/usr/bin/env bash",
        job_script_prologue=_prologue(description, connection_file.parent),
        log_directory=os.curdir,  # which exists: it would be made
    )


def _pilot_job() -> type[PilotJob]:
    """Import dask-jobqueue's job without the handler of SIGINT that it would install.

    With that Ctrl-C would end us with status 0, and in a thread the import would fail.
    """
    with _IMPORTING:
        kept = signal.signal
        signal.signal = lambda *_: None  # type: ignore[assignment]
        try:
            from pilotcut.pilots.slurm.dask_job import PilotJob
        finally:
            signal.signal = kept
    return PilotJob


def _directives(d: PilotDescription, key: str, logs: Path, log_name: str) -> list[str]:
    log = str(logs / log_name)
    if not log.isprintable() or "%" in str(logs) or "\\" in log:
        raise PilotError(
            f"pilot '{d.name}': its log would be {log!r}, expected a path without '%', '\\' and "
            f"line breaks, which sbatch does not take as they are; use another --run-dir"
        )
    memory = [f"--mem={-(-d.memory_bytes // 2**20)}M"] if d.memory_bytes else []
    return [
        f"--job-name=pilotcut-{key}",
        f"--nodes={d.nodes}",
        *_tasks(d),
        *memory,
        *_devices(d),
        f"--time={d.walltime}",
        *(f"--{name}={shlex.quote(value)}" for name, value in placement(d).items()),
        f"--output={shlex.quote(log)}",
        # Slurm would run it again under its old number, and the pilot of that has ended: `replace`
        # asks for another one instead.
        "--no-requeue",
        # Behind ours: of two options sbatch takes the later one, and --gres with a type replaces
        # ours.
        *d.directives,
    ]


def placement(d: PilotDescription) -> dict[str, str]:
    """Return the options of sbatch and srun, with values, that say where a job may be."""
    named = {
        "partition": d.queue,
        "account": d.account,
        "qos": d.qos,
        "constraint": d.constraint,
        "reservation": d.reservation,
    }
    return {name: value for name, value in named.items() if value}


def _devices(d: PilotDescription) -> list[str]:
    """Return what asks for GPUs, and for a QPU that is a resource of Slurm's."""
    generic = [f"gpu:{d.gpus_per_node}"] if d.gpus_per_node else []
    option, _, value = ((d.backend.qpu and d.backend.qpu.slurm) or "").partition("=")
    if option == "gres":
        generic.append(value)
    asked = [f"--gres={','.join(generic)}"] if generic else []
    return [*asked, *([f"--qpu={value}"] if option == "qpu" else [])]


def _tasks(d: PilotDescription) -> list[str]:
    """Return how a node is shared: one agent has all of it, ranks have a part each."""
    each = d.processes_per_node if d.ranks > 1 else 1
    total = [f"--ntasks={d.ranks}"] if d.ranks > 1 else []
    return [*total, f"--ntasks-per-node={each}", f"--cpus-per-task={d.cores_per_node // each}"]


def _prologue(d: PilotDescription, run_dir: Path) -> list[str]:
    threads = shlex.join(f"{k}={v}" for k, v in thread_environment(d.threads_per_worker).items())
    return [
        "set -e",
        f"export PYTHONPATH={shlex.quote(search_path(d.python, run_dir))}",
        f"export {threads}",
        *(f"export {shlex.join([f'{k}={v}'])}" for k, v in asked_for(d).items()),
        *d.setup,
    ]


def _command(d: PilotDescription, key: str, connection_file: Path) -> str:
    agent = agent_command("node", remote_node_config(d, key, connection_file), d.python)
    # The agent of an MPI pilot starts ranks on the other nodes; no other agents are needed.
    is_one_agent = d.nodes == 1 or d.ranks > 1
    return "exec " + shlex.join(agent if is_one_agent else on_all_nodes(agent, d))
