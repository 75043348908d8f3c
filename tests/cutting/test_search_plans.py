"""The best plans that the search finds, by every engine."""

import sys
from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import XXPlusYYGate, efficient_su2
from qiskit.quantum_info import PauliList, Statevector
from qiskit_addon_cutting.instructions import CutWire, Move
from support.addon_finder import addon
from support.cp_sat import cp_sat, log_overhead, optimum, widest
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

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.fragment import Site
from pilotcut.cutting.plan import build_plan
from pilotcut.cutting.search import (
    Candidate,
    FragmentShape,
    hypergraph,
    portfolio,
    proxy_cost,
    search,
)
from pilotcut.cutting.search.best import best_placement
from pilotcut.cutting.search.interaction_graph import interactions_of
from pilotcut.cutting.search.portfolio import ENGINES
from pilotcut.errors import CutError


def found(circuit: QuantumCircuit, **how) -> tuple[Candidate, ...]:
    return search(read_circuit(circuit)[0], **how)


def least(candidates) -> Candidate:
    return min(candidates, key=lambda c: c.overhead)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(0, 9), st.integers(0, 4))
@settings(max_examples=12, deadline=None)
def test_candidates_are_what_plans_become(seed, width, gates, cuts):
    """Sites, variants, branches and overhead are those of the plan, and it is as narrow.

    Gates too, but for the local ones around runs of bound gates, of which there may be fewer.
    """
    circuit = random_gates(seed, width, gates)
    if seed % 3 == 0 and gates:
        circuit.reset(0)
        circuit.h(0)
    program, binding = read_circuit(circuit)
    for candidate in search(program, max_cuts=cuts, seed=seed):
        plan = build_plan(program, binding, PauliList(["Z" * width]), candidate.placement)
        fragments = sorted(plan.fragments, key=lambda f: (len(f.label), f.label))
        gates_of = [sum(not isinstance(s, Site) for s in f.steps) for f in fragments]
        for shape, number in zip(candidate.shapes, gates_of, strict=True):
            assert abs(shape.gates - number) <= 2 * shape.sites
        assert candidate.shapes == tuple(
            FragmentShape(
                # All its qubits; they are not always alive at the same time.
                width=len(set(fragment.qubits)),
                gates=shape.gates,
                sites=len(fragment.sites),
                variants=fragment.num_variants,
                branches=int(np.prod([site.rank for site in fragment.sites], dtype=float)),
            )
            for fragment, shape in zip(fragments, candidate.shapes, strict=True)
        )
        assert candidate.cuts == plan.num_cuts <= cuts
        assert candidate.overhead == pytest.approx(plan.sampling_overhead)
        assert candidate.cost == pytest.approx(sum(map(proxy_cost, candidate.shapes)))
        assert candidate.variants == plan.num_variants
        assert all(f.width <= s.width for f, s in zip(fragments, candidate.shapes, strict=True))


@pytest.mark.parametrize("wires", ["auto", "communication", "randomised"])
@pytest.mark.parametrize("seed", range(4))
def test_wires_have_the_price_of_how_they_are_cut(seed, wires):
    """As the plan has it, also where parallel ones are cut together or no order suits."""
    circuit = random_gates(seed, 5, 10)
    if seed % 2:
        circuit.append(Move(), [0, 1])
        circuit.cswap(2, 1, 3)
        circuit.cx(1, 0)
    together = 0
    for candidate in found(circuit, max_cuts=3, wires=wires):
        plan = compile_plan(circuit, placement=candidate.placement, wires=wires)
        assert plan.num_cuts == candidate.cuts
        assert candidate.overhead == pytest.approx(plan.sampling_overhead)
        assert candidate.variants == plan.num_variants
        together += sum(bond.gates > 1 for bond in plan.bonds)
    assert together


