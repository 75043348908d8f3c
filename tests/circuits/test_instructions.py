"""A gate is what it does, not what it is called; keys hold what decides a value."""

import copy
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import (
    Gate,
)
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CUGate,
    CXGate,
    CZGate,
    PauliEvolutionGate,
    RXGate,
    RZZGate,
    UnitaryGate,
    XGate,
    XXMinusYYGate,
)
from qiskit.quantum_info import (
    Operator,
    SparsePauliOp,
    Statevector,
    random_unitary,
)
from qiskit_addon_cutting.instructions import CutWire, Move
from support.instructions import X, expected, turned, value

from pilotcut import compile_plan
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.circuits import instructions
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.prices import price_of
from pilotcut.errors import CutError
from pilotcut.pilots.description.qpu import QpuDescription

#: Names that mean something to Qiskit, to the addon or to Aer.
NAMES = [
    *("id", "delay", "barrier", "global_phase", "reset", "measure", "cut_wire", "move"),
    *("x", "rx", "cx", "swap", "rzz", "unitary", "cp", "qpd_measure", "initialize"),
]


class Stated(Gate):
    """A gate with a matrix, and no parameters to tell it from others of its name."""

    def __init__(self, angle):
        super().__init__("mine", 1, [])
        self.angle = angle

    def __array__(self, dtype=None, copy=None):
        return np.asarray(RXGate(self.angle), dtype=dtype)


class Defined(Gate):
    """The same with a definition."""

    def __init__(self, angle):
        super().__init__("mine", 1, [])
        self.angle = angle

    def _define(self):
        self.definition = QuantumCircuit(1)
        self.definition.rx(self.angle, 0)


# -- names -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_own_gate_does_what_its_definition_does_whatever_its_name(name):
    circuit = QuantumCircuit(2)
    circuit.append(turned(name), [0])
    assert value(circuit, "IZ") == pytest.approx(np.cos(1))  # 0.540
    circuit.append(turned(name, 2), [0, 1])
    assert value(circuit, "ZI") == pytest.approx(np.cos(2))
    assert value(circuit, "ZI", labels="AB") == pytest.approx(np.cos(2))


@pytest.mark.parametrize("mode", ["sampled", "counts"])
@pytest.mark.parametrize("name", ["id", "measure", "move", "cp"])
def test_names_mean_nothing_to_shots_either(name, mode):
    circuit = QuantumCircuit(2)
    circuit.append(turned(name, 2), [0, 1])
    assert value(circuit, "ZI", mode=mode, labels="AB") == pytest.approx(np.cos(1), abs=0.06)


def test_markers_are_markers_by_class_and_through_qpy():
    circuit = QuantumCircuit(3)
    circuit.rx(0.4, 0)
    circuit.append(CutWire(), [0])
    circuit.append(Move(), [0, 1])
    circuit.cx(1, 2)
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    again = qpy.load(io.BytesIO(buffer.getvalue()))[0]
    for one in (circuit, again):
        assert [s.name for s in read_circuit(one)[0].steps] == ["rx", "cut_wire", "move", "cx"]
        assert compile_plan(one, "ZII").num_cuts == 1
        assert value(one, "ZII") == pytest.approx(np.cos(0.4))


def test_a_subclass_of_a_standard_gate_that_is_another_gate_is_refused():
    """Qiskit's simulators run it as its parent, whatever it states."""

    class Same(RXGate):
        pass

    class Twice(RXGate):
        def __array__(self, dtype=None, copy=None):
            return np.asarray(RXGate(2 * self.params[0]), dtype=dtype)

    circuit = QuantumCircuit(1)
    circuit.append(Same(0.3), [0])
    assert value(circuit, "Z") == pytest.approx(np.cos(0.3))
    for angle in (0.3, X):
        circuit = QuantumCircuit(1)
        circuit.append(Twice(angle), [0])
        with pytest.raises(CutError, match="derives from RXGate and is another gate"):
            read_circuit(circuit)


def test_a_library_gate_that_has_changed_is_what_it_is_now():
    evolution = PauliEvolutionGate(SparsePauliOp("X"), 0.4)
    matrix = UnitaryGate(random_unitary(8, seed=2))
    assert evolution.definition is not None
    assert matrix.definition is not None
    evolution.time = 1.1
    matrix.params = [random_unitary(8, seed=3).data]
    circuit = QuantumCircuit(3)
    circuit.append(evolution, [0])
    assert value(circuit, "IIZ") == pytest.approx(np.cos(2.2))
    circuit.append(matrix, [0, 1, 2])
    assert value(circuit, "IIZ") == pytest.approx(expected(circuit, "IIZ"))


