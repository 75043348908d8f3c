"""A QPU of QRMI's, played by Aer: what `qrmi.QuantumResource` does, without a service."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

from qiskit import qasm3
from qiskit.primitives import BackendSamplerV2
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

try:
    from qiskit_ibm_runtime.json import RuntimeEncoder
except ImportError:  # before 0.50
    from qiskit_ibm_runtime.utils import RuntimeEncoder


class PlayedResource:
    """FakeManila's configuration, counts of Aer; `fails` makes every task fail.

    Parameters
    ----------
    statuses
        `qrmi.TaskStatus`.
    """

    def __init__(self, statuses, fails=False):
        self._statuses, self._fails = statuses, fails
        self._results, self._numbers, self.stopped = {}, count(), []

    def resource_id(self):
        return "manila"

    def target(self):
        backend = FakeManilaV2()
        files = {"configuration": backend.conf_filename, "properties": backend.props_filename}
        said = {
            name: json.loads((Path(backend.dirname) / file).read_text())
            for name, file in files.items()
        }
        return SimpleNamespace(value=json.dumps(said))

    def task_start(self, payload):
        asked = json.loads(payload.input)
        pubs = [(qasm3.loads(text), values, shots) for text, values, shots in asked["pubs"]]
        # The names of registers are OpenQASM's.
        found = BackendSamplerV2(backend=AerSimulator()).run(pubs).result()
        name = f"task-{next(self._numbers)}"
        self._results[name] = json.dumps(found, cls=RuntimeEncoder)
        return name

    def task_status(self, name):
        return self._statuses.Failed if self._fails else self._statuses.Completed

    def task_result(self, name):
        value = json.dumps({"reason": "no luck"}) if self._fails else self._results[name]
        return SimpleNamespace(value=value)

    def task_stop(self, name):
        self.stopped.append(name)

    def task_logs(self, name):
        return ""
