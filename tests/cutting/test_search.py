"""The one plan for a number of cuts, as narrow as they allow, or for a width, at least overhead."""

from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire
from support.searches import (
    all_candidates,
    apart,
    chain,
    circuit_of,
    crossing,
    graphs,
    partitions,
    random_gates,
    widths,
)

from pilotcut import CutEstimator, CutGradient, CutPlan, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.search import best_placement, search
from pilotcut.errors import CutError


def chosen(pairs, width: int, **how) -> CutPlan:
    return compile_plan(apart(pairs, width), **how)


def narrow(numbers) -> list[int]:
    """The width of the widest, then of the next: smaller is better."""
    return sorted(numbers, reverse=True)


@given(graphs(), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_exactly_the_asked_cuts_and_none_of_gates_alone_is_narrower(graph, cuts):
    """Against all partitions of the qubits: K gates and wires are cut."""
    width, pairs = graph
    fitting = [p for p in partitions(width) if crossing(pairs, p) == cuts]
    try:
        plan = chosen(pairs, width, cuts=cuts)
    except CutError as error:
        assert str(error).startswith(f"cuts is {cuts}")  # noqa: PT017
        assert not fitting
        return
    assert plan.num_cuts == cuts
    assert not fitting or narrow(plan.widths) <= min(narrow(widths(p)) for p in fitting)
    assert plan.fingerprint == chosen(pairs, width, cuts=cuts).fingerprint


@pytest.mark.parametrize("seed", range(8))
def test_the_narrowest_of_all_plans_with_so_many_cuts(seed):
    """Against all sets of up to three gates and wires: widths, then overhead, then variants."""
    circuit = random_gates(seed, 4 + seed % 3, 6 + seed % 2)
    every = list(all_candidates(circuit, 3))
    for cuts in (1, 2, 3):
        some = [
            (narrow(s.width for s in c.shapes), c.log_overhead, c.variants)
            for c in every
            if c.cuts == cuts
        ]
        if not some:
            with pytest.raises(CutError, match=f"cuts is {cuts}"):
                compile_plan(circuit, cuts=cuts)
            continue
        plan = compile_plan(circuit, cuts=cuts)
        assert plan.num_cuts == cuts
        best = min(some)
        assert narrow(plan.widths) == best[0]
        assert log(plan.sampling_overhead) == pytest.approx(best[1], abs=1e-6)
        assert plan.num_variants == best[2]


@given(graphs(), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_fragments_fit_and_gates_alone_cost_no_less(graph, most):
    """Against all partitions of the qubits: narrow enough, and of no more overhead."""
    width, pairs = graph
    plan = chosen(pairs, width, max_width=most)
    assert max(plan.widths) <= most
    fitting = [p for p in partitions(width) if max(widths(p)) <= most]
    fewest = min(crossing(pairs, p) for p in fitting)
    assert plan.sampling_overhead <= 9**fewest * 1.0001
    if most >= width:  # what fits whole stays whole
        assert plan.widths == (width,)


@given(graphs(), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_the_counts_that_a_refusal_names_are_possible(graph, cuts):
    """Who follows the advice in the message gets a plan."""
    width, pairs = graph
    try:
        plan = chosen(pairs, width, cuts=cuts)
    except CutError as error:
        if cuts > len(pairs):
            assert f"at most {len(pairs)}" in str(error)  # noqa: PT017
            assert chosen(pairs, width, cuts=len(pairs)).num_cuts == len(pairs)
            return
        named = str(error).split("expected one of ")[1].split(";")[0].split(", ")
        assert named
        for count in map(int, named):
            assert chosen(pairs, width, cuts=count).num_cuts == count
    else:
        assert plan.num_cuts == cuts


@pytest.mark.parametrize("width", [13, 20, 37, 60])
@pytest.mark.parametrize("cuts", [1, 2, 4, 7])
def test_long_chains_fall_into_even_blocks(width, cuts):
    """K cuts of a chain give K + 1 contiguous blocks whose widths differ by one at most."""
    plan = chosen(chain(width), width, cuts=cuts)
    assert plan.num_cuts == cuts
    assert len(plan.widths) == cuts + 1
    assert max(plan.widths) - min(plan.widths) <= 1


@pytest.mark.parametrize(("width", "most"), [(20, 7), (37, 12), (60, 16), (60, 59), (24, 12)])
def test_long_chains_fit_with_the_fewest_cuts(width, most):
    """ceil(n / width) blocks, also where every neighbour pair has three gates."""
    for layers in (1, 3):
        plan = chosen(chain(width, layers), width, max_width=most, wires="separate")
        blocks = -(-width // most)
        assert plan.num_cuts == layers * (blocks - 1)
        assert max(plan.widths) == -(-width // blocks)


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_chain_is_put_in_order(seed):
    """Qubit numbers do not matter for a chain of 30 qubits: two halves by one cut."""
    order = np.random.default_rng(seed).permutation(30)
    pairs = [(int(order[a]), int(order[b])) for a, b in chain(30)]
    plan = chosen(pairs, 30, cuts=1)
    assert (plan.num_cuts, plan.widths) == (1, (15, 15))


@given(st.lists(st.integers(1, 3), min_size=12, max_size=12), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_uneven_chains_are_as_balanced_as_contiguous_blocks_can_be(gates, cuts):
    """Against all 4096 ways to split 13 qubits with 1 to 3 gates between neighbours."""
    pairs = [(q, q + 1) for q, count in enumerate(gates) for _ in range(count)]
    best = None
    for splits in product([0, 1], repeat=12):
        if sum(count for count, split in zip(gates, splits, strict=True) if split) == cuts:
            some = narrow(widths((0, *np.cumsum(splits).tolist())))
            best = min(best or some, some)
    if best is not None:
        plan = chosen(pairs, 13, cuts=cuts)
        assert plan.num_cuts == cuts
        assert narrow(plan.widths) <= best


def test_a_ring_cannot_be_cut_once():
    """One cut leaves a ring whole; the message names two, three and four."""
    ring = [(0, 1), (1, 2), (2, 3), (3, 0)]
    with pytest.raises(CutError, match=r"no plan .* exactly 1 .* one of 2, 3, 4;") as error:
        chosen(ring, 4, cuts=1)
    assert "\n" not in str(error.value)
    assert chosen(ring, 4, cuts=2).widths == (2, 2)


def test_zero_cuts_leave_the_circuit_whole():
    assert chosen([(0, 1)], 3, cuts=0).labels == ("A", "A", "A")
    assert chosen([(0, 1)], 3, max_width=3).labels == ("A", "A", "A")


@pytest.mark.parametrize("number", [2.0, "2", [2], -1])
def test_numbers_that_are_no_whole_ones_are_refused_each_time(number):
    """Also where the same circuit was cut with an equal number before."""
    chosen(chain(4), 4, cuts=2)
    with pytest.raises(CutError, match=r"cuts is .* expected a whole number from 0"):
        chosen(chain(4), 4, cuts=number)
    with pytest.raises(CutError, match=r"max_width is .* expected a whole number from 1"):
        chosen(chain(4), 4, max_width=number)


def test_markers_leave_nothing_to_choose():
    circuit = circuit_of([(0, 1)], 2)
    circuit.append(CutWire(), [0])
    with pytest.raises(CutError, match="markers"):
        best_placement(read_circuit(circuit)[0], max_width=1)


@pytest.mark.parametrize("how", [{"cuts": 4}, {"max_width": 3}])
def test_the_choice_is_the_same_every_time(how):
    """Ties are broken by the labels themselves, so two compilations agree."""
    circuit = circuit_of([(0, 1), (2, 3), (4, 5), (1, 2), (3, 4), (5, 0), (0, 3)], 6)
    plans = [compile_plan(circuit.copy(), "Z" * 6, **how) for _ in range(3)]
    assert len({plan.labels for plan in plans}) == 1
    assert len({plan.fingerprint for plan in plans}) == 1
    assert plans[0].labels[0] == "A"


def test_more_than_26_fragments_have_labels_of_their_own():
    assert len(set(chosen(chain(30), 30, max_width=1).labels)) == 30


@pytest.mark.timeout(10)
@pytest.mark.parametrize("how", [{"cuts": 11}, {"max_width": 6}])
def test_the_search_ends_within_the_patience_of_a_user(how):
    """Twelve qubits have 4,213,597 partitions; the search must not walk them all."""
    assert chosen(chain(12), 12, **how).num_cuts == how.get("cuts", 1)


# -- circuits that wire cuts save --------------------------------------------------------


def hub(width: int) -> QuantumCircuit:
    """The oracle of Bernstein and Vazirani: every qubit on one target."""
    return circuit_of([(q, width - 1) for q in range(width - 1)], width)


@pytest.mark.parametrize(("width", "wires"), [(36, 1), (72, 3)])
def test_the_target_of_an_oracle_is_cut_and_not_its_gates(width, wires):
    """Of 9 a cut, where gates alone cost 9 for every qubit that a fragment has no room for."""
    plan = compile_plan(hub(width), max_width=20)
    assert [bond.gate for bond in plan.bonds] == ["cut_wire"] * wires
    assert max(plan.widths) <= 20
    assert plan.sampling_overhead == pytest.approx(9**wires)


def test_a_qubit_that_comes_back_takes_no_room():
    """Qubit 0 is with 1, then with 2, then with 1 again: two wire cuts leave two pairs."""
    pairs = [(0, 1)] * 3 + [(0, 2)] * 3 + [(0, 1), (2, 1), (0, 1), (0, 1)]
    plan = compile_plan(circuit_of(pairs, 3), max_width=2)
    assert max(plan.widths) == 2
    assert plan.sampling_overhead <= 16 * 9 * 9 + 1e-6


def test_resets_cost_no_width():
    """What fits whole but for its resets fits whole."""
    circuit = circuit_of([(0, 1)], 2)
    for _ in range(3):
        circuit.reset(1)
        circuit.cx(0, 1)
    plan = compile_plan(circuit, max_width=2)
    assert (plan.num_cuts, plan.widths) == (0, (2,))
    # Where the gates are cut, what is reset need not be one fragment: 4 * 5 variants and not 5^4.
    narrow = compile_plan(circuit, max_width=1)
    assert (narrow.num_cuts, narrow.widths) == (4, (1, 1, 1, 1, 1))


def test_rings_share_the_cuts_so_that_the_widest_is_narrow():
    """Graph states of rings of 5, 57 and 38: three cuts and two, or one more where it helps."""
    pairs = [(a, a + 1) for a in range(99) if a not in (4, 61)]
    rings = circuit_of([*pairs, (4, 0), (61, 5), (99, 62)], 100)
    assert compile_plan(rings, max_width=20).num_cuts == 5
    assert narrow(compile_plan(rings, cuts=5).widths) == [19, 19, 19, 19, 19, 5]
    assert narrow(compile_plan(rings, cuts=6).widths) == [19, 19, 15, 14, 14, 14, 5]


@pytest.mark.timeout(20)
def test_chains_of_hundreds_of_qubits_are_cut_at_once():
    """No engine can be better than blocks of a chain, so none is asked after them."""
    plan = chosen(chain(510), 510, max_width=20)
    assert (plan.num_cuts, max(plan.widths)) == (25, 20)
    assert chosen(chain(510), 510, cuts=25).widths.count(20) == 16


def test_parts_that_nothing_joins_stay_narrow_enough():
    """Two chains of five and resets: fragments of five, without a cut and with."""
    circuit = circuit_of([*chain(5), *((a + 5, b + 5) for a, b in chain(5))], 10)
    assert compile_plan(circuit, max_width=5).num_cuts == 0
    assert compile_plan(circuit, max_width=5).widths == (5, 5)
    assert compile_plan(circuit, cuts=2).num_cuts == 2


@pytest.mark.parametrize("how", [{"max_width": 3}, {"cuts": 1}])
def test_values_and_gradients_of_chosen_wire_cuts_are_those_of_the_whole_circuit(how):
    """In exact mode to rounding, with shots and joint cuts within their errors."""
    angles = ParameterVector("x", 9)
    circuit = QuantumCircuit(5)
    for q in range(4):
        circuit.ry(angles[q], q)
        circuit.cx(q, 4)
        circuit.ry(angles[q + 4], 4)
    circuit.ry(angles[8], 4)
    values = np.linspace(-1, 1, 9)
    observable = SparsePauliOp("ZZZZZ")
    assert [b.gate for b in compile_plan(circuit, observable, **how).bonds] == ["cut_wire"]
    whole = CutEstimator(mode="exact")
    for options in ({"mode": "exact"}, {"mode": "sampled", "joint_cuts": True, "shots": 8192}):
        cut = CutEstimator(seed=1, **options, **how)
        one, other = (e.run([(circuit, observable, values)]).result()[0].data for e in (cut, whole))
        assert abs(one.evs - other.evs) <= 5 * one.stds + 1e-9
        slopes = [
            CutGradient(e).run([circuit], [observable], [values]).result().gradients[0]
            for e in (cut, whole)
        ]
        assert np.abs(slopes[0] - slopes[1]).max() < (1e-9 if cut.exact else 0.1)


def test_wires_cut_together_are_found_where_gates_cost_less_than_as_many_wires():
    """Engines add up prices: with wires at 9 each they proposed two gates, at 68.6 and not 49."""
    circuit = QuantumCircuit(5)
    for a, b in ((4, 1), (1, 3), (3, 1), (2, 0), (4, 0), (1, 3), (2, 1), (0, 2), (2, 0)):
        circuit.cx(a, b)
        circuit.ry(0.3, a)
    best = min(search(read_circuit(circuit)[0], max_width=4), key=lambda c: c.log_overhead)
    assert best.wire_cuts == 2
    assert best.overhead == pytest.approx(49)
