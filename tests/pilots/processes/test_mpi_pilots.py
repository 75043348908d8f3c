"""MPI pilots: ranks that stay, run tasks together, and end together.

What needs no MPI comes first; the rest runs under a real mpiexec with 2 and 4 ranks.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.mpi import supervisor
from pilotcut.pilots.mpi.starters import LAUNCHER_VARIABLE, start_of_ranks
from pilotcut.pilots.mpi.supervisor import RankSupervisor, rank_command
from pilotcut.pilots.worker.node_config import node_config
from pilotcut.tasks.explain import explain
from pilotcut.tasks.policies import POLICIES, as_policy
from pilotcut.tasks.snapshots import PilotView, TaskView

#: A rank that dies must end its task within this time.
DEATH_S = 10.0
IDLE_CPU = 0.05


def mpi_pilot(name, ranks, resource="local", **fields):
    return PilotDescription(name=name, resource=resource, ranks=ranks, **fields)


def config_of(pilot, folder):
    """Return what an agent is told of a pilot."""
    more = {"connection": str(folder / "connection.json"), "local_directory": None}
    return node_config(pilot, pilot.name) | more


# -- without MPI -----------------------------------------------------------------------

PLAIN = PilotView("plain", slots=4, free=4)
TWO = PilotView("two", slots=1, free=1, cores_per_slot=2, ranks=2)


@pytest.mark.parametrize(
    ("task", "suited"),
    [
        (TaskView(1), ["plain"]),
        (TaskView(1, pilots=frozenset({"two", "plain"})), ["plain", "two"]),
        (TaskView(1, cores=2, ranks=2), ["two"]),
        (TaskView(1, cores=2, ranks=2, pilots=frozenset({"plain"})), ["plain"]),
        (TaskView(1, cores=4, ranks=2), ["plain"]),  # two threads each: too many for `two`
        (TaskView(1, cores=3, ranks=3), ["plain"]),
        (TaskView(1, cores=5, ranks=5), []),
    ],
)
def test_tasks_of_so_many_ranks_suit_the_mpi_pilot_and_others_any_ordinary_one(task, suited):
    pilots = (PilotView("plain", slots=4, free=4, mpi_pilots=(TWO,)), TWO)
    assert [pilot.name for pilot in pilots if pilot.suits(task)] == suited


@pytest.mark.parametrize("policy", POLICIES)
def test_under_every_policy_tasks_go_where_their_ranks_are(policy):
    choose = POLICIES[policy]
    if policy == "batched":
        choose = as_policy("batched:size=1")
    tasks = [TaskView(k, cores=k % 2 + 1, ranks=k % 2 + 1, cost_s=1.0) for k in range(4)]
    pilots = [PilotView("plain", slots=4, free=4, mpi_pilots=(TWO,)), TWO]
    assert {*choose(tasks, pilots, 0.0)} == {(0, "plain"), (2, "plain"), (1, "two")}


def test_an_ordinary_pilot_starts_ranks_where_no_mpi_pilot_is_active():
    assert PLAIN.suits(TaskView(1, cores=2, ranks=2))


def test_why_a_task_does_not_go_to_an_mpi_pilot_is_told():
    told = explain(TaskView(1, cores=3, ranks=3), [], [TWO], 0.0)
    assert told == "no active pilot suits it: needs 3 ranks, pilot 'two' has 2 ranks"


def test_ranks_in_a_job_are_started_by_srun_on_all_its_nodes(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    pilot = mpi_pilot("wide", 6, "slurm", nodes=2, threads_per_worker=2)
    config = config_of(pilot, Path("run"))
    command = rank_command(config, start_of_ranks(in_job=True), in_job=True)
    srun = command[: command.index(sys.executable)]
    assert srun[:3] == ["srun", "--overlap", "--mpi=pmi2"]
    assert {"--nodes=2", "--ntasks-per-node=3", "--cpus-per-task=2"} <= {*srun}
    assert srun[-2:] == ["-n", "6"]
    assert command[len(srun) + 1 : -1] == ["-m", "mpi4py", "-m", "pilotcut.pilots.mpi.rank"]
    monkeypatch.setenv(LAUNCHER_VARIABLE, "prterun --oversubscribe")
    command = rank_command(config, start_of_ranks(in_job=True), in_job=True)
    assert command[: command.index(sys.executable)] == ["prterun", "--oversubscribe", "-n", "6"]


@pytest.mark.parametrize(
    ("script", "deaths"),
    [
        ("echo ready; kill -9 $$", supervisor.MOST_SHORT_LIVES),
        # Joins once, never again.
        ("test -e once && exit 3; touch once; echo ready; exit 3", supervisor.MOST_FAILED_STARTS),
    ],
)
def test_ranks_that_die_again_and_again_are_given_up(tmp_path, monkeypatch, capsys, script, deaths):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervisor, "_PAUSE_S", 0.0)
    monkeypatch.setenv(LAUNCHER_VARIABLE, shlex.join(["bash", "-c", script, "launcher"]))

    async def outlive():
        ranks = RankSupervisor(config_of(mpi_pilot("p", 2), tmp_path), in_job=False)
        await ranks.start()
        while ranks.is_running:
            await asyncio.sleep(0.01)
        await ranks.close()
        return ranks.failure

    failure = asyncio.run(asyncio.wait_for(outlive(), 30))
    assert f"its ranks died {deaths} times in a row" in failure
    assert "pilotcut: pilot 'p': given up, for its ranks died" in capsys.readouterr().err


def test_ranks_that_cannot_start_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_PAUSE_S", 0.0)
    monkeypatch.setenv(LAUNCHER_VARIABLE, "false")

    async def start():
        ranks = RankSupervisor(config_of(mpi_pilot("p", 2), tmp_path), in_job=False)
        try:
            await ranks.start()
        finally:
            await ranks.close()

    with pytest.raises(PilotError, match="the ranks of pilot 'p' did not join"):
        asyncio.run(start())


# -- with MPI --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mpi():
    """Skip where there is no MPI."""
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    try:
        start_of_ranks(in_job=False)
    except TaskError as error:
        pytest.skip(str(error))


DOOMED = """
import os, time
from pathlib import Path
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager

