"""What happens to tasks that are lost, that fail, that kill their workers, and that straggle."""

import os
import signal
import time

import pytest

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import TaskError
from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.pilots.worker.payload import Loss
from pilotcut.tasks import launch_number, wait
from pilotcut.tasks.runtime_estimates import FACTOR, LEAST_KNOWN, LEAST_S, RunTimes


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    pilot = PilotDescription(name="laptop", resource="local", cores_per_node=2)
    with PilotManager([pilot], run_dir=tmp_path_factory.mktemp("run")) as pilots:
        yield pilots


@pytest.fixture
def tasks(laptop):
    with TaskManager(laptop) as manager:
        yield manager


def die(_=None):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_workers_is_quarantined_and_the_others_go_on(tasks):
    futures = [tasks.submit_task(pow, k, 2) for k in range(20)]
    deadly = tasks.submit_task(die, 1, retries=5)
    futures += [tasks.submit_task(pow, k, 2) for k in range(20, 40)]
    with pytest.raises(TaskError, match=r"is quarantined \(fingerprint (\w+)\): 3 workers died"):
        deadly.result(60)
    assert [f.result(30) for f in futures] == [k**2 for k in range(40)]
    mark = str(deadly.exception()).split("fingerprint ")[1].split(")")[0]
    again = tasks.submit_task(die, 1)
    with pytest.raises(TaskError, match=f"is quarantined: one like it .*{mark}.* has killed"):
        again.result(5)
    assert tasks.submit_task(die, 2, retries=0).exception(30) is not None  # another one is tried


def test_what_stands_in_line_behind_a_deadly_task_is_not_blamed(tasks):
    deadly = tasks.submit_task(die, 10, retries=0)
    futures = [tasks.submit_task(pow, k, 2, retries=0) for k in range(16)]
    assert [f.result(30) for f in futures] == [k**2 for k in range(16)]
    assert {f.task.retries for f in futures} == {0}
    assert isinstance(deadly.exception(30), TaskError)


def fail_until(path, times):
    with path.open("a") as file:
        file.write("x")
    if len(path.read_text()) <= times:
        raise ValueError("not yet")
    return "at last"


def test_errors_of_the_task_have_a_budget_of_their_own(tasks, tmp_path):
    future = tasks.submit_task(fail_until, tmp_path / "a", 2, error_retries=2)
    assert future.result(30) == "at last"
    assert future.task.retries == 2
    too_few = tasks.submit_task(fail_until, tmp_path / "b", 2, error_retries=1, retries=9)
    with pytest.raises(ValueError, match="not yet"):
        too_few.result(30)
    assert len((tmp_path / "b").read_text()) == 2


class FleetingPilot(Pilot):
    """Loses every call with the whole pilot, a number of times, then runs them."""

    def __init__(self, losses):
        super().__init__(embedded()[0])
        self.losses = losses
        self.loss = Loss("its job was preempted", preempted=True)
        self.move(PilotState.ACTIVE)

    def launch(self, calls, report):
        if self.losses:
            self.losses -= 1
            report(self.loss)
        else:
            from pilotcut.pilots.worker.payload import run_call

            report([run_call(call, "w") for call in calls])

    def close(self):
        self.move(PilotState.DONE)


def fleeting(losses):
    manager = PilotManager(embedded())
    manager._pilots = (FleetingPilot(losses),)
    return manager


def test_preemption_does_not_eat_the_budget_for_lost_workers():
    with fleeting(15) as pilots, TaskManager(pilots) as tasks:
        assert tasks.submit_task(pow, 2, 3, retries=0).result(10) == 8
    with fleeting(15) as pilots, TaskManager(pilots, most_preemptions=3) as tasks:
        future = tasks.submit_task(pow, 2, 3)
        with pytest.raises(TaskError, match=r"lost 4 times \(most_preemptions is 3\)"):
            future.result(10)


def straggle(path, delay_s):
    """The first run takes long, any later one does not."""
    first = not path.exists()
    path.touch()
    time.sleep(delay_s if first else 0.1)
    return first


def test_a_straggler_is_duplicated_and_the_first_result_wins(tasks, tmp_path, laptop):
    # Not so short that a worker which is late to begin, on a busy machine, is a straggler: then the
    # duplicate would begin first, and the other one would win.
    for future in [tasks.submit_task(straggle, tmp_path / f"{k}", 0.5) for k in range(LEAST_KNOWN)]:
        future.result(30)
    started = time.monotonic()
    slow = tasks.submit_task(straggle, tmp_path / "slow", 20.0)
    assert slow.result(30) is False
    assert time.monotonic() - started < 10
    (run_dir,) = {laptop.connection_file.parent}
    told = [e for e in read_jsonl(run_dir / "events.jsonl") if "straggles" in e.get("reason", "")]
    assert [e["id"] for e in told] == [slow.task.id]
    assert (slow.task.launches, slow.task.launch) == (2, 1)


