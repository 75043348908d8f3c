"""Mid-circuit measurements and classical control in fragments, in every mode, and on devices."""

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister
from qiskit.circuit.classical import expr
from qiskit.quantum_info import SparsePauliOp
from support.circuits import rotated
from support.dynamic import dynamic

from pilotcut import CutEstimator, CutGradient, compile_plan, reconstruct_probabilities
from pilotcut.backends import seating
from pilotcut.backends.aer import AerBackend
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.backends.seating import simulated
from pilotcut.backends.template_circuits import build
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import CutError
from pilotcut.pilots.description.qpu import QpuDescription

A = Parameter("a")


def teleportation() -> QuantumCircuit:
    """Qubit 0's state goes to qubit 2 by measurements; qubit 3, entangled with it, is cut off."""
    circuit = QuantumCircuit(4, 2)
    circuit.u(0.7, A, 0.2, 0)
    circuit.rzz(0.9, 0, 3)
    circuit.rx(0.4, 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[1], 1)):
        circuit.x(2)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.z(2)
    circuit.ry(0.3, 3)
    return circuit


def syndromes() -> QuantumCircuit:
    """Three rounds of a repetition code's syndrome with two ancillas, reset and used again."""
    code, ancilla = QuantumRegister(3), QuantumRegister(2)
    syndrome = ClassicalRegister(2)
    circuit = QuantumCircuit(code, ancilla, syndrome)
    circuit.ry(0.8, 0)
    circuit.cx(0, [1, 2])
    for _ in range(3):
        for qubit in code:
            circuit.rx(A, qubit)
        circuit.cx([0, 1], 3)
        circuit.cx([1, 2], 4)
        circuit.measure(ancilla, syndrome)
        for qubit, found in enumerate((1, 3, 2)):
            with circuit.if_test((syndrome, found)):
                circuit.x(qubit)
        circuit.reset(ancilla)
    return circuit


def nested() -> QuantumCircuit:
    """Bits written twice and under conditions, expressions, else, switch, loops, dephasing."""
    circuit = rotated(QuantumCircuit(QuantumRegister(3), ClassicalRegister(3)), 3)
    bits = circuit.clbits
    circuit.measure(0, 0)  # nothing depends on it, but the qubit goes on
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure(1, 1)
    with circuit.if_test((bits[1], 1)) as other:
        circuit.ry(A, 0)
        circuit.measure(2, 2)
        with circuit.if_test((bits[2], 0)):
            circuit.reset(0)
    with other:
        circuit.cx(1, 2)
    rotated(circuit, 4)
    circuit.measure(2, 0)
    with circuit.if_test(expr.logic_and(bits[2], expr.logic_not(bits[0]))):
        circuit.crx(A, 0, 1)
    with circuit.switch(circuit.cregs[0]) as case:
        with case(3, 5):
            circuit.h(1)
        with case(case.DEFAULT):
            circuit.sx(2)
    with circuit.for_loop([1, 2], A_LOOP):
        circuit.rz(0.2 * A_LOOP, 0)
        circuit.cx(0, 2)
    return rotated(circuit, 5)


A_LOOP = Parameter("loop")
CASES = {
    "teleportation": (teleportation(), ["IZII", "IXII", "IYII", "ZXII", "XZII"], "AAAB"),
    "syndromes": (syndromes(), ["IIZZZ", "IIXXX", "IIIIZ"], None),
    "nested": (nested(), ["ZZZ", "XIY", "IYX", "IIZ"], None),
}
VALUE = 0.6


# Conditions on three bits in "nested" make gates of more wires than a network takes.
@pytest.mark.parametrize(
    ("name", "engine"), [(name, "auto") for name in CASES] + [("teleportation", "network")]
)
def test_exact_values_are_those_of_the_whole_circuit(name, engine):
    circuit, observables, labels = CASES[name]
    expected = dynamic(circuit, observables, [VALUE])
    for how in {None, labels}:
        estimator = CutEstimator(mode="exact", labels=how, engine=engine)
        job = estimator.run([(circuit, observables, [VALUE])])
        np.testing.assert_allclose(job.result()[0].data.evs, expected, atol=1e-10)


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("name", CASES)
def test_values_with_shots_spread_as_their_errors_say(name, mode):
    circuit, observables, labels = CASES[name]
    expected = dynamic(circuit, observables, [VALUE])
    estimator = CutEstimator(mode=mode, labels=labels, shots=500, seed=2)
    found = estimator.run([(circuit, observables[:2], np.full((60, 1, 1), VALUE))]).result()[0].data
    z = (found.evs - expected[:2]) / found.stds
    assert np.abs(z).max() < 5
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / (z.size / 2))


def test_a_measurement_dephases_a_qubit_that_goes_on():
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.h(0)
    for mode in ("exact", "counts", "sampled"):
        found = CutEstimator(mode=mode, seed=1, shots=4000).run([(circuit, "Z")]).result()[0].data
        assert abs(found.evs) < (1e-12 if mode == "exact" else 0.1)
    # At the end nothing depends on it: it is dropped, as estimators measure by themselves.
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    assert CutEstimator(mode="exact").run([(circuit, "X")]).result()[0].data.evs == pytest.approx(1)


