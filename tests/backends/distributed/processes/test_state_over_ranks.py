"""A state over 2 and 4 MPI ranks: what one process computes, in a share of its memory."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.unlike_circuits import KINDS, WIDTH

pytest.importorskip("mpi4py", reason="mpi4py is not installed")

TESTS = Path(__file__).parents[3]
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")

#: Pieces, messages and tables, which do not grow with the state.
BUFFERS = 6 * 2**20

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec beside Python or on PATH"),
]


@functools.cache
def found_on(ranks):
    """Start the script once for a number of ranks."""
    script = [sys.executable, "-m", "mpi4py", str(TESTS / "support" / "state_on_ranks.py")]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [MPIEXEC, "-n", str(ranks), *script],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_one_process(kind, ranks):
    found = found_on(ranks)
    assert found["ranks"] == ranks
    assert found["off"][kind] < 1e-12


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_rank_holds_its_share_of_two_states(ranks):
    """Ket and bra of 16 bytes an amplitude; 4 ranks hold half of what each of 2 holds."""
    assert found_on(ranks)["peak_bytes"] < 2 * 16 * 2**WIDTH / ranks + BUFFERS
