"""Which gates are cut as one, and what plans and estimators make of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import XXPlusYYGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import A, B, entangled, parallel, rotated, trained
from support.exact import derivative, exact
from support.joint_cuts import SUM, SUM3, TWO, assert_exact, gates_of, random_circuit, standardised

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.joint import MOST_JOINT, parallel_groups

# -- which gates are cut as one --------------------------------------------------------


def groups(pairs, labels: str, name: str = "cx") -> list[tuple[tuple[int, int], ...]]:
    """The groups that gates on these pairs form, by their qubits."""
    circuit = QuantumCircuit(len(labels))
    for pair in pairs:
        getattr(circuit, name)(*pair)
    program, _ = read_circuit(circuit)
    between = [frozenset(labels[q] for q in step.qubits) for step in program.steps]
    crossing = [k for k, some in enumerate(between) if len(some) == 2]
    found = parallel_groups(
        [s.qubits for s in program.steps], crossing, [between[k] for k in crossing]
    )
    return [tuple(program.steps[k].qubits for k in group) for group in found]


def test_gates_in_different_layers_are_joined_where_neither_waits_for_the_other():
    """(1, 4) stands in the second layer, behind a gate inside its label."""
    assert groups([(0, 3), (1, 2), (1, 4)], "AAABB") == [((1, 2),), ((0, 3), (1, 4))]


def test_gates_that_depend_on_each_other_are_not_joined():
    """Through a shared qubit, or through gates inside a label."""
    assert groups([(0, 2), (0, 3)], "AABB") == [((0, 2),), ((0, 3),)]
    assert groups([(0, 2), (0, 1), (1, 3)], "AABB") == [((0, 2),), ((0, 1),), ((1, 3),)]
    # By another label: 0-2, then 2-4 inside B, then 1-4.
    assert [len(g) for g in groups([(0, 2), (2, 4), (1, 4)], "AABBB")] == [1, 1, 1]


def test_groups_that_leave_no_order_are_not_formed():
    """A1 stands before B1 and B2 before A2, so that not both pairs can be one cut."""
    a1, b1, b2, a2 = (0, 2), (0, 4), (1, 5), (1, 3)
    found = groups([a1, b1, b2, a2], "AABBCC")
    assert sorted(map(len, found)) == [1, 1, 2]
    assert sorted(pair for group in found for pair in group) == sorted([a1, b1, b2, a2])
    circuit = entangled([(0, 1), (2, 3), (4, 5)], 6)
    for pair in (a1, b1, b2, a2):
        circuit.cx(*pair)
        circuit.u(0.3, 0.5, 0.8, pair[0])
    assert_exact(rotated(circuit, 9), [], ["ZZZZZZ", "XIYXIZ"], labels="AABBCC")


def test_other_labels_are_never_joined():
    assert groups([(0, 2), (1, 4), (3, 5)], "AABBCC") == [((0, 2),), ((1, 4),), ((3, 5),)]


@pytest.mark.parametrize(("size", "expected"), [(1, [1]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])])
def test_more_than_three_are_split(size, expected):
    found = groups([(k, size + k) for k in range(size)], "A" * size + "B" * size)
    assert list(map(len, found)) == expected


def test_groups_reach_over_any_number_of_layers():
    """(5, 2) comes two layers after the first gates and is joined with one of the second."""
    found = groups([(0, 3), (4, 1), (1, 2), (5, 2), (0, 4)], "AAABBB")
    assert found == [((0, 3), (4, 1)), ((1, 2),), ((0, 4), (5, 2))]


@pytest.mark.parametrize(
    "place",
    [
        lambda c, pair: c.swap(*pair),
        lambda c, pair: c.iswap(*pair),
        lambda c, pair: c.append(XXPlusYYGate(0.4), pair),
        lambda c, pair: c.rzz(0.0, *pair),
        lambda c, pair: c.append(Move(), pair),
    ],
    ids=["swap", "iswap", "xx_plus_yy", "identity", "move"],
)
def test_what_is_no_rotation_is_cut_on_its_own(place):
    """Gates of rank 4 or 1 and wires stand alone, beside CX that are joined."""
    circuit = rotated(QuantumCircuit(8), 1)
    circuit.reset([6, 7])
    for pair in ((0, 4), (1, 5)):
        circuit.cx(*pair)
    for pair in ((2, 6), (3, 7)):
        place(circuit, pair)
    plan = compile_plan(circuit, "Z" * 8, labels="AAAABBBB", joint_cuts=True, wires="separate")
    assert sorted(gates_of(plan)) == [1, 1, 2]
    assert [len(site.wires) for site in plan.fragments[0].sites] == gates_of(plan)


def test_a_cut_wire_is_cut_on_its_own():
    circuit = entangled([(0, 2), (1, 3)], 4)
    circuit.append(CutWire(), [0])
    circuit.append(CutWire(), [1])
    plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=True, wires="separate")
    assert sorted(gates_of(plan)) == [1, 1, 2]
    together = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=True)
    assert sorted(gates_of(together)) == [2, 2]


def test_nothing_to_join_gives_the_plan_of_single_cuts():
    """Without labels, without parallel gates, or without being asked."""
    chain = entangled([(0, 1), (1, 2), (2, 3)], 4)
    marked = chain.copy()
    marked.append(CutWire(), [1])
    marked.cx(1, 2)
    for circuit, how in ((chain, {"labels": "AABC"}), (chain, {"cuts": 1}), (marked, {})):
        plans = [compile_plan(circuit, "ZZZZ", joint_cuts=j, **how) for j in (False, True)]
        assert plans[0].fingerprint == plans[1].fingerprint
        assert [plan.joint_cuts for plan in plans] == [False, True]
    plain = compile_plan(TWO, "ZZZZ", labels="AABB")
    assert gates_of(plain) == [1, 1]
    assert plain.fingerprint == compile_plan(TWO, "ZZZZ", labels="AABB").fingerprint
    assert plain.sampling_overhead == pytest.approx(9 * (1 + 2 * np.sin(0.55)) ** 2)


def shuffled(circuit: QuantumCircuit, rng: np.random.Generator) -> QuantumCircuit:
    """The same gates, neighbours without a common qubit exchanged many times."""
    data = list(circuit.data)
    for _ in range(20 * len(data)):
        k = rng.integers(len(data) - 1)
        if not set(data[k].qubits) & set(data[k + 1].qubits):
            data[k], data[k + 1] = data[k + 1], data[k]
    again = circuit.copy_empty_like()
    for instruction in data:
        again.append(instruction)
    return again


@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
@settings(max_examples=25, deadline=None)
def test_plans_do_not_depend_on_the_order_of_commuting_gates(seed, width):
    circuit, _, labels = random_circuit(seed, width)
    again = shuffled(circuit, np.random.default_rng(seed))
    plans = [compile_plan(c, "Z" * width, labels=labels, joint_cuts=True) for c in (circuit, again)]
    assert plans[0].fingerprint == plans[1].fingerprint


@given(st.integers(0, 2**32 - 1), st.integers(4, 10))
@settings(max_examples=40, deadline=None)
def test_reordered_steps_keep_the_order_of_every_qubit(seed, width):
    """Each step stands exactly once; a group is parallel, of one label pair, and at most three."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(width)
    for _ in range(6 * width):
        pair = [int(q) for q in rng.permutation(width)[:2]]
        circuit.cx(*pair) if rng.random() < 0.8 else circuit.h(pair[0])
    labels = "".join(rng.choice(list("AABBC"), width))
    steps = (program := read_circuit(circuit)[0]).steps
    pairs = [frozenset(labels[q] for q in step.qubits) for step in steps]
    crossing = [k for k, pair in enumerate(pairs) if len(pair) == 2 and rng.random() < 0.9]
    order = parallel_groups(
        [s.qubits for s in program.steps], crossing, [pairs[k] for k in crossing]
    )
    assert sorted(k for group in order for k in group) == list(range(len(steps)))
    for qubit in range(width):
        on_qubit = [k for group in order for k in group if qubit in steps[k].qubits]
        assert on_qubit == sorted(on_qubit)
    for group in order:
        assert len(group) <= MOST_JOINT
        qubits = [q for k in group for q in steps[k].qubits]
        assert len(qubits) == len(set(qubits)) or len(group) == 1
        assert len({pairs[k] for k in group}) == 1
        assert len(group) == 1 or set(group) <= set(crossing)


