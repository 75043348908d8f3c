"""Multi-controlled gates across labels: exact whatever the split, at their best form's price."""

from itertools import product

import numpy as np
import pytest
from qiskit.circuit import AnnotatedOperation, ControlModifier, Parameter, QuantumCircuit
from qiskit.circuit.library import (
    CCXGate,
    CCZGate,
    CSwapGate,
    HGate,
    MCPhaseGate,
    MCXGate,
    RXGate,
    RYGate,
    RZGate,
    SwapGate,
    SXGate,
    UGate,
    UnitaryGate,
    YGate,
)
from qiskit.quantum_info import SparsePauliOp, random_unitary
from support.circuits import rotated
from support.exact import assert_cut_equals_uncut, derivative, uncut
from support.joint_cuts import standardised

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.opening import opened
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.cutting.search import search
from pilotcut.errors import CutError

T = Parameter("t")


def around(gate, width=None):
    """The gate between random rotations of all qubits."""
    circuit = rotated(QuantumCircuit(width or gate.num_qubits), 5)
    circuit.append(gate, range(gate.num_qubits))
    return rotated(circuit, 6)


def observables(width):
    return ["Z" * width, "X" + "I" * (width - 2) + "Y", "I" * (width - 1) + "Z"]


def splits(width, labels="ABC"):
    """All words of labels over qubits, up to their names, but for one label alone."""
    for word in product(labels, repeat=width):
        seen = "".join(dict.fromkeys(word))
        if len(seen) > 1 and labels.startswith(seen):
            yield "".join(word)


KINDS = {
    "ccx": CCXGate(),
    "ccz": CCZGate(),
    "mcphase": MCPhaseGate(2 * T + 1, 2),
    "cswap": CSwapGate(),
    "cswap open": CSwapGate(ctrl_state=0),
    "ccrx": RXGate(T).control(2, annotated=False),
    "ccry open": RYGate(T).control(2, ctrl_state=1, annotated=False),
    "ccrz": RZGate(0.4).control(2, annotated=False),
    "ccu": UGate(0.1, 0.2, 0.3).control(2, annotated=False),
    "ccsx": SXGate().control(2, annotated=False),
    "cch": HGate().control(2, annotated=False),
    "ccunitary": UnitaryGate(random_unitary(2, seed=3)).control(2, annotated=False),
    "annotated": AnnotatedOperation(RYGate(T), [ControlModifier(1), ControlModifier(1, 0)]),
}
LONG = {
    "c3x open": MCXGate(3, ctrl_state=2),
    "c4x": MCXGate(4),
    "c3y open": YGate().control(3, ctrl_state=3, annotated=False),
    "c3phase": MCPhaseGate(0.9, 3),
    "c3ry": RYGate(-0.4).control(3, annotated=False),
    "c3rx": RXGate(T).control(3, annotated=False),
    "ccswap": SwapGate().control(2, annotated=False),
}


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        *((k, w) for k in KINDS for w in splits(3)),
        # Of more qubits every other one: what differs is how many controls stand on each side.
        *((k, w) for k in LONG for w in list(splits(LONG[k].num_qubits, "AB"))[::2]),
    ],
)
def test_a_gate_is_the_same_whatever_its_split(kind, labels):
    gate = (KINDS | LONG)[kind]
    circuit = around(gate)
    values = [0.8] * len(circuit.parameters)
    wanted = observables(len(labels))
    estimator = CutEstimator(labels=labels, mode="exact")
    found = estimator.run([(circuit, wanted, values)]).result()[0].data.evs
    np.testing.assert_allclose(found, uncut(circuit, wanted, values), atol=1e-10)


@pytest.mark.parametrize(
    ("gate", "labels", "overhead", "variants", "widths"),
    [
        (CCZGate(), "AAB", 9, 10, (3, 1)),
        (CCZGate(), "ABB", 9, 10, (1, 3)),
        (CCXGate(ctrl_state=2), "ABA", 9, 10, (3, 1)),
        (CCZGate(), "ABC", 729, 155, (1, 3, 1)),
        (MCXGate(3), "AABB", 9, 10, (3, 3)),
        (MCXGate(3), "AAAB", 9, 10, (4, 1)),
        (CSwapGate(), "ABB", 9, 10, (1, 3)),
        # One qubit visits the other side over two wires, of which one communicates.
        (CSwapGate(), "AAB", 144, 60, (3, 1)),
        (CSwapGate(), "ABC", 1296, 161, (1, 3, 1)),
        (MCPhaseGate(0.9, 3), "AABB", (1 + 2 * np.sin(0.45)) ** 2, 10, (3, 3)),
        (MCPhaseGate(T, 3), "ABBB", 9, 10, (1, 4)),
        (RXGate(T).control(2, annotated=False), "AAB", 9, 10, (3, 1)),
        (RXGate(T).control(2, annotated=False), "ABB", 81, 50, (1, 3)),
        (RZGate(0.4).control(2, annotated=False), "AAB", (1 + 2 * np.sin(0.2)) ** 2, 10, (3, 1)),
        (RZGate(0.4).control(2, annotated=False), "ABB", (1 + 2 * np.sin(0.1)) ** 4, 50, (1, 3)),
        # SX has the eigenvalue 1, so that one projector takes all of its phase.
        (SXGate().control(2, annotated=False), "ABB", (1 + 2 * np.sin(np.pi / 4)) ** 2, 10, (1, 3)),
    ],
)
def test_the_price_of_a_gate(gate, labels, overhead, variants, widths):
    circuit = around(gate)
    values = [0.8] * len(circuit.parameters)
    plan = assert_cut_equals_uncut(circuit, observables(len(labels)), values, labels=labels)
    assert plan.sampling_overhead == pytest.approx(overhead)
    assert (plan.num_variants, plan.widths) == (variants, widths)


