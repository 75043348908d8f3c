"""A state over 2 and 4 MPI ranks: what one process computes, in a share of its memory."""

import pytest
from support.ranks import needs_mpi, told_on
from support.unlike_circuits import KINDS, WIDTH

pytest.importorskip("mpi4py", reason="mpi4py is not installed")

#: Pieces, messages and tables, which do not grow with the state.
BUFFERS = 6 * 2**20

pytestmark = [pytest.mark.mpi, needs_mpi]


def found_on(ranks):
    return told_on(ranks, "state_on_ranks.py")


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_one_process(kind, ranks):
    assert found_on(ranks)["off"][kind] < 1e-12


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_rank_holds_its_share_of_two_states(ranks):
    """Ket and bra of 16 bytes an amplitude; 4 ranks hold half of what each of 2 holds."""
    assert found_on(ranks)["peak_bytes"] < 2 * 16 * 2**WIDTH / ranks + BUFFERS
