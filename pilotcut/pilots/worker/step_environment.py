"""Environment of srun inside a job: the job's own, less what contradicts a step."""

from __future__ import annotations

import os


def step_environment() -> dict[str, str]:
    """Return what steps of the job that we run in are started with.

    A job that was submitted from inside another one, or with ``DefMemPerCPU`` and ``--mem``, may
    have memory for a node and for a core at a time, of which srun takes one alone; without either a
    step has what its job has. ``SRUN_*`` would change steps behind our back.
    """
    # Slurm 22.05.8 says "mutually exclusive", and no step starts.
    memory = {f"SLURM_MEM_PER_{each}" for each in ("CPU", "GPU", "NODE")}
    several = sum(name in os.environ for name in memory) > 1
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SRUN_") and not (several and name in memory)
    }
