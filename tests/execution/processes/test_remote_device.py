"""Queries against a remote service with a queue, limits and failures: no job is paid twice."""

import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from support.remote_sampler import description, serving

from pilotcut import (
    CutEstimator,
    Distribution,
    PilotManager,
    TaskManager,
    compile_plan,
    sample,
)
from pilotcut.errors import ManyJobsWarning, UsageError
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
    limits = {"circuits": 40, "shots": 150, "executions": 4000, "jobs": 4}
    rng = random.Random(1)
    kinds = [""] * 12 + ["half", "lost", "failed", "broken", "stuck"]
    troubles = [rng.choice(kinds) for _ in range(200)]
    service.control(limits=limits, others={"a": 5}, troubles=troubles)
    each = (description(service, name, name, wait_s=0.4, limits=limits) for name in "ab")
    two = [PilotDescription(**one, workers_per_node=2) for one in each]
    angles = np.linspace(0, np.pi, 1000)
    with PilotManager(two) as pilots, TaskManager(pilots) as tasks:
        estimator = CutEstimator(tasks, cuts=0, mode="counts", shots=200, seed=1)
        result = estimator.run([(one_qubit(), "Z", angles[:, None])]).result()[0]
    assert np.abs(result.data.evs - np.cos(angles)).max() < 6 / np.sqrt(200)
    account = service.account()
    paid = Counter(service.paid())
    # 25 units of 40 circuits; of 150 shots 26 are a job, and of 50 all 40: three jobs a unit.
    assert len(paid) == 75
    assert set(paid.values()) == {1}
    assert account["most_in_flight"] <= 2 * 4 + 1  # and one of another user
    assert len([job for job, status in account["jobs"].items() if status == "DONE"]) >= 75


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
    service.control(limits={}, hold="queries", troubles=[], others={"a": 0})
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


def pilots_of(service, **qpu):
    """Return two pilots with a device each, in whose queues others stand too."""
    each = (description(service, name, name, wait_s=0.4, **qpu) for name in "ab")
    return [PilotDescription(**one) for one in each]


def values_on(descriptions, **options):
    """Return the record of 40 queries, whose values are looked at."""
    angles = np.linspace(0, np.pi, 40)
    with PilotManager(descriptions) as pilots, TaskManager(pilots) as tasks:
        estimator = CutEstimator(tasks, cuts=0, mode="counts", shots=100, seed=1, **options)
        result = estimator.run([(one_qubit(), "Z", angles[:, None])]).result()[0]
    assert np.abs(result.data.evs - np.cos(angles)).max() < 6 / np.sqrt(100)
    return estimator.trace.records[-1]


def ran(record):
    return {share["pilot"] for share in record["devices"]}


def test_tasks_keep_off_a_queue_that_grows_and_come_back_when_it_is_short(service):
    service.control(limits={}, hold="", troubles=[], others={"a": 0}, job_s=20.0)
    two = pilots_of(service)
    assert ran(values_on(two)) == {"a", "b"}
    service.control(others={"a": 7})
    record = values_on(two)
    assert ran(record) == {"b"}
    assert {"pilot": "a", "jobs": 7, "wait_s": 140.0, "too_long": True} in record["queues"]
    service.control(others={"a": 0})
    assert ran(values_on(two)) == {"a", "b"}


def test_a_job_that_is_stuck_is_cancelled_and_its_task_moves_with_the_reason(service):
    service.control(limits={}, hold="", troubles=["stuck"], others={"a": 0, "b": 0})
    events, paid = len(service.account()["events"]), len(service.paid())
    (move,) = values_on(pilots_of(service))["moved"]
    assert {move["from"], move["to"]} == {"a", "b"}
    assert "its jobs were in the queue for 0.4" in move["reason"]
    assert len(service.account()["events"][events:]) == 1  # cancelled
    contents = service.paid()[paid:]
    assert len(contents) == len(set(contents)) == 2


def test_a_job_that_runs_for_ever_is_cancelled_and_its_task_moves_with_the_reason(service):
    service.control(limits={}, hold="", troubles=["endless"], others={"a": 0, "b": 0})
    paid = len(service.paid())
    (move,) = values_on(pilots_of(service, job_s=0.4))["moved"]
    assert {move["from"], move["to"]} == {"a", "b"}
    assert "a job of its ran for 0." in move["reason"]
    assert "job_s, which is 0.4; it is cancelled" in move["reason"]
    contents = service.paid()[paid:]
    assert len(contents) == len(set(contents)) == 2


def test_limits_that_make_many_jobs_of_few_circuits_are_said_in_one_line(service):
    service.control(limits={}, hold="", troubles=[], others={"a": 0, "b": 0})
    one = [PilotDescription(**description(service, limits={"executions": 60}))]
    with pytest.warns(ManyJobsWarning) as said:
        values_on(one)
    (line,) = {str(one.message) for one in said if issubclass(one.category, ManyJobsWarning)}
    assert line.startswith(
        "pilot 'lab': limits {executions: 60} make 80 jobs of 40 circuits with 4000 shots, and 1"
    )