@pytest.mark.parametrize("mode", ["exact", "counts"])
def test_a_definition_that_was_looked_at_keeps_no_angle(mode):
    """The gates of programs are shared by all circuits of a process."""
    assert instructions.STANDARD[CRXGate].definition is not None
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.crx(X, 0, 1)
    circuit.cp(X, 0, 1)
    circuit.append(XXMinusYYGate(X, 0.1), [1, 0])
    found = value(circuit, "ZI", 0.7, mode=mode)
    assert found == pytest.approx(expected(circuit, "ZI", 0.7), abs=0.04)


def test_a_circuit_without_qubits_is_one_line():
    with pytest.raises(CutError, match="the circuit has no qubits"):
        compile_plan(QuantumCircuit(0))


# -- gates without parameters that differ ----------------------------------------------


@pytest.mark.parametrize("kind", [Stated, Defined])
def test_gates_of_one_name_are_told_apart_across_estimators_and_modes(kind):
    for angle in (0.2, 1.4):
        circuit = QuantumCircuit(1)
        circuit.append(kind(angle), [0])
        assert value(circuit, "Z") == pytest.approx(np.cos(angle))
        assert value(circuit, "Z", mode="counts") == pytest.approx(np.cos(angle), abs=0.04)
        assert value(circuit, "Z", mode="sampled") == pytest.approx(np.cos(angle), abs=0.04)


def test_gates_of_one_name_share_no_price():
    prices = []
    for angle in (0.3, 1.0):
        circuit = QuantumCircuit(2)
        circuit.append(UnitaryGate(RZZGate(angle).to_matrix(), label="g"), [0, 1])
        (step,) = read_circuit(circuit)[0].steps
        prices.append(price_of(step).log_overhead)
    for found, angle in zip(prices, (0.3, 1.0), strict=True):
        assert found == pytest.approx(2 * np.log(1 + 2 * np.sin(angle)))


def test_a_gate_with_a_matrix_and_another_definition_is_refused_when_it_is_opened():
    class Both(Gate):
        def __init__(self):
            super().__init__("both", 3, [])

        def __array__(self, dtype=None, copy=None):
            return np.asarray(np.kron(np.eye(4), XGate()), dtype=dtype)

        def _define(self):
            self.definition = QuantumCircuit(3)
            self.definition.y(0)

    circuit = QuantumCircuit(3)
    circuit.append(Both(), [0, 1, 2])
    with pytest.raises(CutError, match="'both' has a definition that is not its matrix"):
        read_circuit(circuit)


def test_a_matrix_that_is_not_unitary_is_refused():
    class Wrong(Gate):
        def __array__(self, dtype=None, copy=None):
            return np.asarray([[1, 0], [0, 2]], dtype=dtype)

    circuit = QuantumCircuit(1)
    circuit.append(Wrong("wrong", 1, []), [0])
    with pytest.raises(CutError, match=r"'wrong' has a matrix of shape \(2, 2\) that is not"):
        read_circuit(circuit)


# -- labels ----------------------------------------------------------------------------


def test_a_label_changes_no_program():
    plain, labelled = QuantumCircuit(2), QuantumCircuit(2)
    for circuit, label in ((plain, None), (labelled, "ent")):
        circuit.append(CZGate(label=label), [0, 1])
        circuit.append(CRXGate(0.3, label=label), [0, 1])
    assert read_circuit(plain)[0].key == read_circuit(labelled)[0].key
    assert all(step.gate.label is None for step in read_circuit(labelled)[0].steps)


@pytest.mark.parametrize("first", [None, "ent"])
def test_a_labelled_gate_meets_the_noise_of_a_device(first):
    """Whichever of the two circuits a process sees first."""
    numbers = {"t1_us": 1e9, "t2_us": 1e9, "infidelity_1q": 0.0, "infidelity_2q": 0.3}
    device = device_of("noisy", QpuDescription(qubits=2, basis_gates=["rz", "sx", "cz"], **numbers))
    found = {}
    backend = QpuBackend(DeviceCompiler(device))
    for label in (first, "ent" if first is None else None):
        circuit = QuantumCircuit(2)
        for _ in range(3):  # none of them does nothing, which a transpiler would see
            circuit.ry(0.2, [0, 1])
            circuit.append(CZGate(label=label), [0, 1])
        circuit.ry(-0.4, [0, 1])
        (fragment,) = compile_plan(circuit, ["ZZ"]).fragments
        tensor = FragmentTensor.empty(fragment, 1)
        for block in backend.run(fragment, np.zeros((1, 0)), slice(0, 1), 20_000, 1).blocks:
            tensor.fill(fragment, slice(0, 1), block)
        found[label] = float(tensor.values.ravel()[0])
    ideal = Statevector(circuit).expectation_value(SparsePauliOp("ZZ")).real
    assert found[None] == found["ent"]
    assert ideal > 0.9
    assert found[None] < 0.7 * ideal


