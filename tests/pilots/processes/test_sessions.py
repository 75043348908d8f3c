"""Sessions of devices end with their pilots, however these end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from support.remote_sampler import description, serving

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.errors import DeviceError, PilotError, TaskError
from pilotcut.pilots.description import PilotDescription

ANGLES = np.linspace(0, np.pi, 60)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


def pilot(service, resource="inprocess", **qpu):
    fields = description(service, **{"access": "session", "limits": {"circuits": 10}, **qpu})
    return fields | {"resource": resource}


def sessions(service):
    """Return the jobs that each session still takes, -1 for those that are closed."""
    return service.account()["sessions"]


def wait_until(true, what):
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit, f"{what} in vain"
        time.sleep(0.05)


def asked(tasks, **options):
    """Return an estimator and its job of 60 queries."""
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    estimator = CutEstimator(tasks, cuts=0, mode="counts", shots=100, seed=1, **options)
    return estimator, estimator.run([(circuit, "Z", ANGLES[:, None])])


def values(pilots):
    with TaskManager(pilots) as tasks:
        return asked(tasks)[1].result()[0].data.evs


def test_a_session_that_expires_in_the_middle_is_replaced_and_the_last_one_is_closed(service):
    service.control(expires_after=3)
    with PilotManager([PilotDescription(**pilot(service))]) as pilots:
        assert list(sessions(service).values()) == [3]
        assert np.abs(values(pilots) - np.cos(ANGLES)).max() < 6 / np.sqrt(100)
        # The first job and six of ten circuits: three, three and one.
        assert list(sessions(service).values()) == [0, 0, 2]
    assert list(sessions(service).values())[-1] == -1
    paid = service.paid()
    assert len(paid) == len(set(paid)) == 6


def test_workers_share_their_pilot_s_session_and_its_jobs_also_when_they_die(service, tmp_path):
    service.control(expires_after=100, hold="queries")
    before, paid = set(sessions(service)), len(service.paid())
    with PilotManager([PilotDescription(**pilot(service, "local"))]) as pilots:
        with TaskManager(pilots) as tasks:
            worker = tasks.submit_task(os.getpid).result()
            estimator, job = asked(tasks, store=tmp_path / "store")
            wait_until(lambda: list(tmp_path.rglob("jobs/*.json")), "submitted")
            os.kill(worker, signal.SIGKILL)
            service.control(hold="")
            job.result()
        # The second worker has fetched what the first one submitted.
        contents = service.paid()[paid:]
        assert len(contents) == len(set(contents)) == 6
        assert estimator.trace.records[-1]["usage"]["fetched"] == 1
        (session,) = set(sessions(service)) - before
        assert sessions(service)[session] == 100 - 6 - 2  # and a first job of each
        os.kill(pilots.pilots[0]._agent.process.pid, signal.SIGKILL)
        wait_until(lambda: sessions(service)[session] == -1, "closed")


def test_a_session_ends_with_a_manager_that_is_killed(service):
    before = set(sessions(service))
    code = (
        "import time\n"
        "from pilotcut import PilotManager\n"
        "from pilotcut.pilots.description import PilotDescription\n"
        "if __name__ == '__main__':\n"
        f"    pilots = PilotManager([PilotDescription(**{pilot(service, 'local')!r})])\n"
        "    pilots.start()\n"
        "    time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        wait_until(lambda: set(sessions(service)) - before, "opened")
        (session,) = set(sessions(service)) - before
        assert sessions(service)[session] > 0
    finally:
        child.kill()
        child.wait()
    wait_until(lambda: sessions(service)[session] == -1, "closed")


def test_each_query_has_a_batch_that_is_closed_when_it_ends_however_it_ends(service):
    service.control(expires_after=100)
    before = set(sessions(service))

    def batches():
        return [left for session, left in sessions(service).items() if session not in before]

    fields = pilot(service, access="batch")
    with PilotManager([PilotDescription(**fields)]) as pilots, TaskManager(pilots) as tasks:
        asked(tasks)[1].result()
        wait_until(lambda: batches() == [-1], "closed")
        jobs = [asked(tasks)[1] for _ in range(2)]  # at once
        service.control(troubles=["refused"] * 2)
        for job in jobs:
            with contextlib.suppress(DeviceError):
                job.result()
        wait_until(lambda: batches() == [-1] * 3, "closed")
        service.control(hold="queries")
        last = asked(tasks)[1]
        wait_until(lambda: len(batches()) == 4, "opened")
        assert batches()[-1] > 0
        service.control(hold="")
        with contextlib.suppress(PilotError, TaskError, DeviceError):
            last.result()
    wait_until(lambda: set(batches()) == {-1}, "closed")


def test_a_sampler_without_sessions_is_refused_by_name(service):
    device = {"sampler": "support.remote_sampler:without_sessions"}
    fields = pilot(service, **device, options={"port": service.port})
    with pytest.raises(PilotError) as caught:
        PilotManager([PilotDescription(**fields)]).start()
    assert "access is session, expected a sampler with open_session" in str(caught.value)
    assert "\n" not in str(caught.value)