@pytest.mark.parametrize("trouble", ["stuck", "endless"])
def test_a_job_that_does_not_end_beside_others_that_are_paid_is_submitted_again(service, trouble):
    # Two jobs of each unit: 60 shots and 40, of which the first one does not end.
    service.control(limits={}, hold="", troubles=[], others={"a": 0, "b": 0})
    two = pilots_of(service, limits={"shots": 60}, job_s=0.4)
    values_on(two)  # it is known now that the sampler takes parameters: else one goes ahead
    service.control(troubles=[trouble])
    events, paid = len(service.account()["events"]), len(service.paid())
    record = values_on(two)
    assert "moved" not in record
    assert len(service.account()["events"][events:]) == 1  # cancelled
    contents = service.paid()[paid:]
    assert len(contents) == len(set(contents)) == 4


def test_a_simulator_takes_what_waits_where_the_description_allows_it(service):
    one = pilots_of(service, instead="simulator")[:1]
    service.control(limits={}, hold="", troubles=["stuck"], others={"a": 0}, job_s=20.0)
    paid = len(service.paid())
    (move,) = values_on(one)["moved"]
    assert (move["from"], move["to"]) == ("a", "a (simulator)")
    service.control(others={"a": 3})
    record = values_on(one)
    assert [move["reason"] for move in record["moved"]] == [
        "queue predicted to take 60 s, wait_s is 0.4"
    ]
    assert service.paid()[paid:] == []
    service.control(others={"a": 0})
    assert "moved" not in values_on(one)


def test_a_job_stays_where_nothing_else_can_run_it(service):
    one = pilots_of(service)[:1]
    service.control(limits={}, hold="queries", troubles=[], others={"a": 0})
    threading.Timer(1.5, service.control, kwargs={"hold": ""}).start()
    events = len(service.account()["events"])
    assert "moved" not in values_on(one)
    assert len(service.account()["events"]) == events


def test_a_resumed_query_goes_to_the_devices_that_have_its_jobs(service, tmp_path):
    service.control(limits={}, hold="", troubles=[], others={"a": 0, "b": 0}, job_s=20.0)
    two, store = pilots_of(service), tmp_path / "store"
    assert ran(values_on(two, store=store)) == {"a", "b"}
    shutil.rmtree(store / "query-000000" / "blocks")  # as if it had been killed before
    service.control(others={"a": 7})
    paid = service.paid()
    assert values_on(two, store=store)["usage"]["fetched"] == 2
    assert service.paid() == paid
    service.control(others={"a": 0})


# Usage.


def test_usage_is_what_jobs_tell_and_a_batch_beyond_the_allowed_is_not_begun(service):
    service.control(limits={}, hold="", troubles=[], others={"device": 0})
    fields = description(service, price={"second": 2, "job": 0.5})
    pilots = [PilotDescription(**fields)]
    usage = values_on(pilots)["usage"]
    # 40 queries of 100 shots at 0.1 ms, and the first job of two circuits with 200.
    assert usage == {
        "jobs": 1, "fetched": 0, "shots": 4400, "device_s": pytest.approx(0.44), "predicted_s": 0.0,
        "cost": pytest.approx(2 * 0.44 + 0.5),
    }  # fmt: skip
    paid = service.paid()
    with pytest.raises(UsageError) as caught:
        values_on(pilots, max_usage=1e-4)
    assert str(caught.value).startswith("max_usage is 0.0001 s, the next batch is predicted to")
    assert service.paid() == paid


def test_what_a_distribution_takes_is_in_its_usage_and_its_budget(service):
    service.control(limits={}, hold="", troubles=[], others={"device": 0})
    plan = compile_plan(one_qubit(), max_width=1)
    one = PilotDescription(**description(service))
    with PilotManager([one]) as pilots, TaskManager(pilots) as tasks:
        found = Distribution(plan, [0.5], mode="counts", shots=1000, tasks=tasks)
        paid = service.paid()
        with pytest.raises(UsageError, match=r"^max_usage is 1e-05 s, the next batch is pred"):
            sample(plan, 10, [0.5], mode="counts", tasks=tasks, max_usage=1e-5)
    assert (found.usage.jobs, found.usage.shots) == (1, 1000 + 2 * 200)
    assert found.usage.device_s == pytest.approx(0.14)
    assert service.paid() == paid


def test_jobs_that_tell_no_seconds_have_predicted_ones(service):
    fields = description(service, sampler="support.remote_sampler:without_usage")
    fields["backend"]["qpu"]["options"] = {"port": service.port}
    usage = values_on([PilotDescription(**fields)])["usage"]
    assert usage["device_s"] == 0.0
    assert usage["predicted_s"] > 0
