"""Worlds of ranks: whether MPI made one of all processes that a launcher started.

A launcher that does not suit the library starts processes that are a world of one each, and all of
them end with exit status 0: everything is computed once by each. So ranks look before they begin.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from pilotcut.errors import TaskError
from pilotcut.options import counted
from pilotcut.pilots.mpi.library import ABI_VARIABLE, MPI_VARIABLE, NAMES
from pilotcut.pilots.mpi.starters import LAUNCHER_VARIABLE, choose, misfit, speech_around, suits

#: What Slurm calls it, which counts the helpers of other launchers where it starts those.
_OF_A_STEP = "SLURM_STEP_NUM_TASKS"
#: Where launchers say how many ranks there are: MPICH's family and srun's pmi2, Open MPI, PMIx,
#: the one of Cray, and srun.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "PALS_SIZE", _OF_A_STEP)
#: What makes a process a rank, of whatever launcher.
_OF_A_RANK = ("PMI_", "PMIX_", "HYDI_", "HYDRA_BSTRAP_", "MPI_LOCAL", "OMPI_COMM_", "PALS_")


def of_no_rank(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what makes a process one of a launcher's."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(_OF_A_RANK) and name != _OF_A_STEP
    }


def sizes_around(environ: Mapping[str, str]) -> dict[str, int]:
    """Return how many processes launchers say that they started, by the variables that say it.

    Examples
    --------
    >>> sizes_around({"PMI_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2", "PMIX_SIZE": "auto"})
    {'PMI_SIZE': 4, 'SLURM_STEP_NUM_TASKS': 2}
    """
    # Launchers and sites put other things than numbers into these variables too.
    return {name: int(environ[name]) for name in _SIZES if environ.get(name, "").isdecimal()}


def is_one_of_several(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher says that it started more than this process."""
    sizes = sizes_around(environ)
    # Ranks know their own number; what Slurm says is of helpers then.
    own = {name: size for name, size in sizes.items() if not name.startswith("SLURM_")}
    return max((own or sizes).values(), default=1) > 1


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Choose the library of MPI that suits the launcher, before mpi4py.MPI is imported.

    Raises
    ------
    TaskError
        If none does: MPI would end this process, or make a world of it alone.
    """
    speech = speech_around(environ)
    library = choose(environ.get(MPI_VARIABLE, "auto"), speech, environ)
    if library is not None:
        environ.update(library.environment())
        if library.is_chosen:
            environ.pop(ABI_VARIABLE, None)


def check(comm: Any, expected: int | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Raise a `TaskError` unless the world is that of all processes that were started.

    Parameters
    ----------
    comm
        The communicator of all ranks.
    expected
        How many there are to be; None if only the launcher knows.
    """
    size, sizes = comm.Get_size(), sizes_around(environ)
    if expected is None:
        is_right = not sizes or size in sizes.values() or size > max(sizes.values())
    else:
        is_right = size == expected
    if is_right:
        return
    said = (
        f"{counted(expected, 'rank')}"
        if expected
        else ", ".join(f"{number} processes ({name})" for name, number in sizes.items())
    )
    raise TaskError(
        f"the world of this MPI has {counted(size, 'rank')}, expected {said}: {_cause(environ)}"
    )


def _cause(environ: Mapping[str, str]) -> str:
    speech = speech_around(environ)
    library = choose(environ.get(MPI_VARIABLE, "auto"), None, environ)
    if library is not None and speech is not None and not suits(library, speech):
        return misfit(library, speech)
    name = "this library" if library is None else NAMES[library.name]
    if speech == "slurm":
        plugin = "pmix" if library is not None and library.name == "openmpi" else "pmi2"
        return (
            f"srun started them without MPI; start them with: srun --mpi={plugin}, or one alone "
            f"with: srun --ntasks=1"
        )
    return (
        f"the launcher does not suit {name}; start the ranks with the mpiexec of {name}, or in a "
        f"job with srun --mpi=pmi2 or --mpi=pmix (launcher:, {LAUNCHER_VARIABLE})"
    )
