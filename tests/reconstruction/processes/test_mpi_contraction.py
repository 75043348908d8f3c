"""The contraction on 1 and 3 MPI ranks equals the serial one; see contraction_on_ranks.py."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.networks import GRAPHS

pytest.importorskip("mpi4py", reason="mpi4py is not installed")

TESTS = Path(__file__).parents[2]
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec beside Python or on PATH"),
]


@functools.cache
def wrong_on(ranks: int) -> dict[str, str]:
    """Start the script once for a number of ranks."""
    script = [sys.executable, "-m", "mpi4py", str(TESTS / "support" / "contraction_on_ranks.py")]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [MPIEXEC, "-n", str(ranks), *script],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ranks"] == ranks
    return told["wrong"]


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("claim", [*GRAPHS, "uncut", "misfits"])
def test_ranks_together_give_what_one_process_gives(ranks, claim):
    """Values, errors and environments to 1e-12, from arrays and from a store."""
    wrong = wrong_on(ranks)
    assert wrong[claim] == "", wrong[claim]
