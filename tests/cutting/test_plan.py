"""Reading circuits and compiling plans: structure, exactness, fingerprints, messages."""

import string
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    Gate,
    Instruction,
    Parameter,
    ParameterVector,
    QuantumCircuit,
)
from qiskit.circuit.library import (
    CCXGate,
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CU1Gate,
    PauliGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZXGate,
    RZZGate,
    UnitaryGate,
    XXPlusYYGate,
    efficient_su2,
    zz_feature_map,
)
from qiskit.quantum_info import (
    Pauli,
    PauliList,
    SparsePauliOp,
    random_unitary,
)
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import entangled, rotated, small_circuit
from support.exact import assert_cut_equals_uncut, exact_tensors, reconstructed, uncut
from support.fresh_process import in_fresh_process

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import CutError, ObservableError, ParameterValueError, UserError

SIGNED = np.diag([1.0, -1.0])

#: Gates with one free angle that can be cut, and their two qubits' roles differ for some.
FREE_GATES = [RXXGate, RYYGate, RZZGate, RZXGate, CRXGate, CRYGate, CRZGate, CPhaseGate, CU1Gate]


# -- reading ---------------------------------------------------------------------------


def test_composite_gates_are_opened_to_one_and_two_qubit_gates():
    """A Toffoli inside a composite gate is opened twice, on the right qubits."""
    inner = QuantumCircuit(3, name="inner")
    inner.append(CCXGate(), [2, 0, 1])
    outer = rotated(QuantumCircuit(4), 1)
    outer.append(inner.to_gate(), [3, 1, 0])
    outer.barrier()
    outer.id(2)
    program, _ = read_circuit(outer)
    assert {len(step.qubits) for step in program.steps} == {1, 2}
    assert not {"barrier", "id", "inner", "ccx"} & {step.name for step in program.steps}
    assert_cut_equals_uncut(rotated(outer, 2), ["ZZZZ", "XIYI", "IXIZ"])


def test_opening_keeps_parameters():
    """A composite gate with free parameters gives a slot for every occurrence."""
    a, b = Parameter("a"), Parameter("b")
    inner = QuantumCircuit(2)
    inner.rx(2 * a, 0)
    inner.rzz(a + b, 0, 1)
    outer = QuantumCircuit(2)
    outer.append(inner.to_gate(), [1, 0])
    program, binding = read_circuit(outer)
    assert program.num_slots == 2
    assert [step.qubits for step in program.steps] == [(1,), (1, 0)]
    np.testing.assert_allclose(binding.slots(np.array([[0.3, 0.5]])), [[0.6, 0.8]])


def test_library_circuits_read_as_they_are():
    """A feature map and an ansatz of the library, composed, cut to rounding error."""
    circuit = zz_feature_map(3, reps=2).compose(efficient_su2(3, reps=1))
    values = np.random.default_rng(3).uniform(-2, 2, circuit.num_parameters)
    assert_cut_equals_uncut(circuit, ["ZZZ", "XYI"], values)


def test_the_global_phase_is_dropped():
    """A free global phase leaves a parameter that no slot depends on."""
    phase, angle = Parameter("phase"), Parameter("angle")
    circuit = QuantumCircuit(1, global_phase=phase)
    circuit.rx(angle, 0)
    _, binding = read_circuit(circuit)
    assert binding.names == ("angle", "phase")
    np.testing.assert_allclose(binding.slots(np.array([[0.3, 9.0]])), [[0.3]])


@pytest.mark.parametrize(
    "gate",
    [PauliGate("XY"), UnitaryGate(random_unitary(4, seed=1)), XXPlusYYGate(0.3, 0.4)],
    ids=lambda gate: gate.name,
)
def test_gates_of_two_qubits_with_unusual_parameters(gate):
    """A gate whose parameters are no numbers is read as well as one with a matrix."""
    circuit = rotated(QuantumCircuit(2), 4)
    circuit.append(gate, [1, 0])
    assert_cut_equals_uncut(rotated(circuit, 5), ["ZX", "YI"])


def test_annotated_gates_are_read_or_refused():
    """A gate under a modifier either gives the right values or one line why it cannot."""
    circuit = rotated(QuantumCircuit(2), 4)
    circuit.append(AnnotatedOperation(RYGate(0.7), ControlModifier(1)), [0, 1])
    try:
        plan = compile_plan(circuit, "ZZ")
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    np.testing.assert_allclose(reconstructed(plan), uncut(circuit.decompose(), ["ZZ"]), atol=1e-9)