@pytest.mark.parametrize(
    ("gate", "labels", "room", "overhead", "widths"),
    [
        (CCZGate(), "AAB", 3, 9, (3, 1)),
        # Without an ancilla: parities of a side, at half the angle.
        (CCZGate(), "AAB", 2, (1 + np.sqrt(2)) ** 6, (2, 1)),
        (MCXGate(3), "AABB", 2, (1 + 2 * np.sin(np.pi / 8)) ** 18, (2, 2)),
        (CSwapGate(), "AAB", 2, 9 * 9 * (1 + np.sqrt(2)) ** 6, (2, 1)),
        (CCZGate(), "ABC", 1, 9**4 * (1 + np.sqrt(2)) ** 2, (1, 1, 1)),
        (CCZGate(), "ABC", 2, 9 * 9 * (1 + np.sqrt(2)) ** 6, (1, 2, 1)),
    ],
)
def test_a_width_is_kept(gate, labels, room, overhead, widths):
    """Forms with fewer ancillas are taken where there is no room, however dear."""
    circuit = around(gate)
    placement = Placement(tuple(labels), max_width=room)
    plan = compile_plan(circuit, observables(len(labels)), placement=placement)
    assert plan.sampling_overhead == pytest.approx(overhead)
    assert plan.widths == widths
    if plan.num_variants < 10**4:
        assert_cut_equals_uncut(circuit, observables(len(labels)), placement=placement)


def test_gates_one_after_another_use_one_ancilla_again():
    circuit = rotated(QuantumCircuit(4), 1)
    for k in range(3):
        circuit.ccx(0, 1, 3)
        circuit = rotated(circuit, k)
        circuit.mcp(0.4 + k, [0, 2], 3)
    wanted = ["ZZZZ", "XIIY"]
    plan = compile_plan(rotated(circuit, 7), wanted, labels="AAAB")
    assert (plan.widths, plan.num_cuts) == ((4, 1), 6)
    assert plan.fragments[0].qubits == (0, 1, 2, -1)
    estimator = CutEstimator(labels="AAAB", mode="exact")
    found = estimator.run([(circuit, wanted)]).result()[0].data.evs
    np.testing.assert_allclose(found, uncut(circuit, wanted), atol=1e-10)


def test_a_gate_within_a_label_is_opened_as_its_definition():
    circuit = around(CCXGate(), width=4)
    circuit.cx(2, 3)
    program, _ = read_circuit(circuit)
    steps, _ = opened(program, Placement(tuple("AAAB")))
    assert steps == program.opened
    plan = assert_cut_equals_uncut(circuit, ["ZZZZ"], labels="AAAB")
    assert plan.widths == (3, 1)
    assert [item.name for item in plan.layout if len(item.qubits) > 1] == ["ccx", "cx"]


def test_a_wire_may_be_cut_between_the_parts_of_a_gate():
    """Steps of a qubit are counted with the gate opened; a gate with a cut within is opened."""
    circuit = around(CCXGate(), width=4)
    circuit.cx(2, 3)
    circuit = rotated(circuit, 8)
    program, _ = read_circuit(circuit)
    parts = sum(2 in step.qubits for step in program.opened.steps)
    for after in (1, 3, parts - 2):
        placement = Placement(tuple("AAAB"), (WireCut(2, after, "B"),))
        assert_cut_equals_uncut(circuit, ["ZZZZ", "XIIY"], placement=placement)


def test_the_layout_shows_the_gate_at_each_of_its_cuts():
    plan = compile_plan(around(CCZGate()), labels="ABC")
    shown = [(i.name, i.qubits, i.bond) for i in plan.layout if len(i.qubits) > 1]
    assert shown == [("ccz", (0, 1), 0), ("ccz", (1, 2), 1), ("ccz", (0, 1), 2)]
    plan = compile_plan(around(CSwapGate()), labels="AAB")
    shown = [(i.name, i.qubits, i.fragments) for i in plan.layout if len(i.qubits) > 1]
    there, back = ("cut_wire", (2, 2), (1, 0)), ("cut_wire", (2, 2), (0, 1))
    assert shown == [there, ("cswap", (0, 1, 2), (0, 0, 0)), back]