@pytest.mark.parametrize(("mode", "tolerance"), [("exact", 1e-6), ("counts", 0.06)])
@pytest.mark.parametrize("name", ["teleportation", "nested"])
def test_gradients(name, mode, tolerance):
    circuit, observables, labels = CASES[name]
    observable = observables[0]
    gradient = CutGradient(CutEstimator(mode=mode, labels=labels, seed=1, shots=20_000))
    job = gradient.run([circuit], [SparsePauliOp(observable)], [[VALUE]])
    up, down = (dynamic(circuit, [observable], [VALUE + s])[0] for s in (1e-4, -1e-4))
    np.testing.assert_allclose(job.result().gradients[0], [(up - down) / 2e-4], atol=tolerance)


def test_distributions_of_dynamic_circuits():
    circuit = nested().assign_parameters([VALUE])
    found = reconstruct_probabilities(compile_plan(circuit))
    for pauli, mask in {"IIZ": 1, "IZI": 2, "ZIZ": 5, "ZZZ": 7}.items():
        signs = (-1.0) ** np.bitwise_count(np.arange(8) & mask)
        assert found @ signs == pytest.approx(dynamic(circuit, [pauli])[0], abs=1e-10)
    drawn = reconstruct_probabilities(compile_plan(circuit), mode="counts", shots=20_000, seed=1)
    assert np.abs(drawn - found).sum() / 2 < 0.03


def test_values_stay_in_one_fragment():
    circuit = teleportation()
    with pytest.raises(CutError, match=r"'x' on qubits \(2,\) .* measurement of qubit 1"):
        compile_plan(circuit, "ZZZZ", labels="AABA")
    for width in (3, 4):
        plan = compile_plan(circuit, "ZZZZ", max_width=width)
        assert max(plan.widths) <= width
        assert len(set(plan.labels[:3])) == 1


def test_a_controlled_gate_between_labels_is_not_cut():
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(0, 1)
    with pytest.raises(CutError, match="between two labels"):
        compile_plan(circuit, "ZZ", labels="AB")


def test_loops_of_unknown_length_are_one_line():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.h(0)
        circuit.measure(0, 0)
    with pytest.raises(CutError, match="'while_loop' on qubits"):
        compile_plan(circuit, "Z")


@pytest.mark.parametrize("name", CASES)
def test_measurements_that_are_not_deferred_give_the_same(name, monkeypatch):
    """As where deferring them would take many ancillas: Aer measures and branches."""
    monkeypatch.setattr(seating, "FEW_QUBITS", 0)
    monkeypatch.setattr(seating, "SHOT_BITS", -20)
    circuit, observables, _ = CASES[name]
    plan = compile_plan(circuit.assign_parameters([VALUE]), observables[:2])
    (fragment,) = plan.fragments
    built = build(
        fragment, fragment.templates[0], simulated(fragment, fragment.templates[0], most=30)
    )
    assert "measure" in built.circuit.count_ops()
    assert built.circuit.has_control_flow_op()
    found = measured(AerBackend(), fragment, 3000)[plan.term_index[:, 0]]
    expected = dynamic(circuit, plan.terms.to_labels(), [VALUE])
    z = (found - expected) / np.sqrt((1 - expected**2) / 3000)
    assert np.abs(z).max() < 4.5


# -- devices ---------------------------------------------------------------------------


def measured(backend, fragment, shots: int) -> np.ndarray:
    tensor = FragmentTensor.empty(fragment, 1)
    whole = slice(0, fragment.num_subexperiments)
    for block in backend.run(fragment, np.zeros((1, 0)), whole, shots, 3).blocks:
        tensor.fill(fragment, slice(0, 1), block)
    return tensor.values[0]


def on_device(fragment, shots: int, **numbers) -> np.ndarray:
    about = {"infidelity_1q": 1e-6, "infidelity_2q": 1e-5, "t1_us": 1e6, "t2_us": 1e6}
    device = device_of("q", QpuDescription(**{**about, **numbers}))
    return measured(QpuBackend(DeviceCompiler(device)), fragment, shots)


@pytest.mark.parametrize("name", ["teleportation", "syndromes"])
def test_devices_run_what_is_measured_and_controlled(name):
    circuit, observables, _ = CASES[name]
    circuit = circuit.assign_parameters([VALUE])
    plan = compile_plan(circuit, observables[:2])
    found = on_device(plan.fragments[0], 1500, qubits=plan.widths[0], topology="full")
    expected = dynamic(circuit, plan.terms.to_labels())
    assert np.abs(found[plan.term_index[:, 0]] - expected).max() < 4.5 / np.sqrt(1500) + 0.01


def test_readout_errors_reach_what_a_bit_controls():
    """A bit that is read wrongly half of the time controls nothing: the qubit ends mixed."""
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    fragment = compile_plan(circuit, ["ZI"]).fragments[0]
    read_well = on_device(fragment, 4000, qubits=2)
    read_badly = on_device(fragment, 4000, qubits=2, readout_error=0.2)
    assert read_well.reshape(-1)[0] == pytest.approx(-1, abs=0.01)
    # Wrong in the bit and wrong at the end: (1 - 2 0.2)^2.
    assert read_badly.reshape(-1)[0] == pytest.approx(-0.36, abs=0.08)
