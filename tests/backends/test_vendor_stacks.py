"""IQM's fakes, AQT's and Braket's simulators with their own Qiskits, and QRMI: `make vendors`."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from support import vendor_stacks
from support.device_training import trains
from support.exact import exact_tensor
from support.qpus import measured, small
from support.qrmi_resource import PlayedResource

from pilotcut.backends.circuit_runs import CircuitRuns
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.errors import DeviceError
from pilotcut.pilots.description.qpu import QpuDescription

pytestmark = [pytest.mark.vendors, pytest.mark.timeout(600)]


def described(vendor, backend):
    return QpuDescription(
        **{vendor: {"backend": backend}}, python=str(vendor_stacks.interpreter(vendor))
    )


@pytest.mark.parametrize(
    ("vendor", "backend", "width"),
    [
        ("iqm", "IQMFakeAdonis", 4),
        ("iqm", "IQMFakeAdonis", 8),
        ("iqm", "IQMFakeDeneb", 4),  # a star: qubits move to a resonator
        ("iqm", "IQMFakeApollo", 4),
        ("aqt", "offline_simulator_no_noise", 4),
        ("aqt", "offline_simulator_no_noise", 8),
        ("aqt", "offline_simulator_noise", 4),
        ("braket", "braket_sv", 4),
        ("braket", "braket_sv", 8),
    ],
)
def test_a_cut_network_trains_on_a_vendor_s_stack(vendor, backend, width):
    far, within = trains(described(vendor, backend), width)
    slack = 0.15 if backend == "offline_simulator_noise" else 0.0  # its target tells no error
    assert (far < within + slack).all(), (far, within)


@pytest.fixture
def resource(monkeypatch):
    """Return a function that gives the job one QPU, of the real QRMI."""
    (packages,) = (vendor_stacks.PLACE / "qrmi").glob("lib/python*/site-packages")
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    qrmi = importlib.import_module("qrmi")
    primitives = importlib.import_module("qrmi.primitives")

    def given(**how):
        found = PlayedResource(qrmi.TaskStatus, **how)
        service = SimpleNamespace(resources=lambda: [found], resource=lambda _: found)
        monkeypatch.setattr(primitives, "QRMIService", lambda: service)
        return found

    return given


def test_fragments_run_on_a_qpu_of_qrmi_s(resource):
    resource()
    backend = QpuBackend(DeviceCompiler(device_of("q", QpuDescription(qrmi={}))))
    fragment, angles = small(), np.array([[0.7]])
    values = measured(backend, fragment, angles, 400, 3)
    assert np.abs(values[0] - exact_tensor(fragment, angles[0])).max() < 5 / np.sqrt(400)
    assert backend._compiler.fit(fragment).error > 0  # FakeManila's configuration has errors


def test_a_task_of_qrmi_s_that_fails_is_one_line(resource):
    resource(fails=True)
    backend = QpuBackend(DeviceCompiler(device_of("q", QpuDescription(qrmi={"backend": "manila"}))))
    with pytest.raises(DeviceError) as caught:
        measured(backend, small(), np.array([[0.7]]), 400, 3)
    (line,) = caught.value.faults
    assert "what its device returned is a dict, expected a PrimitiveResult" in line


@pytest.mark.parametrize("vendor", ["aqt", "iqm", "braket"])
def test_bits_that_nothing_is_written_to_keep_their_places(vendor):
    names = {
        "aqt": "offline_simulator_no_noise",
        "iqm": "IQMFakeDeneb",
        "braket": "braket_sv",
    }
    device = device_of("q", described(vendor, names[vendor]))
    circuit = QuantumCircuit(device.qubits, 3)
    circuit.r(np.pi, 0, 0)
    circuit.measure([0, 1], [2, 0])
    ((counts,),) = device.direct.counts([CircuitRuns.of(circuit, {})], 100, 1)
    assert max(counts, key=counts.get) == hex(0b100)
    assert sum(n for outcome, n in counts.items() if int(outcome, 16) & 0b010) == 0


def test_a_measurement_that_aqt_s_passes_leave_out_is_one_line():
    device = device_of("q", described("aqt", "offline_simulator_no_noise"))
    circuit = QuantumCircuit(device.qubits, 2)
    circuit.measure(0, 0)
    circuit.measure(0, 1)
    with pytest.raises(DeviceError, match="passes have left out a measurement"):
        device.direct.counts([CircuitRuns.of(circuit, {})], 100, 1)
