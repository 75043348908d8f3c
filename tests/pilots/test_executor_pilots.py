"""Executor pilots: any executor runs tasks, its failures are told in words, and nothing leaks."""

import json
import pickle
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

import pytest

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.pilots.worker import executor_calls
from pilotcut.pilots.worker.executor_calls import Behind, KeptObjects, SharedWithExecutor
from pilotcut.tasks import TaskManager


class Inline:
    """An executor that runs each call where it is submitted; the first ones come to what is said.

    What it says of itself is in `num_workers`, as mpi4py's executor has it.
    """

    num_workers = 2

    def __init__(self, *ends):
        self.ends = list(ends)
        self.calls = 0

    def submit(self, fn, /, *args):
        future = Future()
        self.calls += 1
        end = self.ends.pop(0) if self.ends and self.calls > 1 else None
        if end == "canceled":
            future.cancel()
            future.set_running_or_notify_cancel()
        elif end is not None:
            future.set_exception(end)
        else:
            future.set_result(fn(*args))
        return future


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_tasks_run_on_the_threads_of_an_executor_which_stays_its_makers(pool):
    args = [1, 2]
    with PilotManager.from_executor(pool) as pilots, TaskManager(pilots) as tasks:
        assert (pilots.slots, tasks.slots) == (2, 2)
        assert tasks.submit_task(lambda given: given is args, args).result()
        shared = tasks.share(args)
        assert tasks.submit_task(lambda: shared.get() is args).result()
        names = {tasks.submit_task(threading.current_thread).result().name for _ in range(4)}
    assert names <= {thread.name for thread in pool._threads}
    assert [pilot.state for pilot in pilots.pilots] == [PilotState.DONE]
    assert pool.submit(max, 1, 2).result() == 2


def test_what_an_executor_does_not_say_is_asked_for():
    class Silent(Inline):
        num_workers = None

    assert PilotManager.from_executor(Inline()).slots == 2
    assert PilotManager.from_executor(Silent(), slots=5, name="far").slots == 5
    with pytest.raises(UserError, match=r"slots is None, and a Silent does not say .* slots=4"):
        PilotManager.from_executor(Silent())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"executor": 7}, "executor is 7, expected an object with the interface of"),
        ({"slots": 0}, "slots is 0, expected a whole number from 1 to"),
        ({"slots": 2.5}, "slots is 2.5, expected a whole number"),
        ({"threads": 0}, "threads is 0, expected a whole number from 1 to"),
        ({"name": "a pilot"}, "name is 'a pilot', expected letters, digits"),
        ({"name": 7}, "name is 7, expected letters, digits"),
    ],
)
def test_a_wrong_argument_is_one_line(pool, options, told):
    with pytest.raises(UserError) as caught:
        PilotManager.from_executor(options.pop("executor", pool), **options)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ({"ranks": 2}, "ranks is 2, expected 1: an executor's workers start no ranks; use pilots"),
        ({"gpus": 1}, "gpus is 1, more than any pilot has"),
        ({"cores": 3}, "cores is 3 .* more than any pilot has"),
    ],
)
def test_what_an_executor_cannot_do_is_refused(pool, needs, told):
    with (
        PilotManager.from_executor(pool) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(UserError, match=told),
    ):
        tasks.submit_task(max, 1, 2, **needs)


def test_an_executor_that_is_shut_down_is_refused_at_once():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    manager = PilotManager.from_executor(pool)
    with pytest.raises(PilotError, match="pilot 'executor': its executor takes no calls: Runtime"):
        manager.start()


def test_an_executor_that_is_shut_down_under_way_ends_its_pilot():
    pool = ThreadPoolExecutor(1)
    with PilotManager.from_executor(pool) as pilots, TaskManager(pilots) as tasks:
        assert tasks.submit_task(max, 1, 2).result() == 2
        pool.shutdown()
        with pytest.raises(PilotError, match=r"takes no calls: .*shutdown; make another executor"):
            tasks.submit_task(max, 1, 2).result()
        assert pilots.pilots[0].state is PilotState.FAILED


def test_a_broken_executor_ends_its_pilot_with_the_reason():
    broken = Inline(BrokenExecutor("a process was ended"))
    with PilotManager.from_executor(broken) as pilots, TaskManager(pilots) as tasks:
        with pytest.raises(PilotError, match=r"is broken: .*a process was ended; look"):
            tasks.submit_task(max, 1, 2).result()
        assert pilots.slots == 0


def test_a_first_call_that_fails_ends_the_pilot_with_the_reason():
    class Other(Inline):
        def submit(self, fn, /, *args):
            future = Future()
            future.set_exception(ModuleNotFoundError("No module named 'pilotcut'"))
            return future

    with (
        PilotManager.from_executor(Other()) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(PilotError, match="No module named 'pilotcut'; let its workers import"),
    ):
        tasks.submit_task(max, 1, 2).result()


def test_workers_with_other_versions_are_refused(monkeypatch):
    monkeypatch.setattr(executor_calls, "installed", lambda: {"python": "2.7", "qiskit": "0.1"})
    with (
        PilotManager.from_executor(Inline()) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(PilotError, match=r"qiskit is 0.1 here and .*; install the same versions"),
    ):
        tasks.submit_task(max, 1, 2).result()


