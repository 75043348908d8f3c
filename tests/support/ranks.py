"""Scripts of this folder that are started on MPI ranks, each once for a number of ranks."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
_BESIDE = Path(sys.executable).with_name("mpiexec")
#: That of the MPI beside this Python, or else the system's; None if there is none.
MPIEXEC = str(_BESIDE) if _BESIDE.exists() else shutil.which("mpiexec")

needs_mpi = pytest.mark.skipif(
    MPIEXEC is None, reason="there is no mpiexec beside Python or on PATH"
)


@functools.cache
def told_on(ranks: int, script: str, module: str = "mpi4py") -> dict[str, Any]:
    """Return the JSON object that a script prints on its rank 0, run by a module of mpi4py's."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [
            MPIEXEC,
            "-n",
            str(ranks),
            sys.executable,
            "-m",
            module,
            str(TESTS / "support" / script),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ranks"] == ranks
    return told
