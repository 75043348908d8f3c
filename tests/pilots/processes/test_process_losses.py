"""What is said of workers and schedulers that end."""

import os
import signal
import threading
import time

import pytest
from support.failing import kill, take

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import PilotError, TaskError
from pilotcut.pilots.description import PilotDescription

PATIENCE_S = 60
LIMIT = 300 * 2**20


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("limited")


@pytest.fixture(scope="module")
def limited(run_dir):
    """Return tasks on a worker that may take 300 MiB."""
    pilot = PilotDescription(name="p", resource="local", memory_per_node="300MiB")
    with PilotManager([pilot], run_dir=run_dir) as pilots:
        tasks = TaskManager(pilots, duplicates=False)
        yield tasks
        tasks.close(wait=False)


def test_a_worker_over_its_memory_limit_is_told_with_the_limit_and_the_log(limited, run_dir):
    log = run_dir / "logs" / "p.log"
    with pytest.raises(TaskError) as told:
        limited.submit_task(take, 400, name="t", retries=0).result(PATIENCE_S)
    assert str(told.value) == (
        f"task 't' was lost 1 time (retries is 0), the last time because its worker was ended for "
        f"taking more than the {LIMIT} bytes that a worker of pilot 'p' may take (memory_per_node "
        f"is '300MiB', workers_per_node is 1), log in {log}; give the pilot more memory_per_node "
        f"or fewer workers_per_node, or let the task take less"
    )
    assert log.exists()
    with pytest.raises(TaskError, match=f"perhaps for more than the {LIMIT} bytes .*log in {log}"):
        limited.submit_task(kill, retries=0).result(PATIENCE_S)


def test_a_worker_that_keeps_much_memory_goes_on(limited):
    assert limited.submit_task(take, 170, keep=True, seconds=1.0).result(PATIENCE_S) == 170
    assert limited.submit_task(max, 3, 7).result(PATIENCE_S) == 7


def test_a_scheduler_that_is_killed_while_something_is_shared_is_one_line(tmp_path):
    described = [PilotDescription(name="p", resource="local")]
    with PilotManager(described, run_dir=tmp_path) as pilots:
        # Where it dies between two shares, dask tries to reach it for as long as a start may take.
        pilots.scheduler.client.rpc.timeout = 2.0
        tasks = TaskManager(pilots)
        threading.Timer(0.2, os.kill, (pilots.scheduler.pid, signal.SIGKILL)).start()

        def share_on_and_on():
            limit = time.monotonic() + PATIENCE_S
            while time.monotonic() < limit:
                tasks.share(os.urandom(300_000))

        for _ in range(2):  # while it dies, and when it is dead
            with pytest.raises(PilotError) as told:
                share_on_and_on()
            assert str(told.value) == (
                f"nothing can be shared: the scheduler of the pilots has ended, log in "
                f"{tmp_path / 'logs' / 'scheduler.log'}; start the pilots anew"
            )
        tasks.close(wait=False)


# -- numbers in the environment --------------------------------------------------------
