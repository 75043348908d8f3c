"""Dividing a contraction: any division adds up to the whole, and good ones are balanced."""

import tracemalloc
from math import prod

import cotengra
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fresh_process import in_fresh_process
from support.networks import GRAPHS, Network, assert_equal, networks, random_network, serial

from pilotcut.reconstruction.boxes import ArrayParts, contract_boxes, region_of, touched
from pilotcut.reconstruction.contraction import BATCH, TERM
from pilotcut.reconstruction.contraction_cost import cost_of_batch, cost_of_box
from pilotcut.reconstruction.slicing import Division, divide
from pilotcut.reconstruction.tensor_store import TensorStore


def added_up(network: Network, division: Division, load=None):
    """Values and environments of all shares, from blocks that hold only what shares need."""
    contraction = network.contraction
    operands = network.operands
    rows, terms = division.whole[BATCH].stop, division.whole[TERM].stop
    values = np.zeros((rows, terms), np.result_type(*operands))
    slopes = [np.zeros((rows, terms, *x.shape[2:]), values.dtype) for x in operands]
    for rank in range(division.ranks):
        boxes = division.boxes(rank)
        held = []
        for names, operand in zip(contraction.indices, operands, strict=True):
            regions = touched(names, boxes, operand.shape)
            held.append(ArrayParts(regions, {n: operand[r].copy() for n, r in enumerate(regions)}))

        def part(k, box, held=held):
            return held[k].part(region_of(contraction.indices[k], box, operands[k].shape))

        sums = [
            ArrayParts(touched(names, boxes, slope.shape))
            for names, slope in zip(contraction.indices, slopes, strict=True)
        ]
        for box, some, parts in contract_boxes(contraction, boxes, load or part, True):
            values[box[BATCH], box[TERM]] += some
            for k, one in enumerate(parts):
                sums[k].add(region_of(contraction.indices[k], box, slopes[k].shape), one)
        for slope, blocks in zip(slopes, sums, strict=True):
            for number, region in enumerate(blocks.regions):
                slope[region] += blocks.arrays[number]
    return values, slopes


@st.composite
def divisions(draw, network: Network) -> Division:
    """Any digits in any order, and any bounds."""
    rows, terms = len(network.tensors[0].values), len(network.contraction.term_index)
    sizes = {BATCH: rows, TERM: terms, **network.contraction.sizes}
    digits = draw(st.lists(st.sampled_from(list(sizes)), unique=True, max_size=4))
    units = prod(sizes[name] for name in digits)
    bounds = draw(st.lists(st.integers(0, units), max_size=4))
    return Division(
        tuple((name, sizes[name]) for name in digits),
        (0, *sorted(bounds), units),
        {BATCH: slice(0, rows), TERM: slice(0, terms)},
    )


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_shares_of_any_division_add_up_to_the_whole(data):
    """Values and environments of every graph, real or complex, with or without free bonds."""
    network = data.draw(networks())
    values, slopes = added_up(network, data.draw(divisions(network)))
    whole = serial(network)
    assert_equal(values, whole.values)
    for slope, expected in zip(slopes, whole.environments, strict=True):
        assert_equal(slope, expected)


