"""Ways to cut wires: the cheapest that the order of fragments allows, in plans and the search."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire
from support.exact import assert_cut_equals_uncut
from support.searches import random_gates

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting import walks
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.cutting.search import proxy_cost
from pilotcut.cutting.search.candidates import Evaluator
from pilotcut.cutting.search.interaction_graph import interactions_of
from pilotcut.cutting.wire_ways import (
    MOST_ORDERED,
    SentWires,
    log_overhead_of_wires,
    unordered_way,
    ways_of,
)
from pilotcut.errors import CutError, UserError

GROUPS = st.lists(
    st.builds(SentWires, st.integers(0, 4), st.integers(0, 4), st.integers(1, 3)), max_size=9
)


def price(sent, ways) -> float:
    return sum(log_overhead_of_wires(way, one.number) for one, way in zip(sent, ways, strict=True))


def in_order(sent, order) -> list[str]:
    """Who sends to someone later communicates."""
    return [
        "communication"
        if order.index(s.sender) < order.index(s.receiver)
        else unordered_way(s.number)
        for s in sent
    ]


@given(GROUPS)
@settings(max_examples=60, deadline=None)
def test_the_ways_are_those_of_the_best_order(sent):
    """Against all orders of five fragments."""
    ways = ways_of(sent, "auto")
    best = min(price(sent, in_order(sent, order)) for order in permutations(range(5)))
    assert price(sent, ways) == pytest.approx(best)
    assert ways == ways_of(sent, "auto")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_of_many_fragments_those_that_communicate_have_an_order(seed):
    rng = np.random.default_rng(seed)
    size = MOST_ORDERED + 4
    sent = [SentWires(*map(int, rng.integers(0, size, 2))) for _ in range(3 * size)]
    ways = ways_of(sent, "auto")
    left = {(s.sender, s.receiver) for s, w in zip(sent, ways, strict=True) if w == "communication"}
    assert len(left) > size
    while left:
        free = {a for a, _ in left} - {b for _, b in left}
        assert free, "senders and receivers go in circles"
        left = {(a, b) for a, b in left if a not in free}


def there_and_back() -> tuple[QuantumCircuit, Placement]:
    """Qubit 1 goes to B and comes back to A."""
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, range(3))
    for pair in [(0, 1), (1, 2), (0, 1)]:
        circuit.cx(*pair)
        circuit.ry(0.3, 1)
    return circuit, Placement(("A", "A", "B"), (WireCut(1, 2, "B"), WireCut(1, 4, "A")))


def test_wires_that_go_there_and_back_communicate_one_way():
    circuit, placement = there_and_back()
    plan = assert_cut_equals_uncut(circuit, ["ZZZ", "XXZ"], placement=placement)
    assert sorted(bond.way for bond in plan.bonds) == ["communication", "separate"]
    assert plan.sampling_overhead == pytest.approx(9 * 16)
    with pytest.raises(
        CutError, match=r"^wires is 'communication', but fragment [AB] sends a wire"
    ):
        compile_plan(circuit, "ZZZ", placement=placement, wires="communication")


@pytest.mark.parametrize("mode", ["counts", "sampled"])
def test_values_are_right_where_some_wires_communicate(mode):
    circuit, placement = there_and_back()
    exact = CutEstimator(mode="exact").run([(circuit, ["ZZZ", "XXZ"])]).result()[0].data.evs
    cut = CutEstimator(labels=placement, mode=mode, shots=2000, seed=5)
    found = cut.run([(circuit, ["ZZZ", "XXZ"])]).result()[0].data
    assert np.abs(found.evs - exact).max() < 5 * found.stds.max()
    assert found.stds.max() < 0.2


def test_groups_without_an_order_are_cut_in_randomised_bases():
    """Two wires there and two back."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.4, range(4))
    for a, b in [(0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2), (0, 1)]:
        circuit.cx(a, b)
    cuts = tuple(WireCut(q, 2 + 2 * k, "BA"[k]) for q in (0, 1) for k in (0, 1))
    plan = assert_cut_equals_uncut(circuit, ["ZZZZ"], placement=Placement(tuple("AABB"), cuts))
    assert sorted((b.way, b.gates) for b in plan.bonds) == [("communication", 2), ("randomised", 2)]
    assert plan.sampling_overhead == 49 * 81


