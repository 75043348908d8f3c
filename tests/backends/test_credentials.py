"""Credentials of a vendor's client get into no message, record, trace or log."""

import os

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendSamplerV2
from qiskit.providers.fake_provider import GenericBackendV2

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.errors import DeviceError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.credentials import without_credentials
from pilotcut.pilots.worker.exception_text import traceback_of, words_of

SECRET = "hunter2-hunter2"
NATIVE = ["rz", "sx", "x", "cz"]


class Leaky(BackendSamplerV2):
    """A sampler that has a token, and that tells it when it fails."""

    def __init__(self, fails):
        backend = GenericBackendV2(2, basis_gates=NATIVE, noise_info=False, seed=1)
        super().__init__(backend=backend, options={"seed_simulator": 7})
        self.fails, self.token = fails, os.environ["LAB_TOKEN"]

    def run(self, pubs, *, shots=None):
        if self.fails:
            raise RuntimeError(f"no access with {self.token} at https://me:{self.token}@localhost")
        return super().run(pubs, shots=shots)


def leaky(fails):
    return Leaky(fails)


@pytest.mark.filterwarnings("ignore:.*has no QubitProperties", "ignore:.*has no way to fetch")
@pytest.mark.parametrize("fails", [False, True])
def test_a_token_of_the_environment_is_in_nothing_that_is_written_or_said(
    monkeypatch, tmp_path, fails
):
    monkeypatch.setenv("LAB_TOKEN", SECRET)
    device = {"sampler": f"{__name__}:leaky", "options": {"fails": fails}}
    pilot = PilotDescription(name="q", resource="inprocess", backend={"qpu": device})
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    said = ""
    with PilotManager([pilot], run_dir=tmp_path) as pilots, TaskManager(pilots) as tasks:
        estimator = CutEstimator(
            tasks, cuts=0, mode="counts", shots=50, seed=1, store=tmp_path / "store",
            trace=tmp_path / "trace.jsonl",
        )  # fmt: skip
        job = estimator.run([(circuit, "Z", np.zeros((2, 1)))])
        if fails:
            with pytest.raises(DeviceError) as caught:
                job.result()
            said = "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
            assert "no access with ..." in said
        else:
            job.result()
    assert SECRET not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []


def test_words_and_tracebacks_of_a_worker_hide_them_too(monkeypatch):
    monkeypatch.setenv("LAB_TOKEN", SECRET)
    monkeypatch.setenv("LAB_AUTH", "on")
    error = RuntimeError(f"it is {SECRET} and on")
    assert words_of(error) == "RuntimeError: it is ... and on"
    assert SECRET not in traceback_of(error)
    assert without_credentials("https://me:secret@localhost") == "https://...@localhost"
