"""Tasks of several MPI ranks: started from a worker of the pilot, by srun or mpiexec.

    python -m mpi4py -m pilotcut.pilots.ranks CALL RESULT

is what each rank runs: the packed call, of which rank 0 writes the outcome. With
``-m mpi4py`` a rank that fails aborts the others, which would wait for it for ever.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotcut.errors import TaskError
from pilotcut.pilots.failures import note
from pilotcut.pilots.payload import run_packed, unpack_outcome

#: Names another launcher, such as ``srun --mpi=pmix``; ``-n RANKS`` is added to it.
LAUNCHER_VARIABLE = "PILOTCUT_MPI_LAUNCHER"
#: A directory that all nodes of the pilot can read.
DIRECTORY_VARIABLE = "PILOTCUT_RUN_DIR"

_TAIL_LINES = 12
_OF_A_RANK = ("PMI_", "PMIX_", "HYDI_", "MPI_LOCAL", "OMPI_COMM_")


def run_ranks(what: bytes | Sequence[str], ranks: int) -> Any:
    """Run a packed call, or a command, in `ranks` processes.

    Returns
    -------
    Any
        What the function returns on rank 0, or what the command writes to stdout.

    Raises
    ------
    TaskError
        With the end of stderr, if a rank fails.
    """
    if not isinstance(what, bytes):
        return _launch([*what], ranks)
    with tempfile.TemporaryDirectory(dir=os.environ.get(DIRECTORY_VARIABLE)) as directory:
        call, result = Path(directory) / "call", Path(directory) / "result"
        call.write_bytes(what)
        module = [sys.executable, "-m", "mpi4py", "-m", __name__, str(call), str(result)]
        try:
            _launch(module, ranks)
        except TaskError:
            if not result.exists():  # else the function's own exception says more
                raise
        outcome = unpack_outcome(result.read_bytes())
    if outcome.error is not None:
        note(outcome.error, outcome.traceback.rstrip())
        raise outcome.error
    return outcome.value


def _launch(command: Sequence[str], ranks: int) -> str:
    start = [*launcher("SLURM_JOB_ID" in os.environ), "-n", str(ranks)]
    done = subprocess.run([*start, *command], capture_output=True, text=True, env=_environment())
    if done.returncode:
        tail = "\n  ".join(done.stderr.splitlines()[-_TAIL_LINES:])
        raise TaskError(
            f"{ranks} ranks of '{shlex.join(command)[:80]}' ended with exit status "
            f"{done.returncode}; stderr ends with:\n  {tail}"
        )
    return done.stdout


def _environment() -> dict[str, str]:
    """Return our environment without what makes us a rank, if we are one of an MPI pilot."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_A_RANK)}


def launcher(in_job: bool) -> list[str]:
    """Return what starts ranks here: srun inside a job, else the mpiexec beside mpi4py.

    Raises
    ------
    TaskError
        If there is none.
    """
    if named := os.environ.get(LAUNCHER_VARIABLE):
        return shlex.split(named)
    if in_job and shutil.which("srun"):
        return ["srun", "--overlap", "--mpi=pmi2"]
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if not found:
        raise TaskError(
            "there is no mpiexec here, expected one to start several ranks; install it with: "
            "pip install mpi4py mpich"
        )
    return [found]


def _main(argv: Sequence[str]) -> None:
    """Run the call on this rank."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.Get_rank()
    (blob,) = run_packed([Path(argv[0]).read_bytes()], f"rank {rank}")
    failed = unpack_outcome(blob).error is not None
    if rank == 0 or failed:
        result = Path(argv[1])
        partial = result.with_name(f"result-{rank}")
        partial.write_bytes(blob)
        partial.replace(result)
    if failed:
        MPI.COMM_WORLD.Abort(1)


if __name__ == "__main__":
    _main(sys.argv[1:])
