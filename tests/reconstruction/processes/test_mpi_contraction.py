"""The contraction on 1 and 3 MPI ranks equals the serial one; see contraction_on_ranks.py."""

import pytest
from support.networks import GRAPHS
from support.ranks import needs_mpi, told_on

pytest.importorskip("mpi4py", reason="mpi4py is not installed")

pytestmark = [pytest.mark.mpi, needs_mpi]


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("claim", [*GRAPHS, "uncut", "misfits"])
def test_ranks_together_give_what_one_process_gives(ranks, claim):
    """Values, errors and environments to 1e-12, from arrays and from a store."""
    wrong = told_on(ranks, "contraction_on_ranks.py")["wrong"]
    assert wrong[claim] == "", wrong[claim]
