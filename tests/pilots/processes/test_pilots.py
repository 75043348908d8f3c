"""Pilots: they start, they run calls, and they leave nothing behind."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from pathlib import Path

import pytest

import pilotcut
from pilotcut.errors import PilotError, UserError
from pilotcut.pilots import PilotManager, PilotState, local
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.pilots.local import LocalPilot
from pilotcut.pilots.worker.payload import Call, Loss
from pilotcut.tasks import TaskManager


def local_pilot(name="p", **fields):
    return PilotDescription(name=name, resource="local", **fields)


def run_calls(pilot, *calls):
    reports, arrived = [], threading.Event()
    pilot.launch(calls, lambda report: (reports.append(report), arrived.set()))
    assert arrived.wait(20)
    return reports[0]


def is_running(pid):
    """Return whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition, seconds=10.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def wait_until_gone(pids, seconds=10.0):
    limit = time.monotonic() + seconds
    while any(map(is_running, pids)) and time.monotonic() < limit:
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


def family(pid):
    """Return the process ids of the session that process `pid` leads."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _session(entry) == pid
    ]


def _session(entry):
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return None


def test_an_in_process_pilot_runs_calls_here_and_imports_no_dask():
    script = """
        import os, sys, threading
        from pilotcut.pilots.description import embedded
        from pilotcut.pilots import PilotManager
        from pilotcut.tasks import TaskManager
        with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
            assert tasks.submit_task(os.getpid).result() == os.getpid()
        assert not {"distributed", "dask"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_pilots_and_tasks_know_nothing_of_quantum():
    package = Path(pilotcut.__file__).parent
    folders = ("io", "pilots", "tasks")
    sources = [path for folder in folders for path in (package / folder).rglob("*.py")]
    assert len(sources) > 40
    below = "errors|options|io|pilots|tasks"
    above = re.compile(rf"^\s*(from|import) (qiskit|pilotcut\.(?!{below}))", re.M)
    assert [path.name for path in sources if above.search(path.read_text())] == []


def test_an_in_process_pilot_goes_through_its_states():
    manager = PilotManager(embedded())
    (pilot,) = manager.pilots
    assert pilot.state is PilotState.NEW
    manager.start()
    assert (pilot.state, manager.slots) == (PilotState.ACTIVE, 1)
    manager.close()
    manager.close()
    assert (pilot.state, manager.slots) == (PilotState.DONE, 0)
    assert list(pilot.since) == [
        PilotState.NEW,
        PilotState.ACTIVE,
        PilotState.DRAINING,
        PilotState.DONE,
    ]
    assert isinstance(run_calls(pilot, Call(os.getpid)), Loss)


def test_two_local_pilots_share_a_scheduler_and_leave_no_process_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTCUT_DASHBOARD", "on")
    descriptions = [
        local_pilot("one", threads_per_worker=3),
        local_pilot("two", setup=("echo chatter", "export SETUP=yes")),
    ]
    with PilotManager(descriptions, run_dir=tmp_path) as manager:
        one, two = manager.pilots
        groups = [one._agent.process.pid, two._agent.process.pid, manager.scheduler.pid]
        pids = [pid for group in groups for pid in family(group)]
        (first,) = run_calls(one, Call(os.getenv, ("OMP_NUM_THREADS",)))
        (second,) = run_calls(two, Call(os.getenv, ("SETUP",)))
        (pid,) = run_calls(one, Call(os.getpid))
        assert pid.value in pids
        with urllib.request.urlopen(manager.dashboard, timeout=20) as dashboard:
            assert b"Dask" in dashboard.read()
        lost, arrived = [], threading.Event()
        one.launch([Call(time.sleep, (60,))], lambda report: (lost.append(report), arrived.set()))
    assert (first.value, first.worker) == ("3", "one-0")
    assert (second.value, second.worker) == ("yes", "two-0")
    assert arrived.wait(5)
    assert isinstance(lost[0], Loss)
    assert len(pids) >= 5
    assert wait_until_gone(pids) == []
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "scheduler.log",
        "one.log",
        "two.log",
    }
    assert [pilot.state for pilot in manager.pilots] == [PilotState.DONE] * 2