def launched(path, times):
    fail_until(path, times)
    return launch_number()


def test_a_task_knows_how_often_it_was_launched_before(tasks, tmp_path):
    future = tasks.submit_task(launched, tmp_path / "b", 2, error_retries=2)
    assert future.result(30) == 2
    assert (future.task.launches, future.task.launch) == (3, 2)
    assert tasks.submit_task(launch_number).result(30) == 0
    assert launch_number() == 0


def test_without_duplicates_a_straggler_is_waited_for(laptop, tmp_path):
    with TaskManager(laptop, duplicates=False) as tasks:
        for k in range(LEAST_KNOWN):
            tasks.submit_task(straggle, tmp_path / f"{k}", 0.1).result(30)
        assert tasks.submit_task(straggle, tmp_path / "slow", 2.0).result(30) is True


def test_nobody_is_a_straggler_after_so_short_a_time_that_a_duplicate_would_not_pay():
    times = RunTimes()
    for _ in range(LEAST_KNOWN):
        times.add(("module", "quick"), 0.005)
        times.add(("module", "slow"), 0.1)
    assert times.straggles_after(("module", "quick")) == LEAST_S
    assert times.straggles_after(("module", "slow")) == pytest.approx(FACTOR * 0.1)


def test_the_mark_of_a_straggler_is_not_set_by_stragglers():
    times = RunTimes()
    kind = ("module", "fn")
    for k in range(40):
        times.add(kind, 1.2 if k % 5 == 0 else 0.2)
    assert times.straggles_after(kind) == pytest.approx(FACTOR * 0.2)
    assert times.straggles_after(("module", "other")) == float("inf")


def test_events_tell_the_life_of_a_task(tasks, laptop):
    future = tasks.submit_task(pow, 2, 5, name="mine")
    assert future.result(30) == 32
    number = future.task.id
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        events = read_jsonl(laptop.connection_file.parent / "events.jsonl")
        mine = [e for e in events if e["event"] == "task" and e["task"] == "mine"]
        if [e["state"] for e in mine] == ["bound", "done"]:
            break
        time.sleep(0.05)
    assert [(e["id"], e["state"], e["pilot"]) for e in mine] == [
        (number, "bound", "laptop"),
        (number, "done", "laptop"),
    ]
    assert mine[-1]["worker"].startswith("laptop-")
    assert mine[0]["time"] <= mine[1]["time"]
    pilots = [e for e in events if e["event"] == "pilot"]
    assert [e["state"] for e in pilots] == ["starting", "active"]


def ranks_and_sum(x):
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_size(), MPI.COMM_WORLD.allreduce(x + MPI.COMM_WORLD.Get_rank())


def fail_on_rank_one():
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 1:
        raise ValueError("rank one does not like it")
    MPI.COMM_WORLD.Barrier()


@pytest.mark.mpi
def test_a_task_of_several_ranks_returns_the_result_of_rank_zero(tasks):
    pytest.importorskip("mpi4py")
    assert tasks.submit_task(ranks_and_sum, 5, ranks=2).result(60) == (2, 11)
    assert tasks.submit_task(["echo", "hello"], ranks=2).result(60) == "hello\nhello\n"
    with pytest.raises(ValueError, match="rank one does not like it"):
        tasks.submit_task(fail_on_rank_one, ranks=2).result(60)
    with pytest.raises(TaskError, match="2 ranks of 'false' ended with exit status"):
        tasks.submit_task(["false"], ranks=2).result(60)


class DyingPilot(FleetingPilot):
    """Loses a worker with every call, a number of times, then runs them."""

    def __init__(self, name, losses):
        super().__init__(losses)
        self.description = self.description.model_copy(update={"name": name})
        self.loss = Loss("the worker died")


@pytest.mark.parametrize(("pilots_that_lose_workers", "quarantined"), [(5, 0), (3, 3)])
def test_where_workers_die_everywhere_no_task_is_to_blame(pilots_that_lose_workers, quarantined):
    names = "abcde"[:pilots_that_lose_workers]
    manager = PilotManager(embedded())
    manager._pilots = tuple(DyingPilot(name, 5) for name in names)
    with manager as pilots, TaskManager(pilots) as tasks:
        futures = [tasks.submit_task(pow, 2, 3, pilot=name, retries=9) for name in names]
        wait(futures, 10)
        errors = [future.exception(0) for future in futures]
        assert sum(error is not None for error in errors) == quarantined
        assert all("is quarantined" in str(error) for error in errors if error is not None)
