"""Whoever loses the manager loses nothing: clients, keepers and schedulers die and come back."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import psutil
import pytest

from pilotcut import PilotManager, TaskManager, UserError
from pilotcut.pilots import PilotState, daemon, registry
from pilotcut.pilots.agent import keepers
from pilotcut.tasks import wait

PILOTS = "pilots: [{name: laptop, resource: local, cores_per_node: 1}]\n"
PATIENCE_S = 60


def until(condition, limit_s=PATIENCE_S):
    limit = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pilots that are up, beside them workers of which nobody here is the parent, as of a job."""
    home = tmp_path_factory.mktemp("kept")
    (home / "pilots.yaml").write_text(PILOTS)
    run_dir = home / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        patch.setenv("PILOTCUT_CONNECTION", str(run_dir / "connection.json"))
        daemon.up(run_dir, home / "pilots.yaml")
        job = attach(run_dir, home / "job.log")
        try:
            until(lambda: state_of(run_dir, "job") is PilotState.ACTIVE)
            yield run_dir
        finally:
            (run_dir / "connection.json").unlink(missing_ok=True)  # nobody comes back any more
            if (keeper := keepers.alive(run_dir)) is not None:
                keeper.terminate()
            job.terminate()
            job.wait(20)
            until(lambda: not any(map(is_alive, scheduler_of(run_dir))), 20)


def attach(run_dir, log):
    words = ["pilots", "attach", "--connection", run_dir / "connection.json", "--name", "job"]
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "pilotcut.cli", *map(str, words), "--workers", "1"],
            stdout=out,
            stderr=out,
        )


def state_of(run_dir, name):
    entries = registry.read(run_dir / "pilots.json")
    return next((e.state for e in entries if e.description.name == name), None)


def scheduler_of(run_dir):
    """Return the processes of schedulers there, which may be nobody's children."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "agent.main scheduler" in line and str(run_dir) in line:
            found.append(process)
    return found


def kill(process):
    process.kill()
    until(lambda: not is_alive(process), 10)


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def client():
    with (
        PilotManager.from_environment() as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        yield pilots, tasks


def work(diary, number, nap_s):
    with open(diary, "ab", buffering=0) as file:
        file.write(f"{number}\n".encode())
    time.sleep(nap_s)
    return number**2


def submit(tasks, diary, count, nap_s, **options):
    return [tasks.submit_task(work, str(diary), k, nap_s, **options) for k in range(count)]


def results(futures):
    assert not wait(futures, PATIENCE_S).not_done
    return [future.result() for future in futures]


def times(diary):
    return Counter(map(int, diary.read_text().split()))


def squares(count):
    return [k**2 for k in range(count)]


@pytest.mark.parametrize("whole", [False, True])
def test_what_was_computed_while_a_connection_was_lost_is_fetched(place, tmp_path, whole):
    """That to the workers alone, and that to the scheduler too."""
    diary = tmp_path / "diary"
    with client() as (pilots, tasks):
        futures = submit(tasks, diary, 6, 0.5, pilot="job")
        until(diary.exists)
        link = pilots.scheduler
        loop = link.client.loop
        if whole:
            loop.add_callback(link.client.scheduler_comm.comm.abort)
        for worker in link.links._links.values():
            loop.add_callback(worker.close)
        assert results(futures) == squares(6)
        assert times(diary) == Counter(range(6))
        assert sum(future.task.retries for future in futures) == 0


def test_two_managers_of_one_program_do_not_take_each_other_s_results(place, tmp_path):
    diary = tmp_path / "diary"
    with client() as (_, tasks), client() as (_, others):
        futures = [submit(them, diary, 6, 0.05) for them in (tasks, others, tasks)]
        assert [results(some) for some in futures] == [squares(6)] * 3
        assert times(diary) == Counter(dict.fromkeys(range(6), 3))


def test_a_keeper_that_is_killed_is_started_again_and_no_task_is_run_twice(place, tmp_path):
    diary = tmp_path / "diary"
    with client() as (_, tasks):
        futures = submit(tasks, diary, 20, 0.3, pilot="job")
        futures[2].result(PATIENCE_S)
        first = keepers.alive(place)
        kill(first)
        assert results(futures) == squares(20)
        assert set(times(diary).values()) == {1}
        until(lambda: (now := keepers.alive(place)) is not None and now.pid != first.pid)
        # Its workers ended with it, and are started anew.
        assert tasks.submit_task(pow, 2, 5, pilot="laptop").result(PATIENCE_S) == 32


def test_a_scheduler_that_is_killed_is_started_again_and_all_join_it(place, tmp_path):
    diary = tmp_path / "diary"
    with client() as (pilots, tasks):
        shared = tasks.share([1, 2, 3])
        futures = submit(tasks, diary, 20, 0.2)
        futures[2].result(PATIENCE_S)
        done = sum(future.done() for future in futures)
        (scheduler,) = scheduler_of(place)
        kill(scheduler)
        assert results(futures) == squares(20)
        again = times(diary).total() - 20
        assert again <= 20 - done
        assert again <= 2 * pilots.slots + 2  # what was under way, and nothing else
        for name in ("job", "laptop"):
            assert tasks.submit_task(sum_of, shared, pilot=name).result(PATIENCE_S) == 6


def sum_of(shared):
    return sum(shared.get())


def test_down_ends_also_what_a_dead_keeper_has_left(place):
    (scheduler,) = scheduler_of(place)
    os.kill(scheduler.pid, signal.SIGSTOP)
    kill(keepers.alive(place))
    daemon.down(place)
    os.kill(scheduler.pid, signal.SIGCONT)
    until(lambda: not is_alive(scheduler), 10)
    assert keepers.alive(place) is None


@pytest.mark.parametrize("command", [daemon.down, lambda place: daemon.up(place, place)])
def test_a_keeper_of_another_login_node_is_left_alone(tmp_path, command):
    """Its process cannot be seen from here: its jobs would be taken for those of a dead one."""
    (tmp_path / "keeper.json").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    (tmp_path / "connection.json").write_text("{}")
    with pytest.raises(UserError, match="are kept on 'elsewhere', expected this command there"):
        command(tmp_path)


def test_a_keeper_that_dies_again_and_again_is_not_started_any_more(tmp_path):
    now = time.time()
    (tmp_path / "keeper.json").write_text(json.dumps({"begun": [now - k for k in range(6)]}))
    with pytest.raises(Exception, match=r"has died 6 times within 600 s"):
        keepers.remember(tmp_path, tmp_path / "pilots.yaml")
