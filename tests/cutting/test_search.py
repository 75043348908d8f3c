"""Where to cut: the asked number of cuts, balanced widths, fragments that fit, the best plans."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit_addon_cutting.instructions import CutWire
from support.searches import chain, circuit_of, crossing, graphs, partitions, widths

from pilotcut import compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.search import (
    choose_labels,
)
from pilotcut.errors import CutError


def chosen(pairs, width: int, **how) -> tuple[str, ...]:
    return choose_labels(read_circuit(circuit_of(pairs, width))[0], **how)


def balance(labels) -> tuple[int, int]:
    """The width of the widest, then the sum of squares: smaller is better."""
    return max(widths(labels)), sum(w * w for w in widths(labels))


@given(graphs(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_exactly_the_asked_cuts_with_the_best_balance(graph, cuts):
    """Against all partitions: K gates cross, and none that does so is better balanced."""
    width, pairs = graph
    fitting = [p for p in partitions(width) if crossing(pairs, p) == cuts]
    if not fitting:
        with pytest.raises(CutError, match=f"cuts is {cuts}"):
            chosen(pairs, width, cuts=cuts)
        return
    labels = chosen(pairs, width, cuts=cuts)
    assert len(labels) == width
    assert crossing(pairs, labels) == cuts
    assert balance(labels) == min(map(balance, fitting))
    assert labels == chosen(pairs, width, cuts=cuts)


@given(graphs(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_fragments_fit_with_the_fewest_cuts(graph, most):
    """Against all partitions: none that fits cuts less, or as little and better balanced."""
    width, pairs = graph
    labels = chosen(pairs, width, max_width=most)
    assert max(widths(labels)) <= most
    fitting = [p for p in partitions(width) if max(widths(p)) <= most]
    fewest = min(crossing(pairs, p) for p in fitting)
    assert crossing(pairs, labels) == fewest
    if most < width:  # what fits whole stays whole
        best = min(balance(p) for p in fitting if crossing(pairs, p) == fewest)
        assert balance(labels) == best


@given(graphs(), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_the_counts_that_a_refusal_names_are_possible(graph, cuts):
    """Who follows the advice in the message gets a plan."""
    width, pairs = graph
    try:
        labels = chosen(pairs, width, cuts=cuts)
    except CutError as error:
        if cuts > len(pairs):
            assert f"at most {len(pairs)}" in str(error)  # noqa: PT017
            assert crossing(pairs, chosen(pairs, width, cuts=len(pairs))) == len(pairs)
            return
        named = str(error).split("expected one of ")[1].split(";")[0].split(", ")
        assert named
        for count in map(int, named):
            assert crossing(pairs, chosen(pairs, width, cuts=count)) == count
    else:
        assert crossing(pairs, labels) == cuts


@pytest.mark.parametrize("width", [13, 20, 37, 60])
@pytest.mark.parametrize("cuts", [1, 2, 4, 7])
def test_long_chains_fall_into_even_blocks(width, cuts):
    """K cuts of a chain give K + 1 contiguous blocks whose widths differ by one at most."""
    labels = chosen(chain(width), width, cuts=cuts)
    assert crossing(chain(width), labels) == cuts
    assert len(set(labels)) == cuts + 1
    assert max(widths(labels)) - min(widths(labels)) <= 1


@pytest.mark.parametrize(("width", "most"), [(20, 7), (37, 12), (60, 16), (60, 59), (24, 12)])
def test_long_chains_fit_with_the_fewest_cuts(width, most):
    """ceil(n / width) blocks, also where every neighbour pair has three gates."""
    for layers in (1, 3):
        labels = chosen(chain(width, layers), width, max_width=most)
        blocks = -(-width // most)
        assert max(widths(labels)) <= most
        assert crossing(chain(width, layers), labels) == layers * (blocks - 1)
        assert max(widths(labels)) == -(-width // blocks)


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_chain_is_put_in_order(seed):
    """Qubit numbers do not matter for a chain of 30 qubits: two halves by one cut."""
    order = np.random.default_rng(seed).permutation(30)
    pairs = [(int(order[a]), int(order[b])) for a, b in chain(30)]
    labels = chosen(pairs, 30, cuts=1)
    assert crossing(pairs, labels) == 1
    assert widths(labels) == [15, 15]


@given(st.lists(st.integers(1, 3), min_size=12, max_size=12), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_uneven_chains_are_as_balanced_as_contiguous_blocks_can_be(gates, cuts):
    """Against all 4096 ways to split 13 qubits with 1 to 3 gates between neighbours."""
    pairs = [(q, q + 1) for q, count in enumerate(gates) for _ in range(count)]
    best = None
    for splits in product([0, 1], repeat=12):
        if sum(count for count, split in zip(gates, splits, strict=True) if split) == cuts:
            labels = (0, *np.cumsum(splits).tolist())
            best = min(best or balance(labels), balance(labels))
    if best is None:
        with pytest.raises(CutError, match=f"cuts is {cuts}"):
            chosen(pairs, 13, cuts=cuts)
        return
    labels = chosen(pairs, 13, cuts=cuts)
    assert crossing(pairs, labels) == cuts
    assert balance(labels) <= best


def test_a_ring_cannot_be_cut_once():
    """One cut leaves a ring whole; the message names two, three and four."""
    ring = [(0, 1), (1, 2), (2, 3), (3, 0)]
    with pytest.raises(CutError, match=r"no partition .* exactly 1 .* one of 2, 3, 4;") as error:
        chosen(ring, 4, cuts=1)
    assert "\n" not in str(error.value)
    labels = chosen(ring, 4, cuts=2)
    assert widths(labels) == [2, 2]


def test_zero_cuts_leave_the_circuit_whole():
    assert set(chosen([(0, 1)], 3, cuts=0)) == {"A"}
    assert set(chosen([(0, 1)], 3, max_width=3)) == {"A"}


def test_markers_leave_nothing_to_choose():
    circuit = circuit_of([(0, 1)], 2)
    circuit.append(CutWire(), [0])
    with pytest.raises(CutError, match="markers"):
        choose_labels(read_circuit(circuit)[0], max_width=1)


@pytest.mark.parametrize("how", [{"cuts": 4}, {"max_width": 3}])
def test_the_choice_is_the_same_every_time(how):
    """Ties are broken by the labels themselves, so two compilations agree."""
    circuit = circuit_of([(0, 1), (2, 3), (4, 5), (1, 2), (3, 4), (5, 0), (0, 3)], 6)
    plans = [compile_plan(circuit.copy(), "Z" * 6, **how) for _ in range(3)]
    assert len({plan.labels for plan in plans}) == 1
    assert len({plan.fingerprint for plan in plans}) == 1
    assert plans[0].labels[0] == "A"


def test_more_than_26_fragments_have_labels_of_their_own():
    labels = chosen(chain(30), 30, max_width=1)
    assert len(set(labels)) == 30


@pytest.mark.timeout(10)
@pytest.mark.parametrize("how", [{"cuts": 11}, {"max_width": 6}])
def test_the_search_ends_within_the_patience_of_a_user(how):
    """Twelve qubits have 4,213,597 partitions; the search must not walk them all."""
    labels = chosen(chain(12), 12, **how)
    assert crossing(chain(12), labels) == how.get("cuts", 1)