# -- keys ------------------------------------------------------------------------------


def _one_gate(rng):
    """Return a gate and one that differs from it in one thing that decides a value."""
    kind = rng.integers(9)
    a = float(rng.uniform(0.2, 2.5))
    b = a + float(rng.choice([1e-9, 1e-3, 0.5]))
    unitary = random_unitary(2, seed=int(rng.integers(10**6)))
    if kind == 0:
        return RXGate(a), RXGate(b)
    if kind == 1:
        return Stated(a), Stated(b)
    if kind == 2:
        return Defined(a), Defined(b)
    if kind == 3:
        return UnitaryGate(unitary), UnitaryGate(unitary.conjugate())
    if kind == 4:
        return CXGate(), CXGate(ctrl_state=0)
    if kind == 5:
        return CUGate(a, 0.1, 0.2, 0.3), CUGate(a, 0.1, 0.2, 0.3 + b)
    if kind == 6:
        return CPhaseGate(a), CRXGate(a)
    if kind == 7:
        return turned("id", 2), turned("swap", 2).inverse()
    return XXMinusYYGate(a, 0.1), XXMinusYYGate(0.1, a)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_circuits_that_differ_in_one_thing_share_no_key(seed, cut):
    """Programs, fragments and plans; what is equal, and its copies, share all."""
    rng = np.random.default_rng(seed)
    pair = _one_gate(rng)
    where = rng.permutation(3)[: pair[0].num_qubits].tolist()
    keys, fingerprints = [], []
    for gate in (*pair, copy.deepcopy(pair[0])):
        circuit = QuantumCircuit(3)
        circuit.ry(0.4, [0, 1, 2])
        circuit.cx(0, 1)
        circuit.append(gate, where)
        circuit.cx(1, 2)
        keys.append(read_circuit(circuit)[0].key)
        plan = compile_plan(circuit, ["ZZZ", "XIY"], labels="AAB" if cut else None)
        plan = pickle.loads(pickle.dumps(plan))
        fingerprints.append((plan.fingerprint, {f.fingerprint for f in plan.fragments}))
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]
    assert fingerprints[0][0] != fingerprints[1][0]
    assert fingerprints[0] == fingerprints[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("qubits", (0, 1)), ("qubits", (1, 0))),
        (("observable", "ZZI"), ("observable", "ZZX")),
        (("labels", "AAB"), ("labels", "ABB")),
        (("scale", 1.0), ("scale", 2.0)),
        (("reset", False), ("reset", True)),
        (("wire", False), ("wire", True)),
    ],
)
def test_what_else_decides_a_value_is_in_a_key(one, other):
    """Of fragments where the fragment differs, of programs and bindings where the angle does."""
    found = []
    for name, setting in (one, other):
        about = {"qubits": (0, 1), "observable": "ZZI", "labels": "AAB", "scale": 1.0}
        about |= {"reset": False, "wire": False, name: setting}
        circuit = QuantumCircuit(3)
        circuit.rx(about["scale"] * X, 0)
        circuit.cx(*about["qubits"])
        if about["reset"]:
            circuit.reset(1)
        if about["wire"]:
            circuit.append(CutWire(), [1])
        circuit.cx(1, 2)
        labels = None if name == "wire" else about["labels"]
        plan = compile_plan(circuit, about["observable"], labels=labels)
        slots = plan.binding.slots(np.array([[0.3]])).tolist()
        found.append((plan.fingerprint, slots))
    assert found[0] != found[1]


def test_plain_gates_are_the_same_unitary_whatever_their_names():
    for name in NAMES:
        gate = turned(name, 2)
        plain = instructions.plain(gate)
        assert np.allclose(Operator(plain), Operator(gate))
        assert plain.name not in NAMES