def hold():
    from mpi4py import MPI
    Path(f"up-{MPI.COMM_WORLD.Get_rank()}").touch()
    time.sleep(600)

if __name__ == "__main__":
    pilot = PilotDescription(name="p", resource="local", ranks=2)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        print(pilots.pilots[0]._agent.process.pid, flush=True)
        tasks.submit_task(hold, ranks=2).result()
"""


@pytest.fixture(scope="module")
def doomed(mpi, tmp_path_factory):
    """Return a process that runs a task on an MPI pilot of its own, and where it says so."""
    folder = tmp_path_factory.mktemp("doomed")
    (folder / "script.py").write_text(DOOMED)
    command = [sys.executable, "script.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        yield SimpleNamespace(process=process, folder=folder)
        process.kill()


@pytest.fixture(scope="module")
def live(doomed, tmp_path_factory):
    """Return an ordinary pilot and two MPI pilots, with a manager of tasks."""
    described = [
        PilotDescription(name="plain", resource="local", threads_per_worker=2),
        mpi_pilot("two", 2),
        mpi_pilot("four", 4),
    ]
    run_dir = tmp_path_factory.mktemp("mpi")
    with (
        PilotManager(described, run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        yield SimpleNamespace(pilots=pilots, tasks=tasks, run_dir=run_dir)


def total(x):
    from mpi4py import MPI

    return MPI.COMM_WORLD.allreduce(x + MPI.COMM_WORLD.Get_rank())


def all_pids():
    from mpi4py import MPI

    return MPI.COMM_WORLD.gather(os.getpid())


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "pilot"), [(2, "two"), (4, "four")])
def test_all_ranks_run_the_task_and_the_result_is_that_of_rank_zero(live, ranks, pilot):
    futures = [live.tasks.submit_task(total, x, ranks=ranks) for x in range(5)]
    assert [f.result(60) for f in futures] == [ranks * x + sum(range(ranks)) for x in range(5)]
    assert {f.task.pilot for f in futures} == {pilot}
    pids = [live.tasks.submit_task(all_pids, ranks=ranks).result(60) for _ in range(2)]
    assert pids[0] == pids[1]  # nothing is started for a task
    assert len({*pids[0]}) == ranks


@pytest.mark.mpi
def test_ordinary_tasks_go_to_an_mpi_pilot_only_if_it_is_named(live):
    futures = [live.tasks.submit_task(os.getpid) for _ in range(4)]
    rank_zero, _ = live.tasks.submit_task(all_pids, ranks=2).result(60)
    assert live.tasks.submit_task(os.getpid, pilot="two").result(60) == rank_zero
    assert rank_zero not in [f.result(60) for f in futures]
    assert {f.task.pilot for f in futures} == {"plain"}


@pytest.mark.mpi
def test_what_no_mpi_pilot_suits_is_started_the_old_way_or_refused_in_one_line(live):
    named = live.tasks.submit_task(total, 1, ranks=2, pilot="plain")
    assert named.result(60) == 3
    assert named.task.pilot == "plain"
    command = live.tasks.submit_task(["echo", "hello"], ranks=2, pilot="two")
    assert command.result(60) == "hello\nhello\n"
    with pytest.raises(UserError) as refused:
        live.tasks.submit_task(total, 1, ranks=3, name="t")
    assert str(refused.value) == (
        "task 't': ranks is 3, expected as many as a pilot has: pilot 'two' has 2; "
        "pilot 'four' has 4; pilot 'plain' could start them on 2 cores"
    )


@pytest.mark.mpi
def test_what_is_shared_reaches_every_rank_once(live):
    def look(handle):
        from mpi4py import MPI

        return MPI.COMM_WORLD.gather((len(handle.get()), id(handle.get())))

    handle = live.tasks.share(list(range(1000)))
    first = live.tasks.submit_task(look, handle, ranks=4).result(60)
    assert [length for length, _ in first] == [1000] * 4
    assert live.tasks.submit_task(look, handle, ranks=4).result(60) == first


@pytest.mark.mpi
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_on_one_rank_is_soon_that_of_the_task_and_nothing_of_it_stays(live, failing):
    def fail():
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        comm.send("stale", dest=1 - failing, tag=7)
        if comm.Get_rank() == failing:
            raise ValueError(f"rank {failing} does not like it")
        comm.Barrier()

    def is_clean():
        from mpi4py import MPI

        return MPI.COMM_WORLD.allreduce(not MPI.COMM_WORLD.iprobe(), MPI.LAND)

    began = time.monotonic()
    future = live.tasks.submit_task(fail, ranks=2)
    with pytest.raises(ValueError, match=f"rank {failing} does not like it") as told:
        future.result(60)
    assert time.monotonic() - began < DEATH_S
    where = "worker two-0, rank 1" if failing else "worker two-0"
    assert f"failed on {where} of pilot 'two':\nTraceback" in told.value.__notes__[0]
    assert live.tasks.submit_task(is_clean, ranks=2).result(60) is True
    assert not [*live.run_dir.glob("last-words*")]


def kill_rank_one(path, times):
    """Kill rank 1 so many times, with the others in a collective call."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 1:
        with path.open("a") as file:
            file.write(f"{time.monotonic()}\n")
        if len(path.read_text().splitlines()) <= times:
            os.kill(os.getpid(), signal.SIGKILL)
    return MPI.COMM_WORLD.allreduce(1)


