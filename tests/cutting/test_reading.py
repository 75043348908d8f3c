"""Reading circuits into programs, and what is no circuit."""

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
    PauliGate,
    RYGate,
    UnitaryGate,
    XXPlusYYGate,
    efficient_su2,
    zz_feature_map,
)
from qiskit.quantum_info import (
    random_unitary,
)
from qiskit_addon_cutting.instructions import CutWire
from support.circuits import entangled, rotated
from support.exact import assert_cut_equals_uncut, reconstructed, uncut

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.errors import CutError, ObservableError, ParameterValueError, UserError

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
    assert [step.qubits for step in program.steps if len(step.qubits) > 2] == [(0, 3, 1)]
    assert {len(step.qubits) for step in program.opened.steps} == {1, 2}
    names = {step.name for step in program.opened.steps}
    assert not {"barrier", "id", "inner", "ccx"} & names
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


# -- bad input -------------------------------------------------------------------------


def with_while_loop() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    with circuit.while_loop((circuit.clbits[0], 1)):
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


@pytest.mark.parametrize(
    ("circuit", "observables", "how", "kind", "message"),
    [
        (RING, "ZZZZ", {"labels": "AAB"}, CutError, "'AAB' name 3 qubits, expected 4"),
        (RING, "ZZZZ", {"labels": "AABBC"}, CutError, "'AABBC' name 5 qubits, expected 4"),
        (RING, "ZZZZ", {"cuts": 5}, CutError, "cuts is 5, .* takes 4, expected at most 4"),
        (RING, "ZZZZ", {"cuts": 1}, CutError, "cuts is 1, .*expected one of 2, 3, 4"),
        (RING, "ZZZZ", {"cuts": -1}, CutError, "cuts is -1, expected a whole number from 0"),
        (RING, "ZZZZ", {"cuts": 1.5}, CutError, "cuts is 1.5, expected a whole number"),
        (RING, "ZZZZ", {"cuts": True}, CutError, "cuts is True, expected a whole number"),
        (RING, "ZZZZ", {"max_width": True}, CutError, "max_width is True, expected a whole"),
        (RING, "ZZZZ", {"max_width": 0}, CutError, "max_width is 0, expected .* from 1"),
        (RING, "ZZZZ", {"cuts": 2, "labels": "AABB"}, CutError, "given together, .*at most one"),
        (with_marker(), "ZZ", {"cuts": 1}, CutError, "markers .*leave both out"),
        (with_gate(Gate("foo", 2, [])), "ZZ", {}, CutError, "'foo' .*no definition, expected"),
        (with_while_loop(), "ZZ", {}, CutError, "'while_loop' .*expected if, switch and loops"),
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
    circuit = entangled([(0, 1 + k % 2) for k in range(cuts)], 3)  # no two in a row on one pair
    assert compile_plan(circuit, "ZZZ", labels="ABB").num_cuts == cuts  # to look at it is free
    with pytest.raises(CutError, match=refusal):
        CutEstimator(labels="ABB", mode=mode).run([(circuit, "ZZZ")])
