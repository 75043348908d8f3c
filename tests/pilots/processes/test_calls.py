"""Calls on their own way from managers to workers: short queues, recalls, several managers."""

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.manager import RemoteManager
from pilotcut.pilots.worker.stored_calls import Secret

PATIENCE_S = 60


def pilot(workers):
    return PilotDescription(name="p", resource="local", cores_per_node=workers)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with PilotManager([pilot(2)], run_dir=tmp_path_factory.mktemp("run")) as pilots:
        yield pilots


def transitions(dask_scheduler):
    return len(dask_scheduler.transition_log)


def test_what_stands_behind_a_slow_task_runs_as_soon_as_another_worker_idles(pair):
    with TaskManager(pair, duplicates=False) as tasks:
        slow = tasks.submit_task(time.sleep, 2.0)
        # Of these one is sent behind the slow task before anybody knows how long that takes.
        quick = [tasks.submit_task(time.sleep, 0.1) for _ in range(3)]
        began = time.monotonic()
        for future in quick:
            future.result(PATIENCE_S)
        assert time.monotonic() - began < 1.0
        assert not slow.done()
        assert {future.task.worker for future in quick} != {slow.task.worker}


def test_dask_hears_of_no_task(pair):
    client = pair.scheduler.client
    with TaskManager(pair) as tasks:
        before = client.run_on_scheduler(transitions)
        for future in [tasks.submit_task(pow, 2, k) for k in range(50)]:
            future.result(PATIENCE_S)
        assert client.run_on_scheduler(transitions) == before


def test_a_manager_gives_its_tasks_to_the_worker_that_no_other_manager_uses(pair):
    other = RemoteManager(pair.connection_file)
    with TaskManager(pair, duplicates=False) as ours, other, TaskManager(other) as theirs:
        long = ours.submit_task(time.sleep, 2.0)
        time.sleep(0.2)
        for future in [theirs.submit_task(time.sleep, 0.1) for _ in range(4)]:
            future.result(PATIENCE_S)
        assert not long.done()


def test_a_manager_that_leaves_takes_along_what_has_not_begun(pair):
    other = RemoteManager(pair.connection_file)
    with other:
        theirs = TaskManager(other, duplicates=False)
        for _ in range(4):
            theirs.submit_task(time.sleep, 0.5)
        time.sleep(0.1)
        theirs.close(wait=False)
    with TaskManager(pair) as ours:
        began = time.monotonic()
        ours.submit_task(pow, 2, 3).result(PATIENCE_S)
        assert time.monotonic() - began < 0.8  # what ran ends, and what stood behind it does not


@pytest.mark.parametrize("is_near", [True, False])
def test_big_arguments_leave_nothing_behind(is_near, monkeypatch):
    if not is_near:  # as of a worker of another machine
        monkeypatch.setattr(Secret, "is_answered_by", lambda *_: False)
    with PilotManager([pilot(1)]) as pilots, TaskManager(pilots) as tasks:
        array = np.arange(3e5)
        assert tasks.submit_task(np.sum, array).result(PATIENCE_S) == array.sum()
        for _ in range(5):
            assert tasks.submit_task(np.sum, array).result(PATIENCE_S) == array.sum()
        limit = time.monotonic() + 5.0
        while len(memories()) > 1 and time.monotonic() < limit:  # that of the secret stays
            time.sleep(0.05)
        assert len(memories()) == 1


def memories():
    """Return the descriptors of this process that stand for memory of ours."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists them
            found += [name] if "memfd:pilotcut" in os.readlink(f"/proc/self/fd/{name}") else []
    return found


def wake_ups(*pids):
    """Return how often threads of processes have waited for something by now."""
    found = 0
    for status in (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/status")):
        found += int(status.read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells of wake-ups")
def test_manager_and_scheduler_sleep_while_tasks_do(pair):
    with TaskManager(pair) as tasks:
        futures = [tasks.submit_task(time.sleep, 5.0) for _ in range(2)]
        time.sleep(1.5)  # workers that have just joined tell more
        pids = (os.getpid(), pair.scheduler.pid)
        before = wake_ups(*pids)
        time.sleep(3.0)
        # Looks for stragglers twenty times a second, and heartbeats twice, made it 40 a second.
        assert wake_ups(*pids) - before < 3 * 15
        for future in futures:
            future.result(PATIENCE_S)


def test_the_scheduler_is_asked_for_its_workers_when_some_come_or_go(pair, monkeypatch):
    asked, link = [], pair.scheduler
    run = link.client.run_on_scheduler
    monkeypatch.setattr(link, "_looked", (-1, 0.0))
    link.workers()
    monkeypatch.setattr(link.client, "run_on_scheduler", lambda what: asked.append(1) or run(what))
    assert [len(link.workers()) for _ in range(3)] == [2, 2, 2]
    assert not asked
    link.links._hear((0.0, {"address": "tls://127.0.0.1:1", "port": None}))
    assert len(link.workers()) == 2
    assert asked