@pytest.mark.mpi
def test_a_task_whose_rank_is_killed_is_run_again_on_new_ranks(live, tmp_path):
    future = live.tasks.submit_task(kill_rank_one, tmp_path / "times", 1, ranks=4)
    assert future.result(60) == 4
    assert (future.task.retries, future.task.pilot) == (1, "four")
    killed, again = map(float, (tmp_path / "times").read_text().split())
    assert again - killed < DEATH_S


@pytest.mark.mpi
def test_the_death_of_a_rank_is_a_clear_error_once_the_budget_is_spent(live, tmp_path):
    began = time.monotonic()
    future = live.tasks.submit_task(kill_rank_one, tmp_path / "times", 1, ranks=2, retries=0)
    with pytest.raises(TaskError, match="because a rank of pilot 'two' died while all held the"):
        future.result(60)
    assert time.monotonic() - began < DEATH_S
    assert live.tasks.submit_task(total, 1, ranks=2).result(60) == 3
    assert "a rank has died (ended by SIGKILL)" in (live.run_dir / "logs/two.log").read_text()


@pytest.mark.mpi
def test_a_rank_that_ends_itself_without_an_error_is_a_death_as_any_other(live, tmp_path):
    def leave_once():
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 1 and not (tmp_path / "left").exists():
            (tmp_path / "left").touch()
            os._exit(0)
        return MPI.COMM_WORLD.allreduce(1)

    future = live.tasks.submit_task(leave_once, ranks=2)
    assert future.result(60) == 2
    assert future.task.retries == 1