@pytest.mark.parametrize("end", [OSError("the node went away"), "canceled"])
def test_a_call_that_an_executor_loses_runs_again(end):
    executor = Inline(end)
    with PilotManager.from_executor(executor) as pilots, TaskManager(pilots) as tasks:
        future = tasks.submit_task(max, 1, 2)
        assert future.result() == 2
        assert future.task.retries == 1


def test_a_call_that_an_executor_loses_again_and_again_fails_in_words():
    executor = Inline(*[OSError("the node went away"), None] * 9)
    with (
        PilotManager.from_executor(executor) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(TaskError, match="the executor lost the call: OSError: the node went away"),
    ):
        tasks.submit_task(max, 1, 2, retries=1).result()


def test_closing_cancels_what_has_not_begun_and_waits_for_what_runs():
    begun, done = threading.Event(), []

    def slow():
        begun.set()
        time.sleep(0.3)
        done.append(1)

    with ThreadPoolExecutor(1) as pool:
        pilots = PilotManager.from_executor(pool)
        tasks = TaskManager(pilots)
        futures = [tasks.submit_task(slow) for _ in range(2)]
        begun.wait(5)
        tasks.close(wait=False)
        pilots.close()
        assert done == [1]
        assert all(isinstance(future.exception(), TaskError) for future in futures)
    assert done == [1]


def test_an_executor_that_loses_every_call_ends_its_pilot():
    executor = Inline(*[OSError("its process is gone")] * 9)
    with (
        PilotManager.from_executor(executor) as pilots,
        TaskManager(pilots) as tasks,
        pytest.raises(PilotError, match="its executor is broken: OSError: its process is gone"),
    ):
        tasks.submit_task(max, 1, 2).result()


def test_a_future_that_cannot_be_canceled_is_let_go():
    class Stubborn(ThreadPoolExecutor):
        def submit(self, fn, /, *args):
            future = super().submit(fn, *args)
            future.cancel = lambda: 1 / 0
            return future

    begun = threading.Event()
    with Stubborn(1) as pool:
        pilots = PilotManager.from_executor(pool)
        tasks = TaskManager(pilots)
        tasks.submit_task(begun.set)
        begun.wait(5)
        tasks.submit_task(time.sleep, 0.1)
        tasks.close(wait=False)
        pilots.close()
        assert pilots.pilots[0].state is PilotState.DONE


def test_a_description_of_an_executor_is_not_enough_to_start_it(pool):
    described = [pilot.description for pilot in PilotManager.from_executor(pool).pilots]
    with pytest.raises(UserError, match=r"resource is executor, .*; use PilotManager.from_exec"):
        PilotManager(described)


def test_its_events_are_in_the_run_directory(pool, tmp_path):
    run_dir = tmp_path / "run"
    with PilotManager.from_executor(pool, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        tasks.submit_task(max, 1, 2).result()
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    states = [event["state"] for event in events if event["event"] == "pilot"]
    assert states == ["starting", "active", "draining", "done"]
    assert any(event["event"] == "task" and event["state"] == "done" for event in events)


def test_a_manager_of_an_executor_says_what_to_do_instead_of_pickling_it(pool):
    with pytest.raises(UserError, match=r"make pilots by PilotManager.from_executor"):
        pickle.dumps(PilotManager.from_executor(pool))


# -- what was shared ---------------------------------------------------------------------


class Process:
    """A process of an executor: what it keeps, by key."""

    def __init__(self):
        self.kept = KeptObjects()
        self.has = {}

    def call(self, state, monkeypatch):
        monkeypatch.setattr(executor_calls, "keep_packed", self.has.__setitem__)
        monkeypatch.setattr(executor_calls, "drop_shared", self.has.pop)
        return self.kept.take(state)


def test_shared_objects_travel_once_to_each_process(monkeypatch):
    ours, one, two = SharedWithExecutor(), Process(), Process()
    assert one.call(ours.state(), monkeypatch) is None  # nothing is shared yet
    ours.share("a", lambda: b"A")
    behind = one.call(ours.state(), monkeypatch)
    assert behind == Behind(frozenset())
    assert one.call(ours.update(behind, whole=False), monkeypatch) is None
    assert one.call(ours.state(), monkeypatch) is None

    ours.share("b", lambda: b"B")
    behind = one.call(ours.state(), monkeypatch)
    assert behind == Behind(frozenset("a"))
    update = ours.update(behind, whole=False)
    assert update.blobs == {"b": b"B"}
    # It comes to another process, which lacks more: that says so, and gets all.
    behind = two.call(update, monkeypatch)
    assert behind == Behind(frozenset("b"))
    assert two.call(ours.update(behind, whole=True), monkeypatch) is None
    assert two.has == {"a": b"A", "b": b"B"}

    ours.unshare("a")
    assert (
        one.call(ours.update(one.call(ours.state(), monkeypatch), whole=False), monkeypatch) is None
    )
    assert one.has == {"b": b"B"}


def test_a_process_forgets_what_old_managers_have_shared(monkeypatch):
    process = Process()
    for number in range(executor_calls.MOST_OWNERS + 2):
        ours = SharedWithExecutor()
        ours.share(str(number), bytes)
        assert process.call(ours.update(Behind(frozenset()), whole=True), monkeypatch) is None
    assert list(process.has) == ["2", "3", "4", "5"]