@pytest.mark.parametrize(
    ("wires", "angle", "overhead", "gates"),
    [
        ("communication", 0.2, 9, 0),
        ("separate", 0.2, (1 + 2 * np.sin(0.2)) ** 8, 4),  # 14.5
        ("separate", 0.23, 16, 0),
        ("randomised", 0.23, (1 + 2 * np.sin(0.23)) ** 8, 4),  # 20.2
        ("randomised", 0.4, 25, 0),
    ],
)
def test_the_cheapest_cut_follows_the_price_of_a_wire(wires, angle, overhead, gates):
    """Two halves that share a qubit: its wire is cut, or the four rotations beside it."""
    circuit = QuantumCircuit(5)
    for half in [(0, 1, 2), (2, 3, 4)]:
        for a, b in 2 * [half[:2], half[1:], half[::2]]:
            for qubit in (a, b):
                circuit.rx(Parameter(f"x{len(circuit):02}"), qubit)
            circuit.rzz(angle, a, b)
    plan = compile_plan(circuit, "ZZZZZ", max_width=3, wires=wires)
    assert plan.sampling_overhead == pytest.approx(overhead)
    assert len(plan.bonds) == (gates or 1)
    (line,) = {b.gate for b in plan.bonds}
    assert line == ("rzz" if gates else "cut_wire")


@pytest.mark.parametrize("seed", [1, 2])
def test_plans_of_the_search_give_the_uncut_value(seed):
    """Every candidate of a random circuit, wire cuts among them, estimates the same."""
    circuit = random_gates(seed, 5, 8)
    values = np.linspace(-1, 1, circuit.num_parameters)
    state = Statevector(circuit.assign_parameters(values))
    candidates = found(circuit, max_cuts=3, max_width=4)
    assert any(candidate.wire_cuts for candidate in candidates)
    for candidate in candidates:
        plan = compile_plan(circuit, "ZXIZZ", placement=candidate.placement)
        result = CutEstimator(plan=plan, mode="exact").run([(circuit, "ZXIZZ", values)]).result()
        exact = state.expectation_value(PauliList(["ZXIZZ"])[0]).real
        assert result[0].data.evs == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("seed", range(15))