def test_all_processes_end_when_their_parent_is_killed():
    script = """
        import signal
        from pilotcut.pilots import PilotManager
        from pilotcut.pilots.description import PilotDescription
        with PilotManager([PilotDescription(name="p", resource="local")]) as manager:
            print(manager.pilots[0]._agent.process.pid, manager.scheduler.pid, flush=True)
            signal.pause()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        agents = [int(pid) for pid in parent.stdout.readline().split()]
        pids = [pid for agent in agents for pid in family(agent)]
        parent.send_signal(signal.SIGKILL)
    assert len(pids) >= 3
    assert wait_until_gone(pids) == []


def test_a_failing_setup_is_told_with_the_end_of_the_log():
    manager = PilotManager([local_pilot(setup=("echo no such module >&2", "false"))])
    with pytest.raises(PilotError, match=r"p ended before it was ready.*\n.*no such module"):
        manager.start()
    assert manager.pilots[0].state is PilotState.FAILED


#: Ends processes of workers as they begin, so many of them.
DYING = """
import os, sys
from pathlib import Path
here = Path(__file__).parent
died, most = len(list(here.glob("died-*"))), int((here / "most").read_text())
if "spawn_main" in " ".join(sys.orig_argv) and died < most:
    (here / f"died-{os.getpid()}").touch()
    os._exit(9)
"""


def with_workers_that_die(place, times):
    place.joinpath("sitecustomize.py").write_text(DYING)
    place.joinpath("most").write_text(str(times))
    return local_pilot(cores_per_node=2, setup=(f"export PYTHONPATH={place}:$PYTHONPATH",))


def test_a_worker_that_dies_while_pilots_start_is_tried_again(tmp_path, caplog):
    """And that is said in one line."""
    with PilotManager([with_workers_that_die(tmp_path, 1)]) as pilots, TaskManager(pilots) as tasks:
        assert [f.result(30) for f in [tasks.submit_task(pow, 2, k) for k in range(4)]] == [
            1,
            2,
            4,
            8,
        ]
    (line,) = [r.getMessage() for r in caplog.records if "died while it started" in r.getMessage()]
    assert line.startswith("pilot 'p': worker p-")
    assert line.endswith("it is started again, time 2 of 3")


def test_workers_that_die_again_and_again_fail_the_start(tmp_path):
    manager = PilotManager([with_workers_that_die(tmp_path, 9)])
    with pytest.raises(PilotError, match="p ended before it was ready"):
        manager.start()
    assert len(list(tmp_path.glob("died-*"))) == 6  # two workers, three times


def test_a_start_that_takes_too_long_is_given_up():
    manager = PilotManager([local_pilot(setup=("sleep 60",))])
    with pytest.raises(PilotError, match="was not ready in time"):
        manager.start(timeout_s=1.0)
    assert manager.pilots[0].state is PilotState.FAILED


def move_house(place):
    os.chdir(place)
    os.umask(0o007)
    os.environ["LEFT_BY"] = "the task before"
    os.environ.pop("HOME", None)


def house():
    mask = os.umask(0o077)
    os.umask(mask)
    return os.getcwd(), mask, os.environ.get("LEFT_BY"), "HOME" in os.environ


def test_what_a_task_changes_of_its_worker_does_not_reach_the_next(tmp_path):
    """Working directory, umask and environment are each task's own."""
    with PilotManager([local_pilot()]) as pilots, TaskManager(pilots) as tasks:
        before = tasks.submit_task(house).result()
        tasks.submit_task(move_house, str(tmp_path)).result()
        assert tasks.submit_task(house).result() == before
        # Also of one that fails, and where the directory is gone.
        gone = tmp_path / "gone"
        gone.mkdir()
        assert tasks.submit_task(move_house, str(gone / "nowhere")).exception() is not None
        assert tasks.submit_task(house).result() == before


def test_a_python_of_its_own_gets_pilotcut_and_no_other_package_of_ours(tmp_path):
    """Its own environment wins: that is what it was named for."""
    pilots = PilotManager([local_pilot(python=sys.executable)], run_dir=tmp_path)
    with pilots, TaskManager(pilots) as tasks:
        # Of the standard library: this module is not on that path.
        found = tasks.submit_task(os.getenv, "PYTHONPATH").result()
    assert found == str(tmp_path / "package")