@pytest.mark.mpi
def test_idle_ranks_sleep(live):
    pids = [
        pid for ranks in (2, 4) for pid in live.tasks.submit_task(all_pids, ranks=ranks).result(60)
    ]
    processes = [psutil.Process(pid) for pid in pids]
    time.sleep(1.0)  # after a task they look for the next one more often

    def spent():
        return [sum(process.cpu_times()[:2]) for process in processes]

    before, began = spent(), time.monotonic()
    time.sleep(3.0)
    seconds = time.monotonic() - began
    shares = [(b - a) / seconds for a, b in zip(before, spent(), strict=True)]
    assert max(shares) < IDLE_CPU, shares


def with_children(pid):
    """Return a process and all below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def wait_for(paths):
    """Wait until all paths exist."""
    limit = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.mpi
def test_no_process_is_left_when_the_parent_is_killed(doomed):
    processes = with_children(int(doomed.process.stdout.readline()))
    wait_for([doomed.folder / f"up-{rank}" for rank in range(2)])
    doomed.process.kill()
    assert len(processes) >= 5  # agent, mpiexec, its proxy, and two ranks
    assert psutil.wait_procs(processes, 10)[1] == []


def hold_forever(path):
    """Hang: rank 0 in its sleep, rank 1 in a barrier."""
    from mpi4py import MPI

    (path / f"up-{MPI.COMM_WORLD.Get_rank()}").touch()
    if MPI.COMM_WORLD.Get_rank() == 0:
        time.sleep(600)
    MPI.COMM_WORLD.Barrier()


@pytest.mark.mpi
def test_idle_ranks_leave_and_busy_ones_are_ended_when_their_pilots_close(live, tmp_path):
    """The last test here: it ends what the others use."""
    assert live.tasks.submit_task(total, 1, ranks=4).result(60) == 10  # all is up again
    live.tasks.submit_task(hold_forever, tmp_path, ranks=2)
    wait_for([tmp_path / f"up-{rank}" for rank in range(2)])
    agents = [pilot._agent.process.pid for pilot in live.pilots.pilots]
    processes = [process for pid in agents for process in with_children(pid)]
    live.tasks.close(wait=False)
    live.pilots.close()
    assert len(processes) >= 14  # three agents, a worker, two launchers with proxies, six ranks
    assert psutil.wait_procs(processes, 5)[1] == []
    last = (live.run_dir / "logs/four.log").read_text().rpartition("Registered to")[2]
    assert "Abort" not in last
    assert "died" not in last