def test_the_search_finds_the_proven_optimum(seed):
    """As good as CP-SAT on small random circuits (benchmarks/search.py has 200 of them).

    Its model adds up cuts one by one, as wires that are cut separately do.
    """
    pytest.importorskip("ortools")
    rng = np.random.default_rng(seed)
    width = int(rng.integers(4, 9))
    circuit = random_gates(seed, width, int(rng.integers(width, 2 * width)))
    program, _ = read_circuit(circuit)
    most = int(rng.integers(-(-width // 2), width))
    best = optimum(interactions_of(program, "separate"), max_width=most)
    assert best is not None
    assert best.proven
    candidates = search(program, max_width=most, wires="separate")
    assert max(c.max_width for c in candidates) <= most
    assert log(least(candidates).overhead) == pytest.approx(best.log_overhead, abs=1e-3)


def test_the_oracle_agrees_with_all_partitions():
    """Without wire cuts, against every partition of five qubits."""
    pytest.importorskip("ortools")
    graph = interactions_of(read_circuit(random_gates(5, 5, 9))[0])
    for most in (2, 3, 4):
        plans = [np.array(p)[graph.qubit] for p in partitions(5)]
        best = min(log_overhead(graph, p) for p in plans if widest(graph, p) <= most)
        answer = optimum(graph, max_width=most, wire_cuts=False)
        assert answer is not None
        assert answer.log_overhead == pytest.approx(best, abs=1e-3)
        assert widest(graph, answer.labels) <= most
    assert optimum(graph, max_width=2, max_cuts=1, wire_cuts=False) is None


@given(graphs(), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_the_fewest_gates_are_cut_where_wires_stay_whole(graph, most):
    """Against all partitions: least overhead, and the narrowest of every number of cuts."""
    width, pairs = graph
    circuit = apart(pairs, width)
    fitting = [p for p in partitions(width) if max(widths(p)) <= most]
    fewest = min(crossing(pairs, p) for p in fitting)
    candidates = found(circuit, max_width=most, wire_cuts=False)
    assert least(candidates).cuts == fewest
    for cuts in range(4):
        some = [max(widths(p)) for p in partitions(width) if crossing(pairs, p) == cuts]
        mine = [c.max_width for c in found(circuit, max_cuts=3, wire_cuts=False) if c.cuts == cuts]
        assert (min(mine) if mine else None) == (min(some) if some else None)


@pytest.mark.parametrize("seed", range(6))
def test_small_circuits_get_the_best_of_all_plans(seed):
    """Against all sets of up to three cuts: the least cost, width, overhead and variants."""
    circuit = random_gates(seed, 4 + seed % 3, 6 + seed % 2)
    cost = proxy_cost if seed % 2 else lambda shape: 1.0 + shape.branches**2 * 2.0**shape.width
    mine = found(circuit, max_cuts=3, cost=cost)
    every = list(all_candidates(circuit, 3, cost))
    for cuts in range(4):
        for figure in range(4):
            best = [[c.figures[figure] for c in some if c.cuts == cuts] for some in (mine, every)]
            assert min(best[0], default=0) == pytest.approx(min(best[1], default=0))


def test_candidates_are_few_and_none_beats_another():
    """For each number of cuts `per_cuts` at most, none dominated, the uncut circuit among them."""
    circuit = random_gates(4, 7, 12)
    for most in (2, 4):
        candidates = found(circuit, max_cuts=4, per_cuts=most)
        assert candidates[0].cuts == 0
        assert [c.cuts for c in candidates] == sorted(c.cuts for c in candidates)
        for cuts in range(5):
            some = [c for c in candidates if c.cuts == cuts]
            assert len(some) <= most
            for one, other in product(some, some):
                beaten = all(a <= b for a, b in zip(one.figures, other.figures, strict=True))
                assert one is other or not beaten
    every = found(circuit, max_cuts=4, per_cuts=100)
    few = found(circuit, max_cuts=4, per_cuts=2)
    for cuts in range(5):
        for figure in ("cost", "max_width"):
            best = [[getattr(c, figure) for c in some if c.cuts == cuts] for some in (every, few)]
            assert min(best[0], default=0) == min(best[1], default=0)


@pytest.mark.parametrize("engine", ["auto", *ENGINES, addon, cp_sat])
def test_every_engine_keeps_the_width_and_repeats_itself(engine):
    """Each engine alone finds plans that are narrow enough, the same ones every time."""
    if engine is cp_sat:
        pytest.importorskip("ortools")
    circuit = random_gates(7, 6, 8)
    runs = [found(circuit, max_width=4, engine=engine, seed=3) for _ in range(2)]
    assert runs[0] == runs[1]
    assert all(c.max_width <= 4 for c in runs[0])
    assert all(c.wire_cuts == 0 for c in found(circuit, max_width=4, wire_cuts=False))


def test_the_addon_agrees_where_it_answers():
    """Its finder's optimum is ours, on a circuit that it finishes."""
    circuit = random_gates(3, 6, 7)
    theirs, ours = (least(found(circuit, max_width=4, engine=e)) for e in (addon, "auto"))
    assert ours.overhead == pytest.approx(theirs.overhead)


def test_parts_that_nothing_joins_are_fragments_for_free():
    """Three components and an idle qubit: four fragments without a cut."""
    circuit = circuit_of([(0, 3), (3, 5), (1, 2), (4, 6)], 8)
    (whole,) = found(circuit, max_cuts=0)
    assert (whole.cuts, whole.overhead) == (0, 1.0)
    assert whole.placement.labels == ("A", "B", "B", "A", "C", "A", "C", "D")
    assert sorted(shape.width for shape in whole.shapes) == [1, 2, 2, 3]
    assert least(found(circuit, max_width=3)).cuts == 0
    dear = found(circuit, max_cuts=0, cost=lambda shape: 1000.0 + 2.0**shape.width)
    assert [shape.width for shape in dear[0].shapes] == [8]


def test_a_star_needs_a_wire_cut():
    """GHZ from one hub: one wire cut of 9, where gates alone would cost 9^5."""
    star = circuit_of([(0, q) for q in range(1, 12)], 12)
    best = least(found(star, max_width=7))
    assert (best.gate_cuts, best.wire_cuts, best.overhead) == (0, 1, pytest.approx(9))
    assert sorted(shape.width for shape in best.shapes) == [6, 7]
    assert least(found(star, max_width=7, wire_cuts=False)).gate_cuts == 5
    wide = least(found(circuit_of([(0, q) for q in range(1, 40)], 40), max_width=11))
    assert (wide.gate_cuts, wide.wire_cuts) == (0, 3)


def test_the_cost_decides_between_plans_of_as_many_cuts():
    """With variants dear, leaves go; with wide fragments dear, the circuit is halved."""
    pairs = chain(8)
    by_variants = found(circuit_of(pairs, 8), max_cuts=1, cost=lambda s: float(s.sites**2))
    by_width = found(circuit_of(pairs, 8), max_cuts=1, cost=lambda s: 4.0**s.width)
    assert min(c.cost for c in by_variants if c.cuts == 1) == 2
    cheapest = min((c for c in by_width if c.cuts == 1), key=lambda c: c.cost)
    assert sorted(shape.width for shape in cheapest.shapes) == [4, 4]
    assert cheapest.cost == 2 * 4.0**4


@pytest.mark.timeout(30)
def test_wide_qnns_are_cut_between_neighbours():
    """60 qubits in fragments of ten: five boundaries of two CX, which is the optimum."""
    qnn = efficient_su2(60, reps=2, entanglement="linear")
    best = least(found(qnn, max_width=10))
    assert (best.gate_cuts, best.wire_cuts, best.max_width) == (10, 0, 10)
    some = found(efficient_su2(36, reps=2, entanglement="linear"), max_cuts=4)
    assert min(c.max_width for c in some if c.cuts == 4) == 12


@pytest.mark.parametrize("missing", [["mtkahypar"], ["mtkahypar", "pymetis", "ortools.sat.python"]])
def test_partitioners_need_not_be_installed(monkeypatch, missing):
    """Without Mt-KaHyPar pymetis is asked, and without both the search splits by itself."""
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    hypergraph._initialized.cache_clear()
    ring = circuit_of([(q, (q + 1) % 16) for q in range(16)], 16)
    for engine in ("auto", "hypergraph"):
        best = least(found(ring, max_width=8, engine=engine))
        assert (best.cuts, best.max_width) == (2, 8)
    if "ortools.sat.python" in missing:
        with pytest.raises(CutError, match=r"OR-tools to be installed .* pip install"):
            found(ring, max_width=8, engine=cp_sat)
    hypergraph._initialized.cache_clear()


def test_partitioners_divide_evenly():
    """Each one splits a chain of 24 qubits in three by two cuts or nearly so."""
    program, _ = read_circuit(circuit_of(chain(24), 24))
    graph = interactions_of(program)
    weights = hypergraph.end_graph(graph)
    for make in (hypergraph._mtkahypar, hypergraph._pymetis, lambda: hypergraph.bisected):
        try:
            partition = make()
        except ImportError:
            continue
        labels = partition(weights, 1 + 7 * graph.first, 3, 0.05, 0)
        assert widest(graph, labels) <= 10
        assert log_overhead(graph, labels) < 3 * log(9)


def test_gates_with_several_free_angles_have_the_price_of_their_cut():
    """XX+YY is two commuting rotations: 49, and in CU they do not commute: 36."""
    circuit = QuantumCircuit(3)
    circuit.append(XXPlusYYGate(Parameter("a"), 0.2), [1, 0])
    circuit.cu(*(Parameter(name) for name in "bcde"), 1, 2)
    graph = interactions_of(read_circuit(circuit)[0])
    np.testing.assert_allclose(np.exp(graph.log_overheads), [49, 36])
    narrow = least(found(circuit, max_width=1))
    assert compile_plan(circuit, "ZZZ", placement=narrow.placement).num_cuts == narrow.cuts


def test_consecutive_gates_on_a_pair_are_one_block():
    """Three gates on a pair, with rotations between, are cut together, in their cheapest form."""
    circuit = QuantumCircuit(3)
    for angle in (0.1, 0.2, 0.3):
        circuit.rzz(angle, 0, 1)
        circuit.rz(angle, 1)
    circuit.cx(2, 1)
    graph = interactions_of(read_circuit(circuit)[0])
    assert graph.gates.tolist() == [3, 1]
    assert graph.cuts.tolist() == [1, 1]
    assert graph.num_ends == 4
    assert graph.log_overheads[0] == pytest.approx(2 * log(1 + 2 * np.sin(0.6)))


@pytest.mark.parametrize("seed", range(6))
def test_blocks_have_the_price_that_their_plan_has(seed):
    """Bound and free runs of gates: overhead, number of cuts, and operations."""
    circuit = QuantumCircuit(2)
    rng = np.random.default_rng(seed)
    for k in range(2 + seed % 3):
        gate = rng.choice(["cx", "rzz", "iswap", "rxx"])
        angle = [Parameter(f"t{k}") if seed % 2 else float(rng.uniform(0.2, 1))]
        getattr(circuit, gate)(*angle * gate.startswith("r"), *rng.permutation(2).tolist())
        circuit.ry(0.3, k % 2)
    graph = interactions_of(read_circuit(circuit)[0])
    plan = compile_plan(circuit, "ZZ", labels="AB")
    assert graph.log_overheads.sum() == pytest.approx(log(plan.sampling_overhead))
    assert graph.cuts.sum() == plan.num_cuts
    sizes = [fragment.site_shape for fragment in plan.fragments]
    assert list(zip(*sizes, strict=True)) == [p.operations for some in graph.prices for p in some]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "max_cuts and max_width are both None, expected one"),
        ({"max_cuts": -1}, "max_cuts is -1, expected a whole number from 0"),
        ({"max_width": 1.5}, "max_width is 1.5, expected a whole number from 1"),
        ({"max_width": 2, "engine": "magic"}, "engine is 'magic', expected one of auto, exact"),
        ({"max_width": 2, "max_cuts": 1}, "max_width is 2 and max_cuts 1, expected limits"),
    ],
)
def test_bad_questions_get_one_line(how, message):
    """What was found, expected and what to do, in one line."""
    ring = circuit_of([(q, (q + 1) % 6) for q in range(6)], 6)
    with pytest.raises(CutError, match=message) as error:
        found(ring, **how)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("limit", "cuts"), [({"max_width": 3}, 1), ({"cuts": 2}, 2)])
