"""An estimator that is given a stage runs on that stage's pilots, and looks at no others."""

import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.execution.devices import fleet_of
from pilotcut.pilots.description import BackendDescription, PilotDescription
from pilotcut.pilots.description.qpu import QpuDescription

DEVICE = BackendDescription(qpu=QpuDescription(like="FakeManilaV2"))


@pytest.fixture(scope="module")
def tasks():
    described = [
        PilotDescription(name="encoder", resource="inprocess", groups=("encode",)),
        PilotDescription(name="device", resource="inprocess", groups=("measure",), backend=DEVICE),
        PilotDescription(name="any", resource="inprocess"),
    ]
    with PilotManager(described) as pilots, TaskManager(pilots) as manager:
        yield manager


def test_all_tasks_of_an_estimator_run_in_its_stage(tasks):
    circuit = QuantumCircuit(4)
    circuit.h(0)
    for k in range(3):
        circuit.cx(k, k + 1)
    estimator = CutEstimator(tasks.stage("encode"), cuts=1, mode="exact")
    (result,) = estimator.run([(circuit, SparsePauliOp("ZZII"))]).result()
    assert float(result.data.evs) == pytest.approx(1.0)
    ran = [e for e in tasks.pilots.events.records if e.get("state") == "done" and "task" in e]
    assert {e["pilot"] for e in ran} == {"encoder"}
    assert {e["group"] for e in ran} == {"encode"}


def test_devices_of_one_stage_and_simulators_of_another_do_not_meet(tasks):
    assert [one.name for one in fleet_of(tasks.stage("measure"), "counts").devices] == ["device"]
    assert fleet_of(tasks.stage("encode"), "counts").devices == ()
    assert fleet_of(tasks, "counts").devices == ()