# -- estimators ------------------------------------------------------------------------


def test_the_exact_mode_cuts_one_by_one_and_is_exact():
    """joint_cuts, or a plan that has them, changes nothing without shots."""
    circuit, values = trained()
    observables = ["ZZZZ", "XIYI", SUM]
    plan = compile_plan(circuit, observables, labels="AABB", joint_cuts=True)
    bound = circuit.assign_parameters(values)
    expected = [exact(bound, o.paulis) @ o.coeffs.real for o in map(SparsePauliOp, observables)]
    for how in ({"labels": "AABB", "joint_cuts": True}, {"plan": plan}):
        estimator = CutEstimator(mode="exact", **how)
        data = estimator.run([(circuit, observables, values)]).result()[0].data
        np.testing.assert_allclose(data.evs, expected, atol=1e-9)
        assert not data.stds.any()
        found = CutGradient(estimator).run([circuit], [SUM], [values]).result().gradients[0]
        np.testing.assert_allclose(found, derivative(circuit, SUM, values), atol=1e-6)


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("joint", [False, True])
def test_a_plan_has_its_own_say(mode, joint):
    """An estimator cuts as its plan does, whatever `joint_cuts` says beside it."""
    plan = compile_plan(TWO, "ZZZZ", labels="AABB", joint_cuts=joint)
    for also in (False, True):
        estimator = CutEstimator(plan=plan, joint_cuts=also, mode=mode, shots=10, seed=1)
        estimator.run([(TWO, "ZZZZ")]).result()
        used = estimator.compile_for(TWO, "ZZZZ").plan
        assert used.fingerprint == plan.fingerprint
        assert estimator.stages.subexperiments == plan.num_subexperiments