def test_a_python_that_does_not_exist_is_told():
    with pytest.raises(PilotError, match="pilot 'p': /no/python: No such file"):
        PilotManager([local_pilot(python="/no/python")]).start()


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("slurm", "pilot 'p': there is no sbatch here, expected a machine that submits to Slurm"),
        ("allocation", "pilot 'p': resource is allocation, but this process runs in no Slurm"),
    ],
)
def test_slurm_where_there_is_none_is_refused_in_one_line(
    tmp_path, monkeypatch, resource, expected
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PILOTCUT_HOST", "127.0.0.1")
    manager = PilotManager([PilotDescription(name="p", resource=resource)], run_dir=tmp_path)
    with pytest.raises(PilotError, match=expected):
        manager.start()
    assert manager.pilots[0].state is PilotState.FAILED
    assert not (tmp_path / "connection.json").exists()


def test_a_dashboard_is_wanted_or_not(tmp_path, monkeypatch):
    """Who wants none does not get one for a misspelling."""
    monkeypatch.setenv("PILOTCUT_DASHBOARD", "no")
    manager = PilotManager([local_pilot()], run_dir=tmp_path)
    with pytest.raises(UserError, match="PILOTCUT_DASHBOARD is 'no', expected on or off"):
        manager.start()
    assert manager.pilots[0].state is PilotState.FAILED


def test_pilots_without_name_of_their_own_or_none_at_all_are_refused():
    with pytest.raises(UserError, match="name is given 2 times"):
        PilotManager([*embedded(), *embedded()])
    with pytest.raises(UserError, match="no pilot is described"):
        PilotManager([])


def test_a_local_pilot_whose_agent_dies_is_replaced_within_its_cap(tmp_path):
    described = local_pilot(replace=True, most_replacements=1)
    with (
        PilotManager([described], run_dir=tmp_path) as pilots,
        TaskManager(pilots) as tasks,
    ):
        assert pilots.dashboard == ""  # others on a login node could read it
        for generation in (0, 1):
            (pilot,) = pilots.pilots
            assert pilot.generation == generation
            worker = tasks.submit_task(os.getpid).result(60)
            os.kill(os.getsid(worker), signal.SIGKILL)
            assert wait_until_gone([worker]) == []  # or it might do what comes next
            later = tasks.submit_task(max, 1, 2, retries=0)
            if generation == 0:
                assert later.result(60) == 2
        with pytest.raises(PilotError, match="no pilot is left to run it"):
            later.result(60)
        events = tmp_path / "events.jsonl"
        wait_until(lambda: "no more are asked for: 1 were replaced" in events.read_text())


def test_tasks_do_not_wait_for_a_local_pilot_that_is_no_more_asked_for(tmp_path, monkeypatch):
    def fail_later(pilot, *_):
        threading.Timer(0.05, pilot.move, (PilotState.FAILED, "no such module")).start()

    monkeypatch.setattr(LocalPilot, "start", fail_later)
    described = local_pilot(replace=True, most_replacements=9)
    with (
        PilotManager([described], run_dir=tmp_path) as pilots,
        TaskManager(pilots) as tasks,
    ):
        worker = tasks.submit_task(os.getpid).result(60)
        os.kill(os.getsid(worker), signal.SIGKILL)
        assert wait_until_gone([worker]) == []
        with pytest.raises(PilotError, match="no pilot is left to run it: no such module"):
            tasks.submit_task(max, 1, 2).result(20)


def test_a_local_pilot_that_comes_too_late_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "JOIN_S", 0.0)
    agents = []
    launch = LocalPilot.launch_process

    def launch_and_note(pilot, *where):
        launch(pilot, *where)
        agents.append(pilot._agent.process)

    monkeypatch.setattr(LocalPilot, "launch_process", launch_and_note)
    described = local_pilot(replace=True, most_replacements=1)
    with PilotManager([described], run_dir=tmp_path):
        agents[0].kill()
        wait_until(lambda: len(agents) == 2)
        wait_until(lambda: agents[1].poll() is not None)


def test_nobody_waits_for_another_pilot_once_the_scheduler_is_lost(tmp_path):
    with (
        PilotManager([local_pilot(replace=True)], run_dir=tmp_path) as pilots,
        TaskManager(pilots) as tasks,
    ):
        pilots._scheduler_lost("the scheduler has ended")
        with pytest.raises(PilotError, match="no pilot is left to run it: the scheduler has"):
            tasks.submit_task(max, 1, 2).result(10)
