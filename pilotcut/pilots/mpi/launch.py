"""Tasks of several MPI ranks: started from a worker of the pilot, by srun or mpiexec.

    python -m mpi4py -m pilotcut.pilots.mpi.launch CALL RESULT RANKS

is what each rank runs: the packed call, of which rank 0 writes the outcome. With
``-m mpi4py`` a rank that fails aborts the others, which would wait for it for ever. While it
runs, a rank has a file beside the result: who finds that without its process knows that it died.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotcut.errors import TaskError
from pilotcut.io.atomic import write_atomically
from pilotcut.options import counted
from pilotcut.pilots.mpi import world
from pilotcut.pilots.mpi.starters import RankStart, start_of_ranks
from pilotcut.pilots.worker import process_tree
from pilotcut.pilots.worker.exception_text import add_note
from pilotcut.pilots.worker.payload import Outcome, pack_outcome, run_packed, unpack_outcome
from pilotcut.pilots.worker.step_environment import step_environment

#: A directory that all nodes of the pilot can read.
DIRECTORY_VARIABLE = "PILOTCUT_RUN_DIR"

_TAIL_LINES = 12
#: The file that says that a rank has begun to compute.
_BEGUN = "begun"
#: How often ranks are looked at, and how long their launcher may outlive them.
_LOOK_S, _PATIENCE_S = 0.5, 2.0
#: Starts of the same ranks, if MPI itself fails before any of them has begun, and its words.
_STARTS, _PAUSE_S = 3, 1.0
_OF_MPI_ITSELF = re.compile(r"MPI_Init|mpi/pmi|\bPMIx?\d?_|mpi/pmix")


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
        _launch_call([*module, str(ranks)], ranks, result)
        outcome = unpack_outcome(result.read_bytes())
    if outcome.error is not None:
        if outcome.traceback:
            add_note(outcome.error, outcome.traceback.rstrip())
        raise outcome.error
    return outcome.value


def _launch_call(command: Sequence[str], ranks: int, result: Path) -> None:
    """Start ranks until there is a result, again only where MPI failed and none had begun."""
    for start in range(_STARTS):
        try:
            _launch(command, ranks, result.parent)
            break
        except TaskError as error:
            if result.exists():  # the function's own exception says more
                return
            has_begun = (result.parent / _BEGUN).exists()
            if has_begun or start + 1 == _STARTS or not _OF_MPI_ITSELF.search(str(error)):
                raise
        time.sleep(_PAUSE_S)
    if not result.exists():
        raise TaskError(
            f"{counted(ranks, 'rank')} ended without a word and without a result; look whether "
            f"the launcher starts them: {shlex.join(_start().command)} -n {ranks}"
        )


def _start(runs_mpi4py: bool = True) -> RankStart:
    return start_of_ranks("SLURM_JOB_ID" in os.environ, runs_mpi4py=runs_mpi4py)


def _launch(command: Sequence[str], ranks: int, directory: Path | None = None) -> str:
    start = _start(runs_mpi4py=directory is not None)
    mark, ended = process_tree.new_mark(), threading.Event()
    with subprocess.Popen(
        [*start.command, "-n", str(ranks), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=start.environment(world.of_no_rank(step_environment())) | process_tree.marked(mark),
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


def _main(argv: Sequence[str]) -> None:
    """Run the call on this rank."""
    try:
        world.prepare()
        from mpi4py import MPI

        world.check(MPI.COMM_WORLD, int(argv[2]))
    except TaskError as error:
        write_atomically(Path(argv[1]), pack_outcome(Outcome(error=error)))
        sys.exit(f"pilotcut: {error}")
    process_tree.allow_processes()
    rank = MPI.COMM_WORLD.Get_rank()
    here = Path(argv[1]).with_name(f"rank-{socket.gethostname()}-{os.getpid()}")
    here.touch()
    MPI.COMM_WORLD.Barrier()  # who sees no file later on sees that all have done their part
    here.with_name(_BEGUN).touch()
    (blob,) = run_packed([Path(argv[0]).read_bytes()], f"rank {rank}")
    failed = unpack_outcome(blob).error is not None
    if rank == 0 or failed:
        write_atomically(Path(argv[1]), blob)
    here.unlink(missing_ok=True)
    if failed:
        MPI.COMM_WORLD.Abort(1)


if __name__ == "__main__":
    _main(sys.argv[1:])
