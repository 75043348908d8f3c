"""Backends in another interpreter, and vendors' short forms, without any vendor's packages."""

import os
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister
from qiskit.primitives import BackendSamplerV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import Target
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from support.exact import exact_tensor
from support.qpus import measured, middle, small

from pilotcut import compile_plan
from pilotcut.backends import vendor_worker
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.device_runs import CircuitRuns
from pilotcut.backends.layouts import predicted_error
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.backends.vendors import target_from, vendor_backend
from pilotcut.errors import DescriptionError, DeviceError
from pilotcut.pilots.description.qpu import QpuDescription

SHOTS = 400
MANILA = "qiskit_ibm_runtime.fake_provider:FakeManilaV2"


def elsewhere(**fields):
    """Return what is described, in another process of this interpreter."""
    return QpuDescription(**{"like": MANILA, "simulate": False, "python": sys.executable} | fields)


@pytest.fixture(scope="module")
def manila():
    return device_of("manila", elsewhere())


def process(backend):
    return backend._link._process


def test_fragments_run_on_a_backend_in_another_interpreter(manila):
    backend, fragment, angles = QpuBackend(DeviceCompiler(manila)), small(), np.array([[0.7]])
    values = measured(backend, fragment, angles, SHOTS, 3)
    error = backend._compiler.fit(fragment).error
    far = np.abs(values[0] - exact_tensor(fragment, angles[0])).max()
    assert far < 2 * error + 5 / np.sqrt(SHOTS)
    assert process(manila.direct.opened).pid != os.getpid()


def test_the_target_comes_over_with_its_errors_times_and_couplings(manila):
    ours, theirs = manila.target, FakeManilaV2().target
    assert ours.num_qubits == theirs.num_qubits
    for name in ("sx", "cx", "measure"):
        assert {*ours[name]} == {*theirs[name]}
        for where in ours[name]:
            assert ours[name][where].error == theirs[name][where].error
            assert ours[name][where].duration == theirs[name][where].duration
    assert [q.t1 for q in ours.qubit_properties] == [q.t1 for q in theirs.qubit_properties]


def test_bits_that_nothing_is_written_to_and_registers_come_back_in_their_places(manila):
    circuit = QuantumCircuit(5, 1)
    for size, name in ((2, "b"), (2, "a")):
        circuit.add_register(ClassicalRegister(size, name))
    circuit.x(1)
    circuit.measure(1, 3)
    circuit.measure(0, 1)
    ((counts,),) = manila.direct.counts([CircuitRuns.of(circuit, {})], SHOTS, 1)
    assert max(counts, key=counts.get) == hex(0b01000)
    assert sum(n for outcome, n in counts.items() if int(outcome, 16) & ~0b01010) == 0


def test_measurements_stand_last_and_only_written_bits_stay():
    circuit = QuantumCircuit(3, 4)
    circuit.x(0)
    circuit.measure(0, 2)
    circuit.cx(1, 2)
    circuit.measure([1, 2], [0, 3])
    squeezed, bits = vendor_worker._squeezed(circuit)
    assert [step.operation.name for step in squeezed.data] == ["x", "cx", *["measure"] * 3]
    assert (bits, squeezed.num_clbits) == ([0, 2, 3], 3)


