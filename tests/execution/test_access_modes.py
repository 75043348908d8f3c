"""Devices by predicted end, error and cost, and jobs in flight by workers: pure functions."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from pilotcut.backends.base import DeviceFit
from pilotcut.backends.circuit_runs import CircuitRuns
from pilotcut.backends.device_jobs import WORKERS_VARIABLE, JobRules
from pilotcut.backends.job_packing import content_of, joined, packed
from pilotcut.execution.device_assignment import assign
from pilotcut.execution.work_units import CircuitUnit
from pilotcut.pilots.description.access import JobLimits


def units(number):
    return [
        CircuitUnit(
            request=0, number=k, rows=slice(0, 1), angles=np.zeros((1, 0)), cost_s=0.1,
            part=slice(k, k + 1), shots=1000, seed=k, backend="aer",
        )
        for k in range(number)
    ]  # fmt: skip


def test_a_device_whose_queue_is_long_gets_what_is_left():
    fits = {"a": DeviceFit(0.01, 1e-3), "b": DeviceFit(0.02, 1e-3)}  # a second for each unit
    found = assign(units(6), ["A"], [fits], waits={"a": 4.0})
    assert [*found.pilots.values()].count("a") == 1
    assert [*assign(units(6), ["A"], [fits]).pilots.values()].count("a") == 3


def test_the_cheapest_takes_what_is_done_there_little_later():
    dear = DeviceFit(0.01, 1e-3, shot_cost=2.0)
    cheap = DeviceFit(0.02, 1.2e-3, shot_cost=1.0)
    found = assign(units(12), ["A"], [{"dear": dear, "cheap": cheap}])
    placed = [*found.pilots.values()]
    assert placed[0] == "cheap"  # done after 1.2 s and not after 1
    assert 4 < placed.count("cheap") < 9  # but it is not waited for
    assert sum(share.cost for share in found.shares) == pytest.approx(
        1000 * (placed.count("cheap") + 2 * placed.count("dear"))
    )
    # Never one that errs more than is tolerated.
    assert {*assign(units(4), ["A"], [{"dear": dear, "cheap": cheap}], 0.0).pilots.values()} == {
        "dear"
    }


def test_workers_share_the_jobs_that_may_be_in_flight(monkeypatch):
    rules = JobRules(JobLimits(jobs=5))
    assert rules.in_flight == 5
    monkeypatch.setenv(WORKERS_VARIABLE, "2")
    assert rules.in_flight == 2
    assert JobRules(JobLimits(jobs=5), dedicated=True).in_flight == 1
    assert JobRules().in_flight is None


def runs():
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("a"), 0)
    circuit.measure(0, 0)
    return [
        CircuitRuns(circuit, np.arange(7.0)[:, None]),
        CircuitRuns(circuit, np.arange(2.0)[:, None]),
    ]


@pytest.mark.parametrize(
    ("limits", "jobs"),
    [
        ({}, [(9, 100)]),
        ({"circuits": 4}, [(4, 100), (4, 100), (1, 100)]),
        ({"shots": 60}, [(9, 60), (9, 40)]),
        ({"executions": 300}, [(3, 100), (3, 100), (3, 100)]),
        ({"executions": 50}, [(1, 50)] * 18),
    ],
)
def test_jobs_are_as_few_as_limits_allow_and_hold_every_run_once(limits, jobs):
    found = packed(runs(), 100, JobLimits(**limits))
    assert [(job.circuits, job.shots) for job in found] == jobs
    counts = [[[{"0x0": job.shots}] * len(p.runs.values) for p in job.parts] for job in found]
    assert joined(runs(), found, counts) == [[{"0x0": 100}] * 7, [{"0x0": 100}] * 2]


def test_a_job_is_known_again_by_its_content_and_told_from_others():
    limits = JobLimits(circuits=4)
    first, again = packed(runs(), 100, limits), packed(runs(), 100, limits)
    assert [*map(content_of, first)] == [*map(content_of, again)]
    assert len({*map(content_of, first), *map(content_of, packed(runs(), 99, limits))}) == 6
