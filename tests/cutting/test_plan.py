"""Reading circuits and compiling plans: structure, exactness, fingerprints, messages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import (
    Parameter,
    QuantumCircuit,
)
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CU1Gate,
    RXXGate,
    RYYGate,
    RZXGate,
    RZZGate,
)
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import entangled, rotated
from support.exact import assert_cut_equals_uncut

from pilotcut import compile_plan

SIGNED = np.diag([1.0, -1.0])

#: Gates with one free angle that can be cut, and their two qubits' roles differ for some.
FREE_GATES = [RXXGate, RYYGate, RZZGate, RZXGate, CRXGate, CRYGate, CRZGate, CPhaseGate, CU1Gate]


# -- cut equals uncut ------------------------------------------------------------------

OBSERVABLES = ["ZZZZ", "XIYI", "IZXY", "IIIX", "YIII"]


@pytest.mark.parametrize(
    ("labels", "widths", "cuts"),
    [
        ("AAAA", (4,), 0),
        ("AABB", (2, 2), 2),
        ("AABC", (2, 1, 1), 3),
        ("ABCD", (1, 1, 1, 1), 4),
        ("ABAA", (3, 1), 3),
        ("BAAB", (2, 2), 2),
    ],
)
def test_gate_cuts_along_labels(labels, widths, cuts):
    """Label k belongs to qubit k, and gates between labels are cut."""
    circuit = entangled([(0, 1), (2, 1), (2, 3), (0, 1)], 4)
    crossing = sum(labels[a] != labels[b] for a, b in [(0, 1), (2, 1), (2, 3), (0, 1)])
    plan = assert_cut_equals_uncut(circuit, OBSERVABLES, labels=labels)
    assert plan.num_cuts == crossing
    assert plan.labels == tuple(labels)
    assert sorted(plan.widths) == sorted(widths)
    members = {fragment.label: fragment.qubits for fragment in plan.fragments}
    assert members == {
        letter: tuple(q for q in range(4) if labels[q] == letter) for letter in labels
    }
    pairs = [{labels[a], labels[b]} for a, b in [(0, 1), (2, 1), (2, 3), (0, 1)]]
    sites = [sum(len(p) == 2 and f.label in p for p in pairs) for f in plan.fragments]
    assert plan.num_variants == sum(5**k for k in sites)
    assert plan.sampling_overhead == pytest.approx(9**crossing)


def test_labels_may_be_any_words():
    """A sequence of names works as well as a string of letters."""
    circuit = entangled([(0, 1), (1, 2)], 3)
    plan = assert_cut_equals_uncut(circuit, ["ZXY"], labels=["left", "left", "right"])
    assert [fragment.label for fragment in plan.fragments] == ["left", "right"]


@pytest.mark.parametrize("gate", FREE_GATES, ids=lambda gate: gate.__name__)
@pytest.mark.parametrize("qubits", [(0, 1), (1, 0)])
def test_a_cut_gate_with_a_free_angle(gate, qubits):
    """The bond matrix and the local rotations left behind carry the angle, any sign of it."""
    x = Parameter("x")
    circuit = rotated(QuantumCircuit(2), 8)
    circuit.append(gate(2 * x - 0.3), qubits)
    rotated(circuit, 9)
    for value in (-2.7, 0.0, 0.4, 1.9, np.pi):
        plan = assert_cut_equals_uncut(circuit, ["ZZ", "XY", "IX"], [value], labels="AB")
    assert plan.bonds[0].gate == gate(0.0).name
    assert plan.sampling_overhead == pytest.approx(9)


@pytest.mark.parametrize("gate", FREE_GATES, ids=lambda gate: gate.__name__)
def test_the_slope_of_a_bond_is_that_of_its_matrix(gate):
    """bond.slope is the derivative of bond.matrix by the angle."""
    circuit = QuantumCircuit(2)
    circuit.append(gate(Parameter("x")), [0, 1])
    bond = compile_plan(circuit, "ZZ", labels="AB").bonds[0]
    slots, step = np.array([[0.7], [-2.0]]), 1e-6
    numeric = (bond.matrix(slots + step) - bond.matrix(slots - step)) / (2 * step)
    ((_, scale),) = bond.angles[0].terms
    np.testing.assert_allclose(scale * bond.slope(slots), numeric, atol=1e-8)
    assert np.abs(numeric).max() > 0.1


def test_one_parameter_in_several_fragments_and_cuts():
    """A parameter that is shared, scaled and multiplied over three fragments."""
    x, y = Parameter("x"), Parameter("y")
    circuit = rotated(QuantumCircuit(4), 5)
    circuit.rzz(x, 0, 1)
    circuit.ry(3 * x, 1)
    circuit.crx(x * y, 1, 2)
    circuit.ry(x + y, 2)
    circuit.cp(2 * y, 3, 2)
    rotated(circuit, 6)
    assert_cut_equals_uncut(circuit, OBSERVABLES, [0.7, -1.2], labels="AABC")


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from("ABC"), min_size=4, max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_labels_on_any_circuit(seed, labels):
    """Random circuits, random labels, contiguous or not: cut equals uncut."""
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.choice(4, 2, replace=False)) for _ in range(4)]
    circuit = entangled([tuple(map(int, p)) for p in pairs], 4, seed % 1000)
    assert_cut_equals_uncut(circuit, ["ZXYZ", "IIXI", "YIIZ"], labels=labels)


def test_cuts_and_max_width_choose_labels():
    """cuts=K cuts K gates; max_width bounds every fragment; both reconstruct."""
    circuit = entangled([(0, 1), (1, 2), (2, 3)], 4)
    plan = assert_cut_equals_uncut(circuit, OBSERVABLES, cuts=1)
    assert (plan.num_cuts, plan.widths) == (1, (2, 2))
    plan = assert_cut_equals_uncut(circuit, OBSERVABLES, max_width=1)
    assert (plan.num_cuts, plan.widths) == (3, (1, 1, 1, 1))
    plan = assert_cut_equals_uncut(circuit, OBSERVABLES, cuts=0)
    assert (plan.num_cuts, plan.widths) == (0, (4,))


# -- wires -----------------------------------------------------------------------------


def test_cut_wire_markers_split_the_circuit():
    """Without labels, a marker makes two fragments out of one qubit's two wires."""
    circuit = entangled([(0, 1)], 3)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 2)
    rotated(circuit, 7)
    plan = assert_cut_equals_uncut(circuit, ["ZZZ", "YXI", "IZZ", "XII"])
    assert plan.num_cuts == 1
    assert sorted(plan.widths) == [2, 2]
    assert plan.num_variants == 6 + 6
    assert plan.sampling_overhead == pytest.approx(9)
    assert [bond.gate for bond in plan.bonds] == ["cut_wire"]
    by_paulis = assert_cut_equals_uncut(circuit, ["ZZZ", "XII"], wires="separate")
    assert by_paulis.num_variants == 4 + 6
    assert by_paulis.sampling_overhead == pytest.approx(16)