def test_a_process_that_dies_is_one_line_with_its_last_words_and_the_next_call_has_a_new_one():
    backend = vendor_backend("dies", elsewhere())
    first = process(backend)
    circuit = QuantumCircuit(5, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    process(backend).stdin.write("hello\n")  # what it cannot read ends it
    with pytest.raises(DeviceError) as caught:
        backend.run([circuit], shots=50)
    (line,) = caught.value.faults
    assert line.startswith(f"pilot 'dies': backend.qpu.like is '{MANILA}': its process ended (")
    assert "no question: Expecting value" in line
    first.wait(10)
    counts = backend.run([circuit], shots=50).result().get_counts(0)
    assert sum(counts.values()) == 50
    assert process(backend).pid != first.pid


def test_the_process_ends_with_the_one_that_started_it():
    script = (
        "import sys, time\n"
        "from pilotcut.backends.vendors import vendor_backend\n"
        "from pilotcut.pilots.description.qpu import QpuDescription\n"
        f"qpu = QpuDescription(like='{MANILA}', simulate=False, python=sys.executable)\n"
        "print(vendor_backend('q', qpu)._link._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    parent.kill()  # so that nothing of its own can end the other
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        with open(f"/proc/{worker}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
        time.sleep(0.1)
    else:
        pytest.fail("it is still there")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"python": "/no/such/python"}, "python: PATH of an interpreter that has its packages (No"),
        ({"python": "/bin/cat"}, "expected an answer; check that /bin/cat has Qiskit"),
        ({"like": "no_such_package:make"}, "expected its client (No module named 'no_such_packa"),
        ({"like": "qiskit:absent"}, "expected one that its client opens (AttributeError: module"),
        (
            {"like": None, "simulate": None, "iqm": {"backend": "IQMFakeAdonis"}},
            "expected its client (No module named 'iqm'); pip install 'iqm-client[qiskit]' in an",
        ),
    ],
)
def test_what_cannot_be_opened_is_one_line(fields, expected):
    some = {k: v for k, v in fields.items() if v is not None}
    base = {"python": sys.executable}
    if "iqm" not in some:
        base |= {"like": MANILA, "simulate": False}
    with pytest.raises((DescriptionError, DeviceError)) as caught:
        device_of("q", QpuDescription(**base | some))
    (line,) = caught.value.faults
    assert line.startswith("pilot 'q': backend.qpu.")
    assert expected in line
    assert "\n" not in line


def test_values_of_options_are_not_in_the_line_of_what_cannot_be_opened():
    qpu = QpuDescription(braket={"backend": "braket_sv", "options": {"word": "braket_provider"}})
    with pytest.raises(DescriptionError) as caught:
        device_of("q", qpu)
    assert "No module named 'qiskit_...')" in str(caught.value)


def test_gates_without_a_name_or_with_some_angles_only_are_left_out():
    gates = [["rz", None], ["rzz", [[[0, 1], 0.1, None]]], ["cz", [[[0, 1], 0.2, 1e-7]]]]
    device = {
        "qubits": 2,
        "times": [[None, None]] * 2,
        "gates": [*gates, ["move", None], ["if_else", None]],
        "angles": ["rzz"],
        "dt": None,
    }
    target = target_from(device)
    assert {*target.operation_names} == {"rz", "cz", "if_else"}
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    assert predicted_error(circuit, target) == pytest.approx(0.2)


# QRMI, whose resources a stub plays.


class Resource:
    def __init__(self, name):
        self.name = name

    def resource_id(self):
        return self.name


def qrmi(monkeypatch, *names, started=None):
    """Put a QRMI in place that has resources of these names."""
    backend, resources = FakeManilaV2(), [Resource(name) for name in names]

    class Sampler(BackendSamplerV2):
        def __init__(self, resource, *, options=None):
            super().__init__(backend=backend)
            self.resource, self.given = resource, options

    service = SimpleNamespace(
        resource=lambda name: next((one for one in resources if one.name == name), None),
        resources=lambda: resources,
    )
    modules = {
        "qrmi": {},
        "qrmi.primitives": {"QRMIService": lambda: service},
        "qrmi.primitives.ibm": {"SamplerV2": Sampler, "get_backend": lambda resource: backend},
    }
    for name, has in modules.items():
        module = ModuleType(name)
        module.__dict__.update(has)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(("named", "expected"), [(None, "first"), ("second", "second")])
def test_a_qpu_of_the_slurm_job_s_runs_fragments(monkeypatch, named, expected):
    qrmi(monkeypatch, "first", "second")
    what = {"options": {"run_options": {}}} | ({"backend": named} if named else {})
    device = device_of("q", QpuDescription(qrmi=what))
    assert isinstance(device.target, Target)
    values = measured(QpuBackend(DeviceCompiler(device)), small(), np.array([[0.7]]), SHOTS, 3)
    assert np.abs(values).max() > 0.3
    assert device.direct.opened.resource.name == expected
    assert device.direct.opened.given == {"run_options": {}}