def curved_circuit() -> QuantumCircuit:
    """Linear, shared, scaled, shifted and nonlinear angles, with awkward names."""
    x = ParameterVector("x", 3)
    lam, e = Parameter("lambda"), Parameter("E")
    circuit = QuantumCircuit(2)
    expressions = [
        *(x[0] + 0, 2 * x[0] - 1.5, x[0] + x[1] / 3, -lam, x[2] - x[2] + lam),
        *(2 * (np.pi - x[0]) * (np.pi - x[1]), x[2] ** 2 + lam, lam.sin() * x[1]),
        *((x[0] + 0.1).arctan(), e.exp() / (2 + x[1].cos()), (x[0] * e).tan()),
    ]
    for k, expression in enumerate(expressions):
        circuit.rz(expression, k % 2)
    return circuit


VALUES = st.lists(st.floats(-1.0, 1.0, allow_nan=False), min_size=5, max_size=5)


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_slots_are_the_angles_that_qiskit_would_bind(values):
    """Every slot equals the gate's angle after assign_parameters."""
    circuit = curved_circuit()
    _, binding = read_circuit(circuit)
    bound = circuit.assign_parameters(dict(zip(circuit.parameters, values, strict=True)))
    expected = [float(instruction.operation.params[0]) for instruction in bound.data]
    np.testing.assert_allclose(binding.slots(np.array([values]))[0], expected, atol=1e-9)


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_the_jacobian_is_the_slope_of_the_slots(values):
    """d slots / d parameters equals central finite differences, row by row."""
    _, binding = read_circuit(curved_circuit())
    rows = np.array([values, values[::-1]])
    step = 1e-5
    numeric = np.empty((2, 11, 5))
    for k in range(5):
        shift = step * np.eye(5)[k]
        numeric[:, :, k] = (binding.slots(rows + shift) - binding.slots(rows - shift)) / (2 * step)
    np.testing.assert_allclose(binding.jacobian(rows), numeric, atol=1e-6)


def test_the_product_of_a_feature_map_is_bound():
    """ZZFeatureMap's 2 (pi - x0) (pi - x1) comes out, for a batch."""
    circuit = zz_feature_map(2, reps=1)
    _, binding = read_circuit(circuit)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    expected = 2 * (np.pi - x[:, 0]) * (np.pi - x[:, 1])
    columns = binding.slots(x).T
    assert any(np.allclose(column, expected) for column in columns)


def test_an_angle_that_is_an_absolute_value():
    """abs(x) is among the functions that Qiskit's parameters know."""
    x = Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.rx(abs(x), 0)
    _, binding = read_circuit(circuit)
    rows = np.array([[0.4], [-0.7]])
    np.testing.assert_allclose(binding.slots(rows), [[0.4], [0.7]])
    np.testing.assert_allclose(binding.jacobian(rows)[:, 0, 0], [1, -1])


def test_programs_are_equal_whatever_parameters_are_called_or_how_angles_are_computed():
    """One plan serves circuits that differ in names and expressions only."""

    def build(first, second):
        circuit = QuantumCircuit(2)
        circuit.rx(first, 0)
        circuit.rzz(second, 0, 1)
        return read_circuit(circuit)[0]

    a, b = Parameter("a"), Parameter("zz")
    one = build(a, b)
    assert one.key == build(b, a).key
    assert one.key == build(2 * a + 1, a * b).key
    assert one.key != build(0.5, b).key
    assert build(0.5, b).key != build(0.25, b).key
    other = QuantumCircuit(2)
    other.rx(a, 0)
    other.rzz(b, 1, 0)
    assert one.key != read_circuit(other)[0].key


def test_programs_tell_matrices_apart():
    """Two unitaries of the same name and size are two structures."""
    keys = []
    for seed in (1, 2, 1):
        circuit = QuantumCircuit(2)
        circuit.unitary(random_unitary(4, seed=seed), [0, 1])
        keys.append(read_circuit(circuit)[0].key)
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\), expected \(batch, 2\).*a, b"),
        (np.zeros(2), r"shape \(2,\), expected \(batch, 2\)"),
        ([[0.0, 1.0], [0.0, np.nan]], r"parameter 'b' is nan in row 1, expected a finite"),
        ([[np.inf, 1.0]], r"parameter 'a' is inf in row 0"),
    ],
)
def test_unusable_parameter_values_are_refused(values, message):
    """Shape and finiteness are checked, naming the parameter and the row."""
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    circuit.rx(Parameter("b"), 0)
    _, binding = read_circuit(circuit)
    with pytest.raises(ParameterValueError, match=message) as error:
        binding.slots(np.asarray(values))
    assert "\n" not in str(error.value)


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
    """bond.slope is the derivative of bond.matrix by the slot."""
    circuit = QuantumCircuit(2)
    circuit.append(gate(Parameter("x")), [0, 1])
    bond = compile_plan(circuit, "ZZ", labels="AB").bonds[0]
    slots, step = np.array([[0.7], [-2.0]]), 1e-6
    numeric = (bond.matrix(slots + step) - bond.matrix(slots - step)) / (2 * step)
    np.testing.assert_allclose(bond.slope(slots), numeric, atol=1e-8)
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
    assert plan.num_variants == 4 + 6
    assert plan.sampling_overhead == pytest.approx(16)
    assert [bond.gate for bond in plan.bonds] == ["cut_wire"]


