"""A fleet whose devices are Slurm jobs: the same weights as in one process."""

import json

import numpy as np
import pytest
import yaml

from . import testbed
from .testbed import wait_until

pytestmark = pytest.mark.slurm

NUMBERS = {"infidelity_1q": 0.001, "infidelity_2q": 0.01, "t1_us": 100.0, "t2_us": 80.0}


def fleet(path, **more):
    """Describe two unlike devices, each a pilot of its own."""
    pilots = [
        {"name": name, "walltime": "00:10:00", **more, "backend": {"kind": "aer", "qpu": qpu}}
        for name, qpu in (
            ("alpha", {"qubits": 2, **NUMBERS}),
            ("beta", {"qubits": 3, **NUMBERS, "infidelity_2q": 0.02}),
        )
    ]
    path.write_text(yaml.safe_dump({"pilots": pilots}))
    return path


def test_devices_may_be_jobs_and_all_are_waited_for(cluster, tmp_path, call):
    """Also jobs that start one after the other, which train together from the first epoch on."""
    before = set(testbed.jobs())
    files = {
        "slurm": fleet(tmp_path / "slurm.yaml", resource="slurm", queue="cpu", cores_per_node=1),
        "here": fleet(tmp_path / "here.yaml", resource="inprocess"),
    }
    weights = {}
    for name, file in files.items():
        quick = ("--epochs", 1, "--shots", 32, "--batch-size", 40, "--run-dir", tmp_path / name)
        code, out, err = call("fleet", "train", "iris", "--fleet", file, *quick, "--json")
        assert code == 0, err
        assert json.loads(out)["online"] == ["alpha", "beta"]
        assert "came back" not in err
        with np.load(tmp_path / name / "weights.npz") as kept:
            weights[name] = kept["weights"]
    assert (weights["slurm"] == weights["here"]).all()
    assert not (weights["here"][0] == weights["here"][1]).all()
    wait_until(lambda: set(testbed.jobs()) <= before)
