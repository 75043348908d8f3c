"""Angles of gates that are bound late, in library gates, annotated ones and product formulas."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    Gate,
    InverseModifier,
    Parameter,
    PowerModifier,
)
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    GlobalPhaseGate,
    HamiltonianGate,
    PauliEvolutionGate,
    PauliGate,
    PermutationGate,
    RXGate,
    RZGate,
    SGate,
    UnitaryGate,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import (
    Pauli,
    SparsePauliOp,
    Statevector,
    random_clifford,
    random_hermitian,
)
from support.instructions import X, expected, turned, value

from pilotcut import CutEstimator, compile_plan
from pilotcut.backends.aer_parameters import BINDABLE, aer_binds_all
from pilotcut.backends.qpu_target import device_of
from pilotcut.circuits import program
from pilotcut.circuits.program import read_circuit
from pilotcut.errors import CutError
from pilotcut.fleet.engines import CountedCircuits
from pilotcut.fleet.shifts import Shifts
from pilotcut.fleet.transpile import compile_on
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.training.model import Model

# -- angles that are bound late --------------------------------------------------------


@pytest.mark.parametrize(
    "gate", [CPhaseGate(X), CPhaseGate(X, ctrl_state=0), CRXGate(X, ctrl_state=0)]
)
def test_aer_binds_no_angle_that_it_loses(gate):
    circuit = QuantumCircuit(2)
    circuit.append(gate, [0, 1])
    assert not aer_binds_all(circuit)
    assert aer_binds_all(circuit.assign_parameters([0.3]))


def test_what_aer_is_given_to_bind_it_binds():
    """Each gate of the list at two rows, on Aer as it is installed."""
    from qiskit.circuit.library import get_standard_gate_name_mapping
    from qiskit_aer import AerSimulator

    aer, known = AerSimulator(method="statevector"), get_standard_gate_name_mapping()
    for name in sorted(BINDABLE):
        kind = known[name]
        parameters = [Parameter(f"p{k}") for k in range(len(kind.params))]
        circuit = QuantumCircuit(2)
        circuit.h([0, 1])
        circuit.t([0, 1])
        circuit.append(kind.base_class(*parameters), range(kind.num_qubits))
        rows = np.random.default_rng(1).uniform(0.3, 2, (2, len(parameters)))
        run = circuit.copy()
        run.save_statevector()
        found = aer.run(
            [run], parameter_binds=[dict(zip(parameters, rows.T.tolist(), strict=True))]
        ).result()
        assert len(found.results) == 2, name
        for one, row in zip(found.results, rows, strict=True):
            state = Statevector(circuit.assign_parameters(dict(zip(parameters, row, strict=True))))
            assert state.equiv(np.asarray(one.data.statevector)), name


@pytest.mark.parametrize("basis", [["rz", "sx", "cp"], ["rz", "sx", "cx"]])
def test_a_fleet_s_counts_keep_the_angles_of_gates_that_aer_does_not_bind(basis):
    backend = GenericBackendV2(2, basis, coupling_map=[[0, 1], [1, 0]], seed=1, noise_info=False)
    target = backend.target
    device = device_of("d", QpuDescription(like="FakeManilaV2"))
    circuit, (a, b) = QuantumCircuit(2), (Parameter("a"), Parameter("b"))
    circuit.ry(0.7, 0)
    circuit.ry(1.1, 1)
    circuit.cp(a, 0, 1)
    circuit.h([0, 1])
    circuit.rx(b, 0)
    model = Model(circuit, (a,), (b,), (SparsePauliOp("ZZ"),))
    silent = type(device)("d", target)
    counted = CountedCircuits(model, compile_on(circuit, target), silent)
    samples = np.array([[0.4], [2.3]])
    found = counted.values(np.array([0.9]), samples, 40_000, 1)
    want = [expected(circuit, "ZZ", row[0], 0.9) for row in samples]
    np.testing.assert_allclose(found, want, atol=0.03)


def test_fleets_take_gates_for_what_they_are():
    target = GenericBackendV2(3, ["rz", "sx", "cx"], seed=1).target
    for name in ("barrier", "cx", "rz", "id"):
        circuit = QuantumCircuit(2)
        circuit.append(turned(name, 2), [0, 1])
        compiled = compile_on(circuit, target)
        assert compiled.gates == 1
        place = list(compiled.final_layout)
        state = Statevector(compiled.circuit)
        zero = SparsePauliOp.from_sparse_list([("Z", [place[1]], 1)], compiled.qubits)
        assert state.expectation_value(zero).real == pytest.approx(np.cos(1))


def test_a_fleet_shifts_no_gate_that_is_only_called_rx():
    own = QuantumCircuit(1, name="rx")
    own.rx(2 * X, 0)
    circuit = QuantumCircuit(1)
    circuit.append(own.to_gate(), [0])
    with pytest.raises(Exception, match="expected as the plain angle of one gate"):
        Shifts.of(Model(circuit, (), (X,), (SparsePauliOp("Z"),)))


# -- library and annotated gates -------------------------------------------------------


def test_a_free_time_of_a_hamiltonian_is_an_angle():
    one, two = random_hermitian(2, seed=1).data, random_hermitian(4, seed=2).data
    circuit = QuantumCircuit(3)
    circuit.h([0, 2])
    circuit.append(HamiltonianGate(one, X), [1])
    circuit.append(HamiltonianGate(two, 2 * X + 1), [0, 1])
    circuit.append(HamiltonianGate(random_hermitian(8, seed=3).data, X), [2, 0, 1])
    assert value(circuit, "ZXY", 0.7) == pytest.approx(expected(circuit, "ZXY", 0.7))


def test_operations_without_definition_are_synthesised():
    circuit, plain = QuantumCircuit(3), QuantumCircuit(3)
    clifford = random_clifford(3, seed=4)
    for one in (circuit, plain):
        one.u(0.3, 0.4, 0.5, 0)
        one.ry(1.1, 2)
    circuit.append(clifford, [0, 1, 2])
    circuit.append(PermutationGate([2, 0, 1]), [0, 1, 2])
    circuit.append(AnnotatedOperation(SGate(), [InverseModifier()]), [0])
    circuit.append(AnnotatedOperation(RXGate(X), [ControlModifier(1), PowerModifier(2)]), [0, 1])
    plain.append(clifford.to_instruction(), [0, 1, 2])
    plain.append(PermutationGate([2, 0, 1]), [0, 1, 2])
    plain.sdg(0)
    plain.crx(2 * X, 0, 1)
    for observable in ("ZXI", "YYZ", "IZZ"):
        assert value(circuit, observable, 0.7) == pytest.approx(expected(plain, observable, 0.7))


@pytest.mark.parametrize("state", [0, 1])
def test_modifiers_work_on_what_a_gate_does_and_not_on_its_name(state):
    """Of an own gate "cx" Qiskit's control makes a Toffoli; phases matter under a control."""
    for name in ("cx", "x", "swap", "gphase"):
        own = QuantumCircuit(2, name=name)
        own.rx(0.4, 0)
        own.append(GlobalPhaseGate(0.9), [])
        own.cy(1, 0)
        gate = AnnotatedOperation(own.to_gate(), [ControlModifier(1, state), InverseModifier()])
        circuit = QuantumCircuit(3)
        circuit.h([0, 2])
        circuit.append(gate, [0, 1, 2])
        want = QuantumCircuit(3)
        want.h([0, 2])
        want.append(UnitaryGate(gate.to_matrix()), [0, 1, 2])
        for observable in ("XYZ", "ZIX", "IZY"):
            assert value(circuit, observable) == pytest.approx(expected(want, observable))