def test_a_marker_inside_one_label_joins_a_fragment_to_itself():
    """With labels, both wires of a marked qubit stay in its label's fragment."""
    circuit = entangled([(0, 1)], 2)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 0)
    rotated(circuit, 7)
    plan = assert_cut_equals_uncut(circuit, ["ZZ", "YX", "XI"], labels="AA")
    assert plan.widths == (3,)
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
    assert plan.num_variants == 4 + 6 * 4 + 6


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


# -- observables -----------------------------------------------------------------------


def test_sub_observables_are_little_endian():
    """The last letter of a term is qubit 0's, and the last of a sub-observable is wire 0's."""
    circuit = entangled([(0, 1), (1, 2), (2, 3)], 4)
    plan = compile_plan(circuit, ["XYZI", "IIIX"], labels="BAAB")
    subs = {
        fragment.label: [
            fragment.observables[int(k)].to_label() for k in plan.term_index[:, fragment.index]
        ]
        for fragment in plan.fragments
    }
    assert subs == {"B": ["XI", "IX"], "A": ["YZ", "II"]}


def test_terms_are_distinct_and_without_phases():
    """Signs and coefficients are the user's affair; the plan yields bare Pauli strings."""
    circuit = QuantumCircuit(2)
    sums = [SparsePauliOp(["ZZ", "XI"], [0.5, -2.0]), "ZZ", Pauli("-XI"), Pauli("-YY")]
    assert compile_plan(circuit, sums).terms.to_labels() == ["ZZ", "XI", "YY"]
    assert compile_plan(circuit, PauliList(["-ZZ", "ZI"])).terms.to_labels() == ["ZZ", "ZI"]
    assert compile_plan(circuit, "XY").terms.to_labels() == ["XY"]


