"""Tasks of several MPI ranks: started from a worker of the pilot, by srun or mpiexec.

    python -m mpi4py -m pilotcut.pilots.mpi.launch CALL RESULT

is what each rank runs: the packed call, of which rank 0 writes the outcome. With
``-m mpi4py`` a rank that fails aborts the others, which would wait for it for ever. While it
runs, a rank has a file beside the result: who finds that without its process knows that it died.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotcut.errors import TaskError
from pilotcut.io.atomic import write_atomically
from pilotcut.options import counted
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.exception_text import add_note
from pilotcut.pilots.worker.payload import run_packed, unpack_outcome
from pilotcut.pilots.worker.step_environment import step_environment

#: Names another launcher, such as ``srun --mpi=pmix``; ``-n RANKS`` is added to it.
LAUNCHER_VARIABLE = "PILOTCUT_MPI_LAUNCHER"
#: A directory that all nodes of the pilot can read.
DIRECTORY_VARIABLE = "PILOTCUT_RUN_DIR"

_TAIL_LINES = 12
#: How often ranks are looked at, and how long their launcher may outlive them.
_LOOK_S, _PATIENCE_S = 0.5, 2.0
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
    # Ranks on other nodes read the call there, and rank 0 may be on any of them.
    with tempfile.TemporaryDirectory(dir=os.environ.get(DIRECTORY_VARIABLE)) as directory:
        call, result = Path(directory) / "call", Path(directory) / "result"
        call.write_bytes(what)
        module = [sys.executable, "-m", "mpi4py", "-m", __name__, str(call), str(result)]
        try:
            _launch(module, ranks, Path(directory))
        except TaskError:
            if not result.exists():  # else the function's own exception says more
                raise
        outcome = unpack_outcome(result.read_bytes())
    if outcome.error is not None:
        add_note(outcome.error, outcome.traceback.rstrip())
        raise outcome.error
    return outcome.value


def _launch(command: Sequence[str], ranks: int, directory: Path | None = None) -> str:
    start = [*launcher("SLURM_JOB_ID" in os.environ), "-n", str(ranks)]
    mark, ended = process_tree.new_mark(), threading.Event()
    with subprocess.Popen(
        [*start, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment() | process_tree.marked(mark),
    ) as process:
        if directory is not None:
            watch = threading.Thread(target=_watch, args=(directory, mark, ended), daemon=True)
            watch.start()
        out, err = process.communicate()
    ended.set()
    if process.returncode:
        tail = "\n  ".join(err.splitlines()[-_TAIL_LINES:])
        raise TaskError(
            f"{counted(ranks, 'rank')} of '{shlex.join(command)[:80]}' ended with exit status "
            f"{process.returncode}; stderr ends with:\n  {tail}"
        )
    return out


def _watch(directory: Path, mark: str, ended: threading.Event) -> None:
    """End what keeps a launcher from ending: it waits for all who hold a rank's output open."""
    were_there = False
    while not ended.wait(_LOOK_S):
        were_there = were_there or (directory / "result").exists()
        running = [path.name for path in directory.glob("rank-*")]
        were_there = were_there or bool(running)
        here = [name.rpartition("-")[2] for name in running if f"-{socket.gethostname()}-" in name]
        if any(process_tree.is_gone(int(pid)) for pid in here) or (were_there and not running):
            if not ended.wait(_PATIENCE_S):
                process_tree.end_all(mark)
            return


def _environment() -> dict[str, str]:
    """Return our environment without what makes us a rank, if we are one of an MPI pilot."""
    return {
        name: value for name, value in step_environment().items() if not name.startswith(_OF_A_RANK)
    }


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
        # Seen with Slurm 22.05.8: pmi2 makes one world of the ranks of mpich's and Intel's wheels.
        # With pmix mpich 5.0.2 fails, and without a plugin each of its ranks is a world of its own,
        # with exit status 0. Open MPI fails with pmi2 or warns, and needs LAUNCHER_VARIABLE.
        return ["srun", "--overlap", "--mpi=pmi2"]
    # mpi4py takes the library of PyPI's mpich, if that is installed, before the system's. Its
    # launcher must be the same one's: Debian's mpiexec of Open MPI 4.1.4 exits with 16 over it, and
    # mpich's over Open MPI warns and exits with 0.
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

    process_tree.allow_processes()
    rank = MPI.COMM_WORLD.Get_rank()
    here = Path(argv[1]).with_name(f"rank-{socket.gethostname()}-{os.getpid()}")
    here.touch()
    MPI.COMM_WORLD.Barrier()  # who sees no file later on sees that all have done their part
    (blob,) = run_packed([Path(argv[0]).read_bytes()], f"rank {rank}")
    failed = unpack_outcome(blob).error is not None
    if rank == 0 or failed:
        write_atomically(Path(argv[1]), blob)
    here.unlink(missing_ok=True)
    if failed:
        MPI.COMM_WORLD.Abort(1)


if __name__ == "__main__":
    _main(sys.argv[1:])
