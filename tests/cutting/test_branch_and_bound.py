"""The walk over all partitions: in which order it decides edges."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from pilotcut.cutting.search.branch_and_bound import _growing

PAIRS = st.sets(st.sampled_from(list(combinations(range(9), 2))))


@given(PAIRS)
def test_each_edge_has_most_ends_among_those_before_it(pairs):
    rest, reached = set(pairs), set()
    for pair in _growing(pairs):
        assert pair == min(rest, key=lambda some: (-len(reached & set(some)), some))
        rest.remove(pair)
        reached |= set(pair)
    assert not rest