@given(st.lists(st.text("IXYZ", min_size=4, max_size=4), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_groups_of_sub_observables_partition_them_and_commute_qubit_wise(labels):
    """Each sub-observable is in one group; terms are rebuilt from sub-observables."""
    plan = compile_plan(QuantumCircuit(4), labels, labels="ABBA")
    for fragment in plan.fragments:
        members = sorted(k for group in fragment.groups for k in group)
        assert members == list(range(len(fragment.observables)))
        texts = fragment.observables.to_labels()
        assert len(set(texts)) == len(texts)
        for group in fragment.groups:
            for column in zip(*(texts[k] for k in group), strict=True):
                assert len(set(column) - {"I"}) <= 1
    for number, term in enumerate(plan.terms.to_labels()):
        letters = {}
        for fragment in plan.fragments:
            sub = fragment.observables[int(plan.term_index[number, fragment.index])].to_label()
            letters.update(zip(fragment.qubits, sub[::-1], strict=True))
        assert term == "".join(letters[q] for q in reversed(range(4)))


# -- variants and templates ------------------------------------------------------------


@pytest.mark.parametrize("sites", [0, 1, 2, 3])
def test_phase_variants_share_a_template_and_signed_measurements_have_another(sites):
    """k sites of CX: 5^k variants in 2^k templates of 4^(unmeasured) variants."""
    circuit = entangled([(0, k + 1) for k in range(sites)], sites + 1)
    labels = "A" + string.ascii_uppercase[1 : sites + 1]
    plan = compile_plan(circuit, "Z" * (sites + 1), labels=labels)
    hub = plan.fragments[0]
    assert hub.num_variants == 5**sites
    assert len(hub.templates) == 2**sites
    sizes = sorted(len(template.variants) for template in hub.templates)
    assert sizes == sorted(4 ** (sites - bin(k).count("1")) for k in range(2**sites))
    covered = np.sort(np.concatenate([template.variants for template in hub.templates]))
    np.testing.assert_array_equal(covered, np.arange(5**sites))
    for template in hub.templates:
        flat = np.array(np.unravel_index(template.variants, hub.site_shape)).T if sites else None
        if sites:
            np.testing.assert_array_equal(template.choices, flat)
        for choice in template.choices:
            flags = [hub.sites[s].operations[k].measured for s, k in enumerate(choice)]
            assert tuple(flags) == template.measured


def test_templates_and_trivial_entries_cover_every_entry():
    """What has no template is exactly 1, by the exact evaluation too."""
    circuit = entangled([(0, 1), (1, 2)], 3)
    plan = compile_plan(circuit, ["IIZ", "ZII", "IXI", "IIX"], labels="ABC")
    for fragment, tensor in zip(plan.fragments, exact_tensors(plan, np.zeros((1, 0))), strict=True):
        seen = fragment.trivial.reshape(len(fragment.observables), -1).astype(int)
        for template in fragment.templates:
            for member in fragment.groups[template.group]:
                seen[member, template.variants] += 1
        assert seen.min() == 1
        np.testing.assert_allclose(tensor.values[0][fragment.trivial], 1, atol=1e-12)


def test_identity_fragments_run_signed_measurements_only():
    """A fragment nobody observes needs no circuit for its unitary variants."""
    circuit = entangled([(0, 1)], 2)
    plan = compile_plan(circuit, "IZ", labels="AB")
    observed, silent = plan.fragments
    assert observed.num_subexperiments == 5
    assert silent.num_subexperiments == 1
    assert [template.measured for template in silent.templates] == [(True,)]


# -- what a plan says of itself --------------------------------------------------------


def test_a_plan_reads_well():
    """repr names qubits, labels, cuts, widths, variants, terms and the overhead."""
    plan = compile_plan(entangled([(0, 1), (1, 2), (2, 3)], 4), ["ZZZZ", "IIIX"], labels="AABC")
    text = repr(plan)
    assert text == (
        "CutPlan(4 qubits, labels AABC, 2 cuts, 3 fragments of widths (2, 1, 1), 35 variants, "
        "2 terms, sampling overhead 81)"
    )
    assert repr(plan.fragments[0]) == (
        "Fragment(A: 2 wires, 1 sites, 5 variants, 2 sub-observables)"
    )
    assert plan.num_variants == sum(prod(f.site_shape) for f in plan.fragments)


def fingerprints() -> list[str]:
    plan = compile_plan(small_circuit(), ["ZZZ", "XIY"], labels="AAB")
    return [plan.fingerprint, *(fragment.fingerprint for fragment in plan.fragments)]


def test_fingerprints_are_the_same_in_every_process():
    """A fresh interpreter with another hash seed computes the same fingerprints."""
    assert in_fresh_process(fingerprints) == fingerprints()


def test_fingerprints_do_not_depend_on_parameter_names():
    circuit = small_circuit()
    renamed = circuit.assign_parameters([Parameter("z"), Parameter("y")])
    one, two = (compile_plan(c, "ZZZ", labels="AAB") for c in (circuit, renamed))
    assert one.fingerprint == two.fingerprint


def variations() -> dict[str, CutPlan]:
    """Plans that give different tensors, terms or sums of them for the same slots."""

    def plan(terms=("ZZ", "XI"), labels="AB", angle=0.3, gate="cx", pairs=((0, 1),)):
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("x"), 0)
        circuit.rx(Parameter("y"), 1)
        for pair in pairs:
            getattr(circuit, gate)(*pair)
        circuit.ry(angle, 0)
        circuit.ry(angle, 1)
        return compile_plan(circuit, list(terms), labels=labels)

    return {
        "base": plan(),
        "uncut": plan(labels="AA"),
        "observable": plan(("ZZ", "IX")),
        "order of terms": plan(("XI", "ZZ")),
        "angle": plan(angle=0.31),
        "gate": plan(gate="cy"),
        "direction": plan(pairs=((1, 0),)),
        "twice": plan(pairs=((0, 1),) * 2),
    }


def test_fingerprints_tell_different_plans_apart():
    """Gate, angle, direction, cut, observable and order of terms all count."""
    prints = {name: plan.fingerprint for name, plan in variations().items()}
    same = {n for n, p in prints.items() if list(prints.values()).count(p) > 1}
    assert same == set()


def test_fingerprints_tell_apart_which_slot_an_angle_reads():
    """Two numberings of the qubits have the same fragments, but not for the same slots."""
    plans = []
    for (a, b, c, d), labels in (((0, 1, 2, 3), "AABB"), ((0, 2, 1, 3), "ABAB")):
        circuit = QuantumCircuit(4)
        for qubit in range(4):
            circuit.rx(Parameter(f"x{qubit}"), qubit)
        circuit.cx(a, b)
        circuit.cx(c, d)
        circuit.cz(a, c)
        plans.append(compile_plan(circuit, "ZZZZ", labels=labels))
    values = [[0.1, 0.7, 1.3, 2.9]]
    one, two = (exact_tensors(plan, np.array(values))[0].values for plan in plans)
    assert np.abs(one - two).max() > 0.1
    assert plans[0].fingerprint != plans[1].fingerprint


# -- bad input -------------------------------------------------------------------------


def with_measurement() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    return circuit


def with_control_flow() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


def with_gate(gate: Instruction) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(gate, [0, 1])
    return circuit


def with_marker() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(CutWire(), [0])
    circuit.cx(0, 1)
    return circuit


RING = entangled([(0, 1), (1, 2), (2, 3), (3, 0)], 4)
FREE = with_gate(XXPlusYYGate(Parameter("a"), 0.2))


@pytest.mark.parametrize(
    ("circuit", "observables", "how", "kind", "message"),
    [
        (RING, "ZZZZ", {"labels": "AAB"}, CutError, "'AAB' name 3 qubits, expected 4"),
        (RING, "ZZZZ", {"labels": "AABBC"}, CutError, "'AABBC' name 5 qubits, expected 4"),
        (RING, "ZZZZ", {"cuts": 5}, CutError, "cuts is 5, .* only 4 .*expected at most 4"),
        (RING, "ZZZZ", {"cuts": 1}, CutError, "cuts is 1, .*expected one of 2, 3, 4"),
        (RING, "ZZZZ", {"cuts": -1}, CutError, "cuts is -1, expected a whole number from 0"),
        (RING, "ZZZZ", {"cuts": 1.5}, CutError, "cuts is 1.5, expected a whole number"),
        (RING, "ZZZZ", {"max_width": 0}, CutError, "max_width is 0, expected .* from 1"),
        (RING, "ZZZZ", {"cuts": 2, "labels": "AABB"}, CutError, "given together, .*at most one"),
        (with_marker(), "ZZ", {"cuts": 1}, CutError, "markers .*leave both out"),
        (FREE, "ZZ", {"labels": "AB"}, CutError, "'xx_plus_yy' .*free parameter .*bind it"),
        (with_gate(Gate("foo", 2, [])), "ZZ", {}, CutError, "'foo' .*no definition, expected"),
        (with_measurement(), "ZZ", {}, CutError, "'measure' .*expected gates only; remove"),
        (with_control_flow(), "ZZ", {}, CutError, "'if_else' .*expected gates only"),
        (RING, "ZZZ", {}, ObservableError, "'ZZZ' acts on 3 qubits, expected 4"),
        (RING, ["ZZZZ", "ZZZZZ"], {}, ObservableError, "'ZZZZZ' acts on 5 qubits, expected 4"),
        (RING, "ZQZZ", {}, ObservableError, "'ZQZZ' is not a Pauli string .*write for example"),
        (RING, ["ZZZZ", 3], {}, ObservableError, "3 is not a Pauli string"),
        (RING, [], {}, ObservableError, "empty, expected at least one"),
    ],
)
def test_bad_input_gets_one_line(circuit, observables, how, kind, message):
    """Every mistake is a UserError of one line: what was found, expected, and what to do."""
    with pytest.raises(kind, match=message) as error:
        compile_plan(circuit, observables, **how)
    assert isinstance(error.value, UserError)
    assert error.value.faults == (str(error.value),)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mode", "cuts", "refusal"),
    [
        ("counts", 10, r"10 cuts .* 1.95e\+07 variants, expected at most 1e\+06; .* num_samples"),
        ("sampled", 9, r"9 cuts .* 3.91e\+06 variants, expected at most 1e\+06; .* num_samples"),
        ("exact", 10, r"10 cuts .* 2.1e\+06 branch pairs, expected at most 1e\+06"),
    ],
)
def test_a_plan_that_would_never_end_is_refused(mode, cuts, refusal):
    """Ten cut gates on one qubit are 5^10 variants of it: refused with the numbers."""
    circuit = entangled([(0, 1)] * cuts, 2)
    assert compile_plan(circuit, "ZZ", labels="AB").num_cuts == cuts  # to look at it is free
    with pytest.raises(CutError, match=refusal):
        CutEstimator(labels="AB", mode=mode).run([(circuit, "ZZ")])