def test_the_overhead_is_in_the_plan_and_in_the_record():
    """Two CX: 49 instead of 81, in the plan, its repr and the trace."""
    circuit = parallel(2, [("cx",), ("cz",)])
    for joint, overhead, bonds in ((False, 81, 2), (True, 49, 1)):
        plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=joint)
        assert plan.sampling_overhead == pytest.approx(overhead)
        assert (len(plan.bonds), plan.num_cuts) == (bonds, 2)
        assert "2 cuts, 2 fragments of widths (2, 2)" in repr(plan)
        assert repr(plan).endswith(f"sampling overhead {overhead})")
        estimator = CutEstimator(labels="AABB", joint_cuts=joint, shots=10, seed=1)
        estimator.run([(circuit, "ZZZZ")]).result()
        (record,) = [r for r in estimator.trace.records if r["kind"] == "compile"]
        assert record["sampling_overhead"] == pytest.approx(overhead)
        assert record["cuts"] == 2
    free = parallel(3, [("rzz", A), ("cx",), ("rxx", B)])
    plan = compile_plan(free, "ZZZZZZ", labels="AAABBB", joint_cuts=True)
    assert plan.sampling_overhead == pytest.approx(15**2)


def test_sampled_terms_of_joint_cuts_are_unbiased():
    z = standardised(
        parallel(3, [("cx",), ("ryy", 0.9), ("cz",)]),
        ["ZZZZZZ", SUM3],
        100,
        mode="sampled",
        labels="AAABBB",
        seed=6,
        shots=200,
        num_samples=300,
    )
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(100)
    assert np.all(z.std(axis=0) < 1.15)
    assert np.all(z.std(axis=0) > 0.8)