def test_a_move_is_cut_as_a_wire_or_stays_in_a_fragment(limit, cuts):
    circuit = circuit_of([(0, 1)], 5)
    circuit.append(Move(), [1, 2])
    circuit.cx(2, 3)
    circuit.cx(3, 4)
    plan = compile_plan(circuit, "ZIZZZ", **limit)
    assert plan.num_cuts == cuts
    assert max(plan.widths) <= 4 - cuts
    by_moves = compile_plan(circuit, "ZIZZZ", labels="AABBB")
    assert [bond.gate for bond in by_moves.bonds] == ["move"]
    assert plan.sampling_overhead <= 9**cuts


def test_markers_leave_the_search_nothing_to_choose():
    circuit = circuit_of([(0, 1)], 3)
    circuit.append(CutWire(), [0])
    with pytest.raises(CutError, match="markers"):
        found(circuit, max_cuts=1)


@pytest.mark.parametrize("width", [1, 3])
def test_circuits_without_two_qubit_gates(width):
    """Every qubit is a fragment of its own, and no engine minds."""
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for engine in ("auto", "contiguous", "hypergraph", "exact", addon):
        (candidate,) = found(circuit, max_cuts=2, max_width=1, engine=engine)
        assert [shape.width for shape in candidate.shapes] == [1] * width


def test_a_plan_of_very_many_cuts_asks_one_engine_alone(monkeypatch):
    """It took 7 s for a circuit of 30 qubits, and nobody can run such a plan."""
    program, binding = read_circuit(efficient_su2(30, reps=5))
    for others in ("hypergraph", "walked", "refined", "polish"):
        monkeypatch.setattr(portfolio, others, None)
    placement = best_placement(program, cuts=100)
    assert build_plan(program, binding, PauliList(["Z" * 30]), placement).num_cuts == 100