@pytest.mark.parametrize("labels", ["AAB", "ABB", "ABC"])
@pytest.mark.parametrize("kind", ["mcphase", "ccrx", "ccry open"])
def test_gradients_of_free_angles(kind, labels):
    circuit = around(KINDS[kind])
    observable = SparsePauliOp(["ZZZ", "XIY"], [1.0, 0.7])
    estimator = CutEstimator(labels=labels, mode="exact")
    found = CutGradient(estimator).run([circuit], [observable], [[0.8]]).result().gradients[0]
    wanted = derivative(circuit, observable, np.array([0.8]))
    np.testing.assert_allclose(found, wanted, atol=1e-8)


@pytest.mark.parametrize(
    ("gate", "labels", "mode", "rows"),
    [
        (CCZGate(), "AAB", "sampled", 300),
        (CCZGate(), "AAB", "counts", 60),
        (CCZGate(), "ABC", "sampled", 200),
        (CSwapGate(), "AAB", "sampled", 200),
        (CSwapGate(), "ABB", "counts", 60),
    ],
)
def test_error_bars_hold(gate, labels, mode, rows):
    wanted = ["ZZZ", "IIZ", SparsePauliOp(["ZZZ", "XIY"], [1.0, 0.7])]
    options = {"mode": mode, "labels": labels, "seed": 4, "shots": 500}
    z = standardised(around(gate), wanted, rows, **options)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(rows)
    assert np.abs(z.std(axis=0) - 1).max() < 4 / np.sqrt(2 * rows)


# -- the search ------------------------------------------------------------------------


def bridged():
    """Two pairs of qubits and one between them, held together by a CCZ."""
    circuit = rotated(QuantumCircuit(5), 3)
    for pair in ((0, 1), (3, 4), (0, 1)):
        circuit.cx(*pair)
    circuit.ccz(1, 2, 3)
    circuit.cx(0, 1)
    circuit.cx(4, 3)
    return rotated(circuit, 4)


@pytest.mark.parametrize(
    ("most", "overhead"),
    # Of three the widest has room for an ancilla too: the two CX before the CCZ are none, so qubit
    # 0 begins behind it.
    [(5, 1), (4, 9), (3, 9)],
)
def test_the_search_knows_what_a_gate_costs_with_its_ancillas(most, overhead):
    plan = assert_cut_equals_uncut(bridged(), ["ZZZZZ", "XIIIY"], max_width=most)
    assert plan.sampling_overhead == pytest.approx(overhead)
    assert max(plan.widths) <= most


def test_candidates_have_the_figures_of_their_plans():
    circuit = bridged()
    circuit.cswap(2, 0, 4)
    program, _ = read_circuit(circuit)
    for candidate in search(program, max_cuts=4):
        plan = compile_plan(circuit, placement=candidate.placement)
        assert plan.num_cuts == candidate.cuts
        assert plan.sampling_overhead == pytest.approx(candidate.overhead)
        assert plan.num_variants == candidate.variants
        assert max(plan.widths) <= candidate.max_width
    for candidate in search(program, max_cuts=6, max_width=4):
        # Wires that are not alive at the same time leave plans more room than the search counts.
        plan = compile_plan(circuit, placement=candidate.placement)
        assert plan.sampling_overhead <= 1.001 * candidate.overhead
        assert max(plan.widths) <= candidate.max_width <= 4


def test_an_ancilla_takes_a_qubit_that_begins_behind_its_gate():
    """The last qubit of a side begins when the ancilla has gone, so three have room for both."""
    circuit = QuantumCircuit(4)
    circuit.ccz(0, 2, 1)
    circuit.ccz(2, 3, 0)
    plan = assert_cut_equals_uncut(rotated(circuit, 3), ["ZZZZ", "XIYZ"], max_width=3)
    assert (plan.sampling_overhead, max(plan.widths)) == (pytest.approx(9), 3)


def test_as_many_cuts_as_all_parts_of_a_gate_take_can_be_asked_for():
    circuit = QuantumCircuit(3)
    circuit.ccx(0, 1, 2)
    assert compile_plan(circuit, cuts=3).num_cuts == 3
    with pytest.raises(CutError, match="exactly 2 cuts, expected one of 1, 3; choose"):
        compile_plan(circuit, cuts=2)
    with pytest.raises(CutError, match="takes 3, expected at most 3"):
        compile_plan(circuit, cuts=4)


def test_a_gate_of_many_controls_takes_one_cut():
    circuit = QuantumCircuit(12)
    circuit.h(range(12))
    circuit.mcx(list(range(11)), 11)
    plan = compile_plan(circuit, max_width=7)
    assert (plan.num_cuts, plan.widths, plan.num_variants) == (1, (7, 7), 10)


@pytest.mark.parametrize("labels", ["AAB", "ABC"])
@pytest.mark.parametrize(
    "gate", [MCPhaseGate(4 * np.pi, 2), RXGate(4 * np.pi).control(2, annotated=False)]
)
def test_a_whole_turn_is_no_cut_and_no_step(gate, labels):
    """Its cheapest form is empty, which Qiskit's QuadraticFormGate has among its parts."""
    circuit = around(gate)
    plan = compile_plan(circuit, observables(3), labels=labels)
    assert plan.num_cuts == 0
    assert_cut_equals_uncut(circuit, observables(3), labels=labels)