def test_a_marker_inside_one_label_joins_a_fragment_to_itself():
    """With labels, both wires of a marked qubit stay in its label's fragment."""
    circuit = entangled([(0, 1)], 2)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 0)
    rotated(circuit, 7)
    plan = assert_cut_equals_uncut(circuit, ["ZZ", "YX", "XI"], labels="AA")
    assert plan.widths == (2,)
    assert plan.num_variants == 4 * 6
    assert [end[0] for end in plan.bonds[0].ends] == [0, 0]
    plan = assert_cut_equals_uncut(circuit, ["ZZ", "YX", "XI"], labels="AB")
    assert plan.num_cuts == 3


def test_several_markers_on_one_qubit():
    """A wire between two markers is a fragment of its own."""
    circuit = rotated(QuantumCircuit(1), 1)
    for seed in (2, 3):
        circuit.append(CutWire(), [0])
        rotated(circuit, seed)
    plan = assert_cut_equals_uncut(circuit, ["X", "Y", "Z"])
    assert plan.widths == (1, 1, 1)
    assert plan.num_variants == 6 + 6 * 6 + 6
    by_paulis = assert_cut_equals_uncut(circuit, ["X", "Y", "Z"], wires="separate")
    assert by_paulis.num_variants == 4 + 6 * 4 + 6


@pytest.mark.parametrize(("source", "destination"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("labels", ["AAB", "ABA", "ABC", "AAA", None])
@pytest.mark.parametrize("observables", [["ZZZ", "XIY", "YXI"], ["IZI"], ["ZII"], ["IZI", "ZII"]])
def test_a_move_up_or_down_within_or_across_labels(source, destination, labels, observables):
    """A Move gives the destination the source's state and leaves the source fresh."""
    circuit = QuantumCircuit(3)
    circuit.ry(0.8, 0)
    circuit.cx(0, source)
    circuit.u(0.7, 0.2, -0.9, source)
    circuit.append(Move(), [source, destination])
    circuit.u(1.1, -0.4, 0.3, destination)
    circuit.cx(0, destination)
    plan = assert_cut_equals_uncut(circuit, observables, labels=labels)
    crosses = labels is not None and labels[source] != labels[destination]
    assert ("move" in [bond.gate for bond in plan.bonds]) == crosses


def test_a_qubit_goes_on_afresh_after_its_move():
    """Gates on the source of a Move act on |0>, and a later Move may return."""
    circuit = QuantumCircuit(2)
    circuit.ry(0.8, 0)
    circuit.append(Move(), [0, 1])
    circuit.rx(0.5, 0)
    circuit.cx(1, 0)
    circuit.rx(0.6, 1)
    for labels in ("AB", "AA"):
        assert_cut_equals_uncut(circuit, ["ZI", "IZ", "YY", "ZX"], labels=labels)
    circuit.reset(0)
    circuit.append(Move(), [1, 0])
    circuit.ry(0.3, 0)
    for labels in ("AB", "AA"):
        for observables in (["IZ"], ["IX", "ZI", "ZZ"]):
            assert_cut_equals_uncut(circuit, observables, labels=labels)


@pytest.mark.parametrize("observables", [["ZZ"], ["IX"], ["ZI"]])
def test_a_reset_discards_what_it_was(observables):
    """After a reset the qubit is |0>, and what it was entangled with stays mixed."""
    circuit = entangled([(0, 1)], 2)
    circuit.reset(1)
    for labels in (None, "AB"):
        assert_cut_equals_uncut(circuit, observables, labels=labels)
    circuit.rx(0.3, 1)
    circuit.cx(0, 1)
    rotated(circuit, 9)
    for labels in (None, "AB"):
        assert_cut_equals_uncut(circuit, observables, labels=labels)


def test_idle_qubits_are_in_the_ground_state():
    """Idle qubits count in fragments, observed or not, beside labels, markers or no cut."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.4, 1)
    circuit.cx(1, 2)
    observables = ["ZZZZ", "ZIIZ", "IXIX", "IZII"]
    for how in ({"labels": "ABCD"}, {"labels": "AABB"}, {"labels": "ABBA"}, {}, {"cuts": 1}):
        assert_cut_equals_uncut(circuit, observables, **how)
    marked = circuit.copy()
    marked.append(CutWire(), [2])
    marked.ry(0.2, 2)
    for asked in (observables, ["IZII"], ["ZIII"]):
        assert_cut_equals_uncut(marked, asked)
