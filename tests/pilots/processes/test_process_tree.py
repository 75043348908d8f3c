"""Tasks start processes, and none of these outlives the worker of its task."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support import offspring

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import TaskError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.mpi.starters import start_of_ranks
from pilotcut.pilots.worker.process_tree import end_all, is_gone, marked, new_mark

PATIENCE_S = 60


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.mpi)])
def pilot(request, tmp_path_factory):
    """Return tasks on an ordinary pilot, or on one of two ranks, and how they are submitted."""
    if request.param > 1:
        pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
        try:
            start_of_ranks(in_job=False)
        except TaskError as error:
            pytest.skip(str(error))
    described = PilotDescription(name="p", resource="local", ranks=request.param)
    run_dir = tmp_path_factory.mktemp("lineage")
    with PilotManager([described], run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:

        def run(fn, *args):
            return tasks.submit_task(fn, *args, ranks=request.param).result(PATIENCE_S)

        run.pilots, run.tasks, run.ranks = pilots, tasks, request.param
        yield run


def assert_gone(pids, seconds=15.0):
    limit = time.monotonic() + seconds
    while not all(map(is_gone, pids)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert [pid for pid in pids if not is_gone(pid)] == []


def test_a_task_has_processes_of_its_own(pilot):
    assert pilot(offspring.in_pool, "fork") == [0, 1, 4, 9]
    assert pilot(offspring.in_executor) == [0, 1, 4, 9]
    if pilot.ranks == 1:  # there is nothing special about ranks here, and torch comes slowly
        assert pilot(offspring.in_pool, "spawn") == [0, 1, 4, 9]
        assert pilot(offspring.in_loader) == [6.0, 22.0]


def test_a_process_of_a_task_ends_by_sigterm_and_its_worker_does_not(pilot):
    worker = pilot(os.getpid)
    assert pilot(offspring.ended_by_sigterm) == [-signal.SIGTERM] * 20
    assert pilot(os.getpid) == worker


def test_what_a_killed_worker_has_started_ends_with_it_and_another_takes_its_place(pilot):
    worker, left = pilot(offspring.leave_some_behind)
    assert not any(map(is_gone, left))
    os.kill(worker, signal.SIGKILL)
    assert_gone([worker, *left])
    assert pilot(os.getpid) != worker


def test_what_tasks_have_started_ends_with_their_pilot(pilot):
    """The last test here: it ends what the others use."""
    _, left = pilot(offspring.leave_some_behind)
    assert not any(map(is_gone, left))
    pilot.tasks.close()
    pilot.pilots.close()
    assert_gone(left, seconds=1.0)


OF_A_SCRIPT = """
    import multiprocessing
    from pilotcut import PilotManager, TaskManager
    from pilotcut.pilots.description import PilotDescription

    class Point:
        def __init__(self, x):
            self.x = x

    def point(x):
        return Point(x)

    def put(queue, x):
        queue.put(point(x).x)

    def work():
        with multiprocessing.Pool(2) as pool:
            found = [p.x for p in pool.map(point, range(3))]
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=put, args=(queue := context.Queue(), 3))
        process.start()
        return [*found, queue.get(timeout=60), multiprocessing.get_start_method()]

    if __name__ == "__main__":
        pilot = PilotDescription(name="p", resource="local")
        with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
            print(*tasks.submit_task(work).result(60), multiprocessing.get_start_method())
"""


def test_processes_run_what_a_script_defines_as_they_would_in_the_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(OF_A_SCRIPT))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    *found, there, here = done.stdout.split()
    assert found == ["0", "1", "2", "3"]
    assert there == here


SCRIPT = """
    import signal, sys
    sys.path.insert(0, sys.argv[1])
    from support import offspring
    from pilotcut import PilotManager, TaskManager
    from pilotcut.pilots.description import PilotDescription
    with (
        PilotManager([PilotDescription(name="p", resource="local")]) as pilots,
        TaskManager(pilots) as tasks,
    ):
        worker, left = tasks.submit_task(offspring.leave_some_behind).result()
        print(pilots.pilots[0]._agent.process.pid, worker, *left, flush=True)
        signal.pause()
"""


@pytest.mark.parametrize("killed", ["manager", "agent"])
def test_what_tasks_have_started_ends_with_whoever_is_killed_above_them(killed):
    folder = Path(offspring.__file__).parents[1]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as manager:
        agent, worker, *left = map(int, manager.stdout.readline().split())
        os.kill(manager.pid if killed == "manager" else agent, signal.SIGKILL)
        try:
            assert_gone([agent, worker, *left])
        finally:
            manager.kill()


def test_what_tasks_of_an_attached_pilot_have_started_ends_with_it(tmp_path):
    here = PilotDescription(name="here", resource="local")
    with PilotManager([here], run_dir=tmp_path) as pilots, TaskManager(pilots) as tasks:
        command = [sys.executable, "-m", "pilotcut.cli", "pilots", "attach"]
        options = ["--connection", str(pilots.connection_file), "--name", "far", "--workers", "1"]
        paths = os.environ | {"PYTHONPATH": str(Path(offspring.__file__).parents[1])}
        with subprocess.Popen(
            [*command, *options], stderr=subprocess.DEVNULL, env=paths
        ) as attached:
            try:
                limit = time.monotonic() + PATIENCE_S
                while "far" not in [pilot.name for pilot in pilots.pilots]:
                    assert time.monotonic() < limit
                    time.sleep(0.05)
                future = tasks.submit_task(offspring.leave_some_behind, pilot="far")
                worker, left = future.result(PATIENCE_S)
                assert not any(map(is_gone, left))
            finally:
                attached.terminate()
            assert attached.wait(PATIENCE_S) == 0
            assert_gone([worker, *left], seconds=1.0)


def test_a_mark_ends_what_is_below_it_and_nothing_else():
    mark = new_mark()
    below, beside = new_mark(mark), new_mark()
    processes = [
        subprocess.Popen(["sleep", "600"], env=os.environ | marked(own))
        for own in (mark, below, beside, f"{mark}0")
    ]
    try:
        end_all(mark)
        assert [process.poll() is not None for process in processes] == [True, True, False, False]
    finally:
        for process in processes:
            process.kill()
            process.wait()