@pytest.mark.parametrize("seed", range(2))
def test_the_default_is_never_dearer_than_wires_one_by_one(seed):
    circuit = random_gates(seed, 6, 14)
    for width in (2, 3, 4, 5):
        plans = [compile_plan(circuit, max_width=width, wires=w) for w in ("auto", "separate")]
        assert max(plans[0].widths) <= width
        assert plans[0].sampling_overhead <= plans[1].sampling_overhead * (1 + 1e-9)


def test_the_search_takes_parallel_wires_for_what_they_cost():
    """Of three wires between two halves γ² is 225, where five rotations beside them cost 273."""
    circuit = QuantumCircuit(9)
    for half in (range(6), range(3, 9)):
        for a in half:
            for b in half:
                if a < b:
                    circuit.cx(a, b)
    plan = compile_plan(circuit, max_width=6)
    assert [(bond.gates, bond.way) for bond in plan.bonds] == [(3, "communication")]
    assert plan.sampling_overhead == 225


@pytest.mark.parametrize("seed", [17, 19])
def test_no_partition_is_cheaper_than_what_the_search_finds(seed):
    """Of all in up to three parts, with groups and orders as plans have them."""
    circuit = random_gates(seed, 4, 5)
    graph = interactions_of(read_circuit(circuit)[0])
    evaluator = Evaluator(graph, proxy_cost)
    rest = product(range(3), repeat=graph.num_ends - 1)
    evaluator.add(np.array((0, *labels)) for labels in rest if 2 not in labels or 1 in labels)
    for width in (2, 3):
        plan = compile_plan(circuit, max_width=width)
        best = min(c.log_overhead for c, _ in evaluator.partitions() if c.max_width <= width)
        assert np.log(plan.sampling_overhead) <= best + 1e-6


def test_parallel_wires_are_joined_beside_values_that_are_measured():
    """Values keep their measurements before what they control."""
    circuit = QuantumCircuit(4, 1)
    circuit.ry(0.7, range(4))
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    for qubit in (0, 1):
        circuit.append(CutWire(), [qubit])
    circuit.cx(0, 2)
    circuit.cx(1, 3)
    circuit.cx(2, 3)
    plan = compile_plan(circuit, "ZZZZ")
    assert [bond.gates for bond in plan.bonds] == [2]
    whole = QuantumCircuit(4, 1)
    for instruction in circuit.data:
        if instruction.operation.name != "cut_wire":
            whole.append(instruction)
    exact = CutEstimator(mode="exact").run([(whole, ["ZZZZ", "IZIZ"])]).result()[0].data.evs
    for mode in ("sampled", "counts"):
        cut = CutEstimator(mode=mode, shots=4000, seed=1)
        found = cut.run([(circuit, ["ZZZZ", "IZIZ"])]).result()[0].data
        assert np.abs(found.evs - exact).max() < 5 * found.stds.max()


def test_parallel_gates_are_joined_beside_values_that_are_measured():
    circuit = QuantumCircuit(4, 1)
    circuit.ry(0.7, range(4))
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.cx(0, 2)
    circuit.cx(1, 3)
    circuit.ry(0.4, range(4))
    plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=True)
    assert [bond.gates for bond in plan.bonds] == [2]
    exact = CutEstimator(mode="exact").run([(circuit, ["ZZZZ", "IXIZ"])]).result()[0].data.evs
    found = CutEstimator(plan=plan, mode="sampled", shots=20_000, seed=1)
    data = found.run([(circuit, ["ZZZZ", "IXIZ"])]).result()[0].data
    assert np.abs(data.evs - exact).max() < 5 * data.stds.max()
    assert data.stds.max() < 0.05


def test_what_would_have_too_many_variants_is_cut_the_way_that_has_fewer(monkeypatch):
    circuit, placement = there_and_back()
    plan = compile_plan(circuit, placement=placement)
    monkeypatch.setattr(walks, "MOST_VARIANTS", plan.num_variants - 1)
    few = compile_plan(circuit, placement=placement)
    assert [bond.way for bond in few.bonds] == ["separate"] * 2
    assert few.num_variants < plan.num_variants


def test_terms_are_drawn_of_wires_that_are_cut_one_by_one():
    with pytest.raises(UserError, match="wires is 'communication' with num_samples=10, expected"):
        CutEstimator(wires="communication", num_samples=10)
    with pytest.raises(UserError, match="wires is 'randomised' with num_samples=10, expected"):
        CutEstimator(wires="randomised", num_samples=10, mode="sampled")
    CutEstimator(num_samples=10)
