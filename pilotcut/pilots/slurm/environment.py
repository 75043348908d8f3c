"""Environment of Slurm's commands: what of ours may reach them, and what may not.

The description decides what a pilot is. Variables of sbatch beat the lines of a script, and those
of a job that we run in reach the jobs that it submits: ``SLURM_MEM_PER_CPU`` of an outer job
makes every srun of an inner one with ``--mem`` fail. Refuses to know how commands are run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pilotcut.pilots.description import PilotDescription

#: What Slurm's own programs need to find the cluster and be let in: about no job.
_ABOUT_THE_CLUSTER = frozenset(
    {
        "SBATCH_CLUSTERS",
        "SLURM_CLUSTERS",
        "SLURM_CONF",
        "SLURM_CONF_SERVER",
        "SLURM_JWT",
        "SLURM_SACK_JWKS",
        "SLURM_SACK_KEY",
    }
)
_OF_JOBS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SCANCEL_", "SACCT_")

#: Variables that say what a description may leave open, as sites and users set them in profiles.
_OPEN = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_PARTITION": "queue",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
}

#: The fields of what other variables of sbatch would change.
_FIELDS = {
    "SBATCH_ARRAY_INX": "count",
    "SBATCH_CORE_SPEC": "cores_per_node",
    "SBATCH_CPUS_PER_GPU": "cores_per_node",
    "SBATCH_EXPORT": "setup",
    "SBATCH_GPUS": "gpus_per_node",
    "SBATCH_GPUS_PER_NODE": "gpus_per_node",
    "SBATCH_GPUS_PER_TASK": "gpus_per_node",
    "SBATCH_JOB_NAME": "name",
    "SBATCH_MEM_PER_CPU": "memory_per_node",
    "SBATCH_MEM_PER_GPU": "memory_per_node",
    "SBATCH_MEM_PER_NODE": "memory_per_node",
    "SBATCH_REQUEUE": "replace",
    "SBATCH_TIMELIMIT": "walltime",
}


@dataclass(frozen=True)
class SubmissionEnvironment:
    """What sbatch is started with.

    Parameters
    ----------
    variables
        All of them.
    left_out
        One phrase for each variable of sbatch that would have changed the pilot.
    """

    variables: Mapping[str, str]
    left_out: tuple[str, ...] = ()


def for_submission(
    description: PilotDescription, ours: Mapping[str, str] | None = None
) -> SubmissionEnvironment:
    """Return the environment to submit a pilot's job in.

    Examples
    --------
    >>> pilot = PilotDescription(name="p", resource="slurm", queue="cpu", walltime="00:10:00")
    >>> found = for_submission(pilot, {"SBATCH_PARTITION": "gpu", "SBATCH_ACCOUNT": "me"})
    >>> dict(found.variables), found.left_out
    ({'SBATCH_ACCOUNT': 'me'}, ("SBATCH_PARTITION=gpu (the description's queue is cpu)",))
    """
    given = os.environ if ours is None else ours
    kept = {name: value for name, value in given.items() if not _is_about_a_job(name)}
    left_out = []
    for name in sorted(set(given) - set(kept)):
        field = _OPEN.get(name)
        if field is not None and not getattr(description, field):
            kept[name] = given[name]
        elif name.startswith("SBATCH_") and given[name]:
            left_out.append(f"{name}={given[name]}{_because(name, description)}")
    return SubmissionEnvironment(kept, tuple(left_out))


def _because(name: str, description: PilotDescription) -> str:
    field = _OPEN.get(name) or _FIELDS.get(name)
    if field is None:
        return ""
    said = getattr(description, field, None)
    return f" (the description's {field} is {said})" if said else f" (see {field})"


def for_questions() -> dict[str, str]:
    """Return our environment without what would narrow a question, or ask one back."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SCANCEL_"))}
    return kept | {"SLURM_TIME_FORMAT": "standard"}


def _is_about_a_job(name: str) -> bool:
    return name.startswith(_OF_JOBS) and name not in _ABOUT_THE_CLUSTER
