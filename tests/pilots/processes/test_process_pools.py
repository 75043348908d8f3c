"""Pilots on a process pool: calls travel, and the end of a process is told in words."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
from support.ranks import needs_mpi, told_on

from pilotcut.errors import PilotError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.worker.payload import worker_threads
from pilotcut.tasks import TaskManager

_NOT_PICKLED_BY_PICKLE = lambda number: number + 1  # noqa: E731


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_calls_travel_to_processes_and_back(pool):
    with PilotManager.from_executor(pool, threads=2) as pilots, TaskManager(pilots) as tasks:
        here, there = os.getpid(), tasks.submit_task(os.getpid).result()
        assert there != here
        assert tasks.submit_task(lambda: _NOT_PICKLED_BY_PICKLE(6)).result() == 7
        assert tasks.submit_task(worker_threads).result() == 2
        assert tasks.submit_task(os.getenv, "PILOTCUT_DEVICE").result() == "CPU"
        failed = tasks.submit_task(int, "seven")
        with pytest.raises(ValueError, match="invalid literal") as caught:
            failed.result()
        assert any("failed on worker executor-" in note for note in caught.value.__notes__)
        assert failed.task.worker.endswith(tuple(map(str, pool._processes)))
    assert pool.submit(max, 1, 2).result() == 2  # it stays its maker's


def test_shared_objects_reach_each_process_of_each_manager(pool):
    for _ in range(2):
        with PilotManager.from_executor(pool) as pilots, TaskManager(pilots) as tasks:
            first = tasks.share(["a"], "key")
            assert tasks.submit_task(lambda handle: handle.get(), first).result() == ["a"]
            second = tasks.share(["b"], "other key")
            futures = [tasks.submit_task(lambda s: (os.getpid(), s.get()), second) for _ in "12345"]
            assert [future.result()[1] for future in futures] == [["b"]] * 5


def test_the_end_of_a_process_is_told_in_words():
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pool, PilotManager.from_executor(pool) as pilots, TaskManager(pilots) as tasks:
        future = tasks.submit_task(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(PilotError) as caught:
            future.result()
    assert "its executor is broken: BrokenProcessPool" in str(caught.value)
    assert str(caught.value).endswith(
        "look for what has ended a process of it, and make another executor, and pilots of that"
    )
    assert "\n" not in str(caught.value)


@needs_mpi
@pytest.mark.mpi
def test_mpi4pys_pool_runs_tasks_shared_objects_and_cut_circuits():
    told = told_on(3, "mpi_pool.py", "mpi4py.futures")
    assert (told["slots"], told["ran_on"], told["total"]) == (2, [1, 2], 10)
    assert told["error"] == "LookupError('not found')"
    assert told["same"]
