"""IQM's fakes, AQT's and Braket's simulators, each with its own Qiskit: `make vendors`."""

import pytest
from support import vendor_stacks
from support.device_training import trains

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
