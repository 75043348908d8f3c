"""Layouts that see errors: what does not work is not used, and of several layouts the best."""

import warnings

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import CXGate, CZGate, Measure, RZGate, RZZGate, SXGate, XGate
from qiskit.providers import QubitProperties
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.transpiler import InstructionProperties, Target, generate_preset_pass_manager
from qiskit_ibm_runtime import fake_provider
from support.qpus import measured

from pilotcut import compile_plan
from pilotcut.backends.base import templates_in
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.layouts import Layouts, predicted_error
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.backends.usable import BROKEN, connected, is_noise_free, part_of, working
from pilotcut.errors import CutError, DescriptionError
from pilotcut.pilots.description.qpu import QpuDescription

FAKES = sorted(
    name
    for name, kind in vars(fake_provider).items()
    if name.startswith("Fake") and isinstance(kind, type) and "Provider" not in name
)


def line(errors, *, sx=(), both=True) -> Target:
    """Return a line of qubits with a cz of these errors; `sx` are qubits whose own do not work."""
    qubits = len(errors) + 1
    target = Target(num_qubits=qubits)
    for gate in (RZGate(Parameter("t")), SXGate(), XGate(), Measure()):
        error = 0.0 if gate.name == "rz" else 1e-3
        about = {
            (q,): InstructionProperties(error=1.0 if q in sx and gate.name == "sx" else error)
            for q in range(qubits)
        }
        target.add_instruction(gate, about)
    ends = {(k, k + 1): InstructionProperties(error=e) for k, e in enumerate(errors)}
    back = {(b, a): about for (a, b), about in ends.items()} if both else {}
    target.add_instruction(CZGate(), ends | back)
    return target


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.h(1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def used(circuit: QuantumCircuit) -> set[int]:
    return {circuit.find_bit(q).index for step in circuit.data for q in step.qubits}


def places(circuit: QuantumCircuit):
    for step in circuit.data:
        if step.operation.name != "barrier":
            yield step.operation.name, tuple(circuit.find_bit(q).index for q in step.qubits)


# What works.


def test_a_target_of_which_all_works_is_left_as_it_is():
    target = line([0.1, 0.98])
    assert working(target) is target


def test_gates_and_qubits_that_do_not_work_are_left_out_and_numbers_stay():
    target = working(line([1.0, 0.1, 0.1, 0.1], sx=[3]))
    assert target.num_qubits == 5
    assert {*target["cz"]} == {(1, 2), (2, 1)}
    assert {*target["sx"]} == {*target["measure"]} == {(0,), (1,), (2,), (4,)}
    assert connected(target) == [(1, 2), (0,), (4,)]


@pytest.mark.parametrize("target", [line([1.0, 1.0]), line([0.1, 0.1], sx=[1])], ids=str)
def test_a_device_without_a_gate_on_two_qubits_that_works_is_refused(target):
    with pytest.raises(LookupError, match="of its 4 none does"):
        working(target)


def test_such_a_device_is_refused_by_name():
    with pytest.raises(DescriptionError) as caught:
        device_of("k", QpuDescription(like="FakeKyoto"))
    (fault,) = caught.value.faults
    assert fault.startswith("pilot 'k': backend.qpu is FakeKyoto, expected one with a gate on two")


def test_a_fragment_wider_than_what_is_connected_is_told_so():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    fragment = compile_plan(circuit, ["XXX"]).fragments[0]
    device = device_of("q", QpuDescription(like=f"{__name__}:HALVED"))
    with pytest.raises(CutError) as caught:
        DeviceCompiler(device).template(fragment, next(templates_in(fragment, slice(0, 1)))[0])
    assert "needs 3 qubits, more than the 2 that work and are connected of 'q'; cut it" in str(
        caught.value
    )
    assert str(caught.value).endswith("max_width=2")


HALVED = GenericBackendV2(4, coupling_map=[[0, 1], [1, 2], [2, 3]], seed=1)
HALVED.target["cx"][1, 2].error = 1.0


def test_gates_that_take_some_angles_only_are_not_used():
    backend = fake_provider.FakeFractionalBackend()
    assert "rzz" in backend.target.operation_names
    assert "rzz" not in part_of(backend.target, (0, 1, 2)).operation_names
    assert "rzz" not in part_of(backend.target, tuple(range(5))).operation_names


def test_they_stay_unused_where_something_else_is_left_out():
    target = line([0.1, 1.0])
    target.add_instruction(
        RZZGate(Parameter("t")), {(0, 1): InstructionProperties(error=1e-3)}, angle_bounds=[(0, 1)]
    )
    assert "rzz" not in working(target).operation_names


def test_a_target_without_errors_is_noise_free():
    assert is_noise_free(GenericBackendV2(3, noise_info=False).target)
    assert not is_noise_free(GenericBackendV2(3).target)
    relaxing = Target(num_qubits=1, qubit_properties=[QubitProperties(t1=1e-4)])
    assert not is_noise_free(relaxing)


# Layouts.


def test_the_coupling_that_errs_least_is_taken():
    target = line([0.3, 0.2, 0.01, 0.2])
    assert used(Layouts(target).best(bell())) == {2, 3}


def test_a_circuit_means_the_same_on_its_part_of_the_device():
    target = working(line([0.01, 1.0, 0.05, 0.04, 0.03, 0.2, 0.1, 0.1, 0.1]))
    circuit = QuantumCircuit(4, 4)
    for k in range(4):
        circuit.ry(0.3 + k, k)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        circuit.cx(a, b)
    probabilities = Statevector(circuit).probabilities_dict()
    circuit.measure(range(4), range(4))
    found = Layouts(target).best(circuit)
    assert found.num_qubits == 10
    assert used(found) <= set(range(2, 10))
    read = {name_bits[1][0]: k for k, name_bits in enumerate(_measured(found))}
    wires = sorted(read, key=lambda q: read[q])
    bare = found.remove_final_measurements(inplace=False)
    state = Statevector(bare).probabilities_dict(wires)
    assert state == pytest.approx(probabilities, abs=1e-9)


def _measured(circuit):
    """Return the measurements in the order of their bits."""
    steps = [step for step in circuit.data if step.operation.name == "measure"]
    ordered = sorted(steps, key=lambda step: circuit.find_bit(step.clbits[0]).index)
    return [("measure", (circuit.find_bit(step.qubits[0]).index,)) for step in ordered]


def test_a_circuit_like_another_is_looked_for_where_that_one_is():
    target = line([0.01] * 9)
    assert used(Layouts(target).best(bell(), near=(6, 7))) == {6, 7}
    assert len(used(Layouts(target).best(bell(), near=(6,)))) == 2


def test_couplings_in_one_direction_with_unlike_gates_are_no_hindrance():
    # Qiskit 2.6 says that "no rules are known" to turn a cx round on FakeCairoV2.
    target = fake_provider.FakeCairoV2().target
    for layouts in (Layouts(working(target)), Layouts(working(mixed()))):
        found = layouts.best(bell())
        assert {name for name, _ in places(found)} & {"cx", "cz", "ecr"}


def mixed() -> Target:
    target = line([0.1, 0.1, 0.1], both=False)
    about = {(2, 1): InstructionProperties(error=0.05)}
    target.add_instruction(CXGate(), about)
    return target


def ansatz(wires: int) -> QuantumCircuit:
    circuit = QuantumCircuit(wires + 1)
    for turn in range(2):
        for k in range(wires):
            circuit.ry(Parameter(f"a{turn}{k}"), k)
        for k in range(wires - 1):
            circuit.cx(k, k + 1)
    circuit.cx(wires - 1, wires)
    return circuit


FRAGMENTS = {
    wires: compile_plan(ansatz(wires), ["Z" * (wires + 1)], labels="A" * wires + "B").fragments[0]
    for wires in (2, 4, 6)
}


# All 68 take a minute and a half; each is as likely.
@settings(max_examples=6, deadline=None, phases=[Phase.generate])
@given(st.sampled_from(FAKES), st.sampled_from(sorted(FRAGMENTS)))
def test_on_any_fake_device_what_does_not_work_is_not_used_or_the_device_is_refused(name, wires):
    fragment = FRAGMENTS[wires]
    try:
        compiler = DeviceCompiler(device_of("q", QpuDescription(like=name)))
    except DescriptionError:
        assert name == "FakeKyoto"
        return
    raw, fit = getattr(fake_provider, name)().target, compiler.fit(fragment)
    if fit.lack:
        assert raw.num_qubits < fragment.num_wires or fragment.width > compiler._layouts.room
        return
    found = [
        compiler.template(fragment, template).circuit
        for template, _ in templates_in(fragment, slice(0, fragment.num_subexperiments))
    ]
    for circuit in found:
        assert circuit.num_qubits == raw.num_qubits
        for gate, where in places(circuit):
            assert (raw[gate][where].error or 0.0) < BROKEN
    assert 0 < fit.error < 1
    errors = [predicted_error(circuit, raw) for circuit in found]
    assert any(error == pytest.approx(fit.error) for error in errors)


@pytest.mark.parametrize("name", ["FakeTorino", "FakeCusco"])
def test_where_level_1_took_bad_qubits_the_error_is_less(name):
    fragment = FRAGMENTS[2]
    compiler = DeviceCompiler(device_of("q", QpuDescription(like=name)))
    target = getattr(fake_provider, name)().target
    before = generate_preset_pass_manager(1, target=target, seed_transpiler=1).run(bell())
    now = compiler._layouts.best(bell())
    assert predicted_error(now, target) < predicted_error(before, target) / 3
    assert compiler.fit(fragment).error < 0.06


def test_qubits_without_t1_are_played_without_relaxation():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backend = QpuBackend(DeviceCompiler(device_of("q", QpuDescription(like="FakeKingston"))))
        values = measured(backend, FRAGMENTS[2], np.zeros((1, 4)), 200, 1)
    assert np.abs(values).max() <= 1