def test_boxes_are_opened_and_products_cut_for_nothing():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    with circuit.box():
        circuit.cx(0, 1)
    circuit.append(PauliGate("XY"), [0, 1])
    circuit.append(UnitaryGate(np.kron(RXGate(0.3), RZGate(0.4))), [0, 1])
    plan = compile_plan(circuit, "ZZ", labels="AB")
    assert plan.num_cuts == 1
    same = QuantumCircuit(2)
    same.h(0)
    same.cx(0, 1)
    same.append(PauliGate("XY"), [0, 1])
    same.append(UnitaryGate(np.kron(RXGate(0.3), RZGate(0.4))), [0, 1])
    for observable in ("ZZ", "XY", "YX"):
        assert value(circuit, observable, labels="AB") == pytest.approx(expected(same, observable))


def test_definitions_that_do_not_end_or_double_are_one_line(monkeypatch):
    class Endless(Gate):
        def __init__(self):
            super().__init__("endless", 1, [])

        def _define(self):
            self.definition = QuantumCircuit(1)
            self.definition.append(Endless(), [0])

    circuit = QuantumCircuit(1)
    circuit.append(Endless(), [0])
    with pytest.raises(CutError):
        read_circuit(circuit)
    monkeypatch.setattr(program, "MOST_STEPS", 500)
    inner = QuantumCircuit(1)
    inner.x(0)
    for _ in range(10):
        outer = QuantumCircuit(1)
        outer.append(inner.to_gate(), [0])
        outer.append(inner.to_gate(), [0])
        inner = outer
    with pytest.raises(CutError, match="more than 500 instructions when its gates are opened"):
        read_circuit(inner)


def test_a_parameter_that_the_circuit_does_not_know_is_one_line():
    class Hidden(Gate):
        def __init__(self):
            super().__init__("hidden", 1, [])

        def _define(self):
            self.definition = QuantumCircuit(1)
            self.definition.rx(Parameter("secret"), 0)

    circuit = QuantumCircuit(1)
    circuit.append(Hidden(), [0])
    with pytest.raises(CutError, match="has the parameter 'secret', which the circuit does not"):
        read_circuit(circuit)


@pytest.mark.parametrize("angle", [np.nan, np.inf, -np.inf])
def test_a_fixed_angle_that_is_not_finite_is_one_line(angle):
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    with pytest.raises(CutError, match=r"'rx' on qubits \(0,\) has the angle .*expected a finite"):
        read_circuit(circuit)


# -- product formulas ------------------------------------------------------------------


def test_an_evolution_is_its_product_formula_and_the_record_says_so():
    circuit = QuantumCircuit(2)
    circuit.rx(0.3, 0)
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZI"]), 0.7), [0, 1])
    estimator = CutEstimator(mode="exact")
    found = float(estimator.run([(circuit, "ZI")]).result()[0].data.evs)
    assert found == pytest.approx(expected(circuit.decompose(), "ZI"))
    assert abs(found - expected(circuit, "ZI")) > 0.01
    (record,) = [r for r in estimator.trace.records if r["kind"] == "compile"]
    assert "runs as its product formula (LieTrotter)" in record["notes"][0]


def test_an_evolution_whose_terms_commute_needs_no_note():
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"]), 0.7), [0, 1])
    circuit.append(PauliEvolutionGate(Pauli("XY"), 0.7), [0, 1])
    assert read_circuit(circuit)[0].notes == ()
