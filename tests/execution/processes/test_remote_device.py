"""Queries against a remote service with a queue, limits and failures: no job is paid twice."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from support.remote_sampler import description, serving

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


def one_qubit() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    return circuit


def test_a_thousand_queries_lose_nothing_and_pay_nothing_twice(service):
    limits = {"circuits": 40, "shots": 150, "executions": 4000, "jobs": 3}
    troubles = ["", "half", "lost", "", "failed", "broken", "", "half", "failed", "lost"]
    service.control(limits=limits, others={"device": 5}, troubles=troubles)
    pilot = PilotDescription(**description(service, limits=limits))
    angles = np.linspace(0, np.pi, 1000)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        estimator = CutEstimator(tasks, cuts=0, mode="counts", shots=200, seed=1)
        result = estimator.run([(one_qubit(), "Z", angles[:, None])]).result()[0]
    far = np.abs(result.data.evs - np.cos(angles))
    assert far.max() < 6 / np.sqrt(200)
    account = service.account()
    paid = Counter(service.paid())
    # 40 circuits or 4,000 executions a job: 27 circuits with 150 shots, 40 with 50.
    assert set(paid.values()) == {1}
    assert account["most_in_flight"] <= 3


def asked(pilot, store):
    """Return the record of 60 queries on the service's device, kept in a store."""
    angles = np.linspace(0, np.pi, 60)
    with PilotManager([PilotDescription(**pilot)]) as pilots, TaskManager(pilots) as tasks:
        estimator = CutEstimator(tasks, cuts=0, mode="counts", shots=100, seed=1, store=store)
        result = estimator.run([(one_qubit(), "Z", angles[:, None])]).result()[0]
    assert np.abs(result.data.evs - np.cos(angles)).max() < 6 / np.sqrt(100)
    return estimator.trace.records[-1]


def test_a_manager_that_is_killed_and_resumed_fetches_jobs_and_does_not_pay_again(
    service, tmp_path
):
    # The first job is executed; those of the queries are not, while the manager lives.
    service.control(limits={}, hold="queries", troubles=[])
    before = len(service.paid())
    pilot, store = description(service, limits={"circuits": 20}), tmp_path / "store"
    module = "execution.processes.test_remote_device"
    code = f"from {module} import asked\nasked({pilot!r}, {str(store)!r})"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        limit = time.monotonic() + 60
        while not list(store.glob("query-000000/jobs/*.json")):
            assert child.poll() is None, "it has ended"
            assert time.monotonic() < limit, "it submits nothing"
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    flying = [job for job, status in service.account()["jobs"].items() if status == "QUEUED"]
    assert flying
    service.control(hold="")
    record = asked(pilot, store)
    paid = service.paid()[before:]
    assert len(paid) == len(set(paid)) == 3
    assert record["usage"]["fetched"] == len(flying)
    again = asked(pilot, store)  # and what is in the store is not even fetched
    assert service.paid()[before:] == paid
    assert again["usage"]["jobs"] == 0
