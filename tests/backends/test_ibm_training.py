"""qiskit-ibm-runtime in its local mode: cut networks train in each mode, on each sampler."""

import pytest
from support.device_training import trains

from pilotcut.pilots.description.qpu import QpuDescription

pytestmark = pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated")


@pytest.mark.parametrize(
    ("backend", "mode", "sampler", "width"),
    [
        ("FakeManilaV2", "job", "SamplerV2", 4),
        ("FakeLimaV2", "session", "Sampler", 4),  # its job mode: test_samplers.py
        ("FakeNairobiV2", "batch", "Sampler", 8),
    ],
)
def test_a_cut_network_trains_in_ibm_s_local_mode(backend, mode, sampler, width):
    runtime = {"backend": backend, "mode": mode, "sampler": sampler}
    # Larger devices' noise would go to Aer with every job: a second each on 133 qubits.
    far, within = trains(QpuDescription(runtime=runtime), width, shots=800, steps=1, rows=1)
    assert (far < within).all(), (far, within)