@given(networks(), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_the_division_that_is_chosen_adds_up_and_leaves_no_unit_out(network, ranks):
    rows, terms = len(network.tensors[0].values), len(network.contraction.term_index)
    division = divide(network.contraction, rows, ranks)
    assert division.ranks == ranks
    sizes = {BATCH: rows, TERM: terms, **network.contraction.sizes}
    taken = np.zeros([sizes[name] for name, _ in division.digits], dtype=int)
    for rank in range(ranks):
        for box in division.boxes(rank):
            taken[tuple(box[name] for name, _ in division.digits)] += 1
    assert (taken == 1).all()
    values, slopes = added_up(network, division)
    whole = serial(network)
    assert_equal(values, whole.values)
    for slope, expected in zip(slopes, whole.environments, strict=True):
        assert_equal(slope, expected)


@given(networks(), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_store_gives_what_the_arrays_were(tmp_path_factory, network, ranks):
    """ArrayParts read from files, sub-observables picked there, covariances by rows."""
    store = TensorStore.write(tmp_path_factory.mktemp("s"), network.tensors, network.bonds)
    contraction, operands = network.contraction, network.operands
    assert store.layout(contraction) == [(x.shape, x.dtype) for x in operands]
    assert store.has_covariances() == bool(network.tensors[0].covariances)
    rows = len(network.tensors[0].values)

    def load(k, box):
        region = region_of(contraction.indices[k], box, operands[k].shape)
        part = store.load(contraction, k, region)
        np.testing.assert_array_equal(part, operands[k][region])
        return part

    values, _ = added_up(network, divide(contraction, rows, ranks), load)
    assert_equal(values, serial(network).values)
    for f, tensor in enumerate(network.tensors):
        some = store.covariances(f, len(tensor.covariances), slice(0, 1))
        for one, expected in zip(some, tensor.covariances, strict=True):
            np.testing.assert_array_equal(one, expected[:1])


def dense(rows: int = 1, terms: int = 1, joined: int = 2, size: int = 4) -> Network:
    """Four fragments, each pair of them joined more than once: large intermediates."""
    fragments, pairs = GRAPHS["complete"]
    pairs = pairs * joined
    return random_network(fragments, pairs, [(size, size)] * len(pairs), rows=rows, terms=terms)


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_shares_are_balanced_and_their_memory_falls(rows, ranks):
    """At most a tenth over the fair share of flops, and less memory in about that measure."""
    contraction = dense(rows).contraction
    division = divide(contraction, rows, ranks)
    shares = [[cost_of_box(contraction, b) for b in division.boxes(r)] for r in range(ranks)]
    whole = cost_of_batch(contraction, rows)
    flops = [sum(box.flops for box in share) for share in shares]
    assert max(flops) <= 1.1 * whole.flops / ranks
    largest = max(box.bytes for share in shares for box in share)
    assert largest <= {2: 0.67, 3: 0.35, 4: 0.35}[ranks] * whole.bytes


def test_rows_go_first_and_slices_only_where_rows_and_terms_do_not_balance():
    assert [name for name, _ in divide(dense(8).contraction, 8, 4).digits] == [BATCH]
    by_terms = divide(dense(1, 4).contraction, 1, 4)
    assert [name for name, _ in by_terms.digits] == [BATCH, TERM]
    assert {name for name, _ in divide(dense(1).contraction, 1, 4).digits} - {BATCH, TERM}


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("environments", [False, True])
def test_predicted_flops_are_those_of_cotengra(kind, environments):
    """Two for each multiplication that cotengra counts; environments cost three times that."""
    fragments, pairs = GRAPHS[kind]
    network = random_network(fragments, pairs, [(3, 4)] * len(pairs), rows=5, terms=2)
    contraction = network.contraction
    tree = cotengra.ContractionTree.from_path(
        [names[2:] for names in contraction.indices],
        output=(),
        size_dict=dict(contraction.sizes),
        ssa_path=contraction.path,
    )
    times = 3 if environments else 1
    flops = cost_of_batch(contraction, 5, environments).flops
    assert flops == times * 2 * 5 * 2 * tree.contraction_cost()


@pytest.mark.parametrize("environments", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_predicted_bytes_are_what_is_allocated(environments, exact):
    """At the peak, and never too few: what is not counted are copies that are views."""
    fragments, pairs = GRAPHS["complete"]
    pairs = pairs * 2
    network = random_network(fragments, pairs, [(3, 3)] * len(pairs), rows=2, exact=exact)
    contraction, operands = network.contraction, network.operands
    tracemalloc.start()
    if environments:
        contraction.values_and_environments(operands)
    else:
        contraction.values(operands)
    peak = tracemalloc.get_traced_memory()[1] + sum(x.nbytes for x in operands)
    tracemalloc.stop()
    itemsize = 16 if exact else 8
    guess = cost_of_batch(contraction, 2, environments, itemsize)
    assert 0.6 * guess.bytes <= peak <= guess.bytes + 50_000  # what Python itself needs


def test_no_rows_and_no_bonds():
    """An empty batch gives no values, an uncut circuit divides by rows alone."""
    network = random_network(1, [], [], rows=3, terms=2)
    division = divide(network.contraction, 3, 5)
    values, (slope,) = added_up(network, division)
    np.testing.assert_array_equal(values, network.operands[0])
    np.testing.assert_array_equal(slope, np.ones((3, 2)))
    assert divide(network.contraction, 0, 2).boxes(1) == []


def chosen() -> str:
    return str(divide(dense().contraction, 1, 3))


def test_the_division_is_the_same_in_every_process():
    """The order of additions decides the last digits, so a run repeats only with its shares."""
    assert in_fresh_process(chosen) == chosen()
