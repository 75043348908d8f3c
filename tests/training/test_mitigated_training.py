"""A training on a device whose errors are mitigated."""

import json

import pytest

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import UsageError
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun

NOISY = {
    "qubits": 1,
    "infidelity_1q": 1e-3,
    "infidelity_2q": 0.01,
    "t1_us": 100.0,
    "t2_us": 100.0,
    "readout_error": 0.03,
}


def test_forward_and_backward_passes_of_a_training_are_mitigated(tmp_path):
    asked = {"qubits": 2, "cuts": 1, "samples": 10, "epochs": 1, "shots": 64, "batch_size": 8}
    config = TrainingConfig.of({"dataset": "iris", "mitigation": "readout+zne", **asked})
    backend = {"kind": "aer", "qpu": NOISY}
    pilot = PilotDescription(name="q", resource="inprocess", backend=backend)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        TrainingRun(config, tmp_path, tasks).train()
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    batches = [line for line in lines if line["kind"] == "query_batch"]
    assert {batch["source"] for batch in batches} >= {"gradient", "shift"}
    for batch in batches:
        assert {tuple(one["factors"]) for one in batch["mitigation"]} == {(1, 5)}


def test_a_step_is_not_begun_that_would_end_beyond_what_devices_may_be_used(tmp_path):
    asked = {"qubits": 2, "cuts": 0, "samples": 10, "epochs": 1, "shots": 64, "batch_size": 8}
    qpu = {"like": "FakeManilaV2", "simulate": False}
    pilot = PilotDescription(name="q", resource="inprocess", backend={"qpu": qpu})
    # Values of a step's samples take 0.03 s; with their derivatives, which have them anew, 0.3.
    config = TrainingConfig.of({"dataset": "iris", "max_usage": 0.1, **asked})
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        training = TrainingRun(config, tmp_path, tasks)
        with pytest.raises(UsageError, match="the next step, with its derivatives, is predicted"):
            training.train()
        assert training.estimator.stages.queries == 0
