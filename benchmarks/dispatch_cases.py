"""Cases of dispatch under load, one to a process: what `dispatch.py --cases` runs of each build.

Only what is public is used, so that a build of before can run them: with PYTHONPATH at it.

    python benchmarks/dispatch_cases.py CASE SIDE [NUMBERS...]     (a JSON object on stdout)

sleep SLOTS SECONDS TASKS     share of the bound, and CPU of manager and scheduler a task
hollow SLOTS SECONDS TASKS    the same with hollow workers
queued TASKS                  memory of the manager with so many tasks queued
argument MEGABYTES RUNS       seconds of a task with such an argument
far_argument MEGABYTES RUNS   the same for a worker of another machine, as it were
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

#: Hollow workers in a process.
IN_ONE = 250
#: The name of the pilot that tasks go to.
PILOT = "p"

#: Submits a function with arguments and returns its future; the processes of manager and scheduler.
Side = tuple[Callable[..., Any], list[int]]


def main(argv: list[str]) -> None:
    """Run one case and print what was measured."""
    logging.disable(logging.CRITICAL)
    case, side, *numbers = argv
    print(json.dumps(CASES[case](side, *map(float, numbers))))


# -- sides -----------------------------------------------------------------------------


@contextlib.contextmanager
def workers(side: str, slots: int) -> Iterator[Side]:
    """Yield a side with so many worker processes of this machine."""
    if side == "ours":
        with ours(slots) as (tasks, _, pids):
            yield lambda *call: tasks.submit_task(*call, pilot=PILOT, duplicated=False), pids
        return
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"security": True, "protocol": "tls"} if side == "dask-tls" else {}
    with (
        LocalCluster(
            n_workers=slots, threads_per_worker=1, dashboard_address=None, **options
        ) as cluster,
        Client(cluster) as client,
    ):
        yield lambda *call: client.submit(*call, pure=False), [os.getpid()]


@contextlib.contextmanager
def ours(slots: int) -> Iterator[tuple[Any, Any, list[int]]]:
    """Yield a task manager, its pilots, and the processes of manager and scheduler."""
    from pilotcut import PilotManager, TaskManager
    from pilotcut.pilots.description import PilotDescription

    described = PilotDescription(name=PILOT, resource="local", cores_per_node=slots)
    with (
        tempfile.TemporaryDirectory() as run_dir,
        contextlib.closing(PilotManager([described], run_dir=run_dir)) as pilots,
    ):
        pilots.start(timeout_s=300.0)
        with TaskManager(pilots) as tasks:
            yield tasks, pilots, [os.getpid(), pilots.scheduler.pid]


@contextlib.contextmanager
def hollow_workers(slots: int) -> Iterator[Side]:
    """Yield our side with so many hollow workers."""
    with ours(1) as (tasks, pilots, pids), contextlib.ExitStack() as stack:
        for first in range(0, slots, IN_ONE):
            count = min(IN_ONE, slots - first)
            program = str(Path(__file__).with_name("hollow_workers.py"))
            words = [str(pilots.connection_file), "hollow", str(count), str(first)]
            process = subprocess.Popen(
                [sys.executable, program, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(end, process)
            assert process.stdout is not None
            process.stdout.readline()
        while not any(p.name == "hollow" and p.slots == slots for p in pilots.pilots):
            time.sleep(0.1)
        yield lambda *call: tasks.submit_task(*call, pilot="hollow", duplicated=False), pids


def end(process: subprocess.Popen[str]) -> None:
    """End hollow workers: they do not take leave of each other."""
    process.kill()
    process.wait()


# -- cases -----------------------------------------------------------------------------


def sleep(side: str, slots: float, seconds: float, count: float) -> dict[str, float]:
    """Return what waiting tasks cost on worker processes."""
    with workers(side, int(slots)) as (submit, pids):
        return waits(submit, pids, int(slots), seconds, int(count))


def hollow(side: str, slots: float, seconds: float, count: float) -> dict[str, float]:
    """Return what waiting tasks cost on hollow workers."""
    with hollow_workers(int(slots)) as (submit, pids):
        return waits(submit, pids, int(slots), seconds, int(count))


def waits(
    submit: Callable[..., Any], pids: list[int], slots: int, seconds: float, count: int
) -> dict[str, float]:
    """Return the share of the bound, and CPU time a task."""
    gather([submit(time.sleep, seconds) for _ in range(2 * slots)])  # connections, imports, kinds
    before, started = cpu_s(pids), time.perf_counter()
    gather([submit(time.sleep, seconds) for _ in range(count)])
    took = time.perf_counter() - started
    share = -(-count // slots) * seconds / took
    return {"share": share, "cpu_ms": 1e3 * (cpu_s(pids) - before) / count}


def gather(futures: list[Any]) -> None:
    """Wait for all."""
    for future in futures:
        future.result()


def cpu_s(pids: list[int]) -> float:
    """Return the CPU seconds of some processes."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(time.user + time.system for time in times)


def queued(side: str, count: float) -> dict[str, float]:
    """Return the manager's memory with so many tasks queued, in MiB."""
    with workers(side, 2) as (submit, pids):
        gather([submit(time.sleep, 0.01) for _ in range(8)])
        me = psutil.Process()
        before = me.memory_info().rss
        blockers = [submit(time.sleep, 3600.0) for _ in range(4)]
        futures = [submit(time.sleep, 0.01 + 1e-9 * k) for k in range(int(count))]
        time.sleep(3.0)  # the inbox is emptied
        held = me.memory_info().rss
        assert not any(future.done() for future in blockers + futures), pids
        print(json.dumps({"mib": held / 2**20, "before_mib": before / 2**20}), flush=True)
        kill_all()
    return {}


def kill_all() -> None:
    """End everything at once: a hundred thousand tasks would be canceled one by one."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    sys.stdout.flush()
    os._exit(0)


def argument(side: str, megabytes: float, runs: float) -> dict[str, float]:
    """Return the median and the least time of a task with a big argument, in seconds."""
    with workers(side, 1) as (submit, _):
        array = np.random.default_rng(0).random(int(megabytes * 1e6 / 8))
        taken = []
        for turn in range(int(runs) + 1):
            array[0] = turn  # dask would know it again
            started = time.perf_counter()
            assert submit(first_and_size, array).result() == (turn, array.size)
            taken.append(time.perf_counter() - started)
    return {"median_s": statistics.median(taken[1:]), "least_s": min(taken[1:])}


def far_argument(side: str, megabytes: float, runs: float) -> dict[str, float]:
    """Return the same for a worker that is taken for one of another machine."""
    from pilotcut.pilots.worker.stored_calls import Secret

    Secret.is_answered_by = lambda *_: False  # type: ignore[method-assign]
    return argument(side, megabytes, runs)


def first_and_size(array: Any) -> tuple[float, int]:
    """Touch an array."""
    return float(array[0]), array.size


CASES: dict[str, Callable[..., dict[str, float]]] = {
    "sleep": sleep,
    "hollow": hollow,
    "queued": queued,
    "argument": argument,
    "far_argument": far_argument,
}


if __name__ == "__main__":
    main(sys.argv[1:])