def test_a_job_without_that_qpu_is_one_line_with_those_that_it_has(monkeypatch):
    for names, has in ((("first",), "first"), ((), "it has none")):
        qrmi(monkeypatch, *names)
        with pytest.raises(DescriptionError) as caught:
            device_of("q", QpuDescription(qrmi={"backend": "other"}))
        assert str(caught.value) == (
            f"pilot 'q': backend.qpu.qrmi.backend is other, expected a QPU that the job has: {has}"
            "; ask Slurm for one (--qpu=NAME), or set QRMI_JOB_QPU_RESOURCES and QRMI_JOB_QPU_TYPES"
        )


# Devices that measure at the end alone.


def test_a_device_that_measures_at_the_end_gets_deferred_forms_or_is_passed_over_with_the_reason():
    numbers = {"infidelity_1q": 0.0, "infidelity_2q": 0.0, "t1_us": 1e9, "t2_us": 1e9}
    fragment, angles = middle(), np.array([[0.7, -1.9]])
    wide = DeviceCompiler(device_of("q", QpuDescription(qubits=4, mid_circuit=False, **numbers)))
    assert wide.fit(fragment).lack == ""
    for template in fragment.templates:
        names = [step.operation.name for step in wide.template(fragment, template).circuit.data]
        first = names.index("measure") if "measure" in names else len(names)
        assert {*names[first:]} <= {"measure", "barrier"}
    values = measured(QpuBackend(wide), fragment, angles, 4000, 3)
    assert np.abs(values[0] - exact_tensor(fragment, angles[0])).max() < 5 / np.sqrt(4000)
    narrow = DeviceCompiler(device_of("q", QpuDescription(qubits=2, mid_circuit=False, **numbers)))
    assert narrow.fit(fragment).lack == (
        "needs 4 qubits, where what is measured before the end takes ancillas, as the device "
        "measures at the end alone, more than the 2"
    )


def test_a_device_without_classical_control_gets_what_is_controlled_as_gates():
    circuit = QuantumCircuit(2, 1)
    circuit.ry(0.8, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.ry(0.3, 1)
    (fragment,) = compile_plan(circuit, ["ZZ", "ZI"], labels="AA").fragments
    backend = QpuBackend(
        DeviceCompiler(device_of("q", QpuDescription(like=f"{__name__}:NO_CONTROL")))
    )
    assert backend._compiler.fit(fragment).lack == ""
    values = measured(backend, fragment, np.zeros((1, 0)), 4000, 3)
    expected = [np.cos(0.8) * np.cos(0.3), np.cos(0.3)]
    assert np.abs(np.sort(values[0].ravel()) - expected).max() < 5 / np.sqrt(4000)


NO_CONTROL = GenericBackendV2(3, noise_info=False, seed=1)


class OwnPasses(GenericBackendV2):
    """A backend that takes circuits as its own passes make them, as AQT's and IQM's do."""

    def get_scheduling_stage_plugin(self):
        return "alap"  # it writes down delays

    def run(self, run_input, **options):
        self.delays = [circuit.count_ops().get("delay", 0) for circuit in run_input]
        assert not any(circuit.parameters for circuit in run_input)
        return super().run(run_input, **options)


OWN_PASSES = OwnPasses(3, seed=1)


def test_a_backend_s_own_passes_are_run_last_with_known_angles():
    qpu = QpuDescription(like=f"{__name__}:OWN_PASSES", simulate=False)
    values = measured(
        QpuBackend(DeviceCompiler(device_of("q", qpu))), small(), np.array([[0.7]]), SHOTS, 3
    )
    assert np.abs(values).max() > 0.3
    assert min(OWN_PASSES.delays) > 0
