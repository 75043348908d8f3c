"""Work is the same in another process, whose sets have another order and whose ids are others."""

import json
import os
import subprocess
import sys

from qiskit.circuit import QuantumCircuit
from support.work_values import digests


def test_values_of_many_kinds_are_the_same_work_in_another_process():
    surroundings = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-m", "support.work_values"],
        env=os.environ | surroundings, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    _ = QuantumCircuit(), QuantumCircuit()  # Qiskit numbers those without a name
    elsewhere, here = json.loads(found.stdout), digests()
    assert {name for name in here if here[name] != elsewhere[name]} == set()
    assert len(set(here.values())) == len(here)
