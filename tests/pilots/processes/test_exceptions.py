"""Exceptions of tasks: each arrives as itself or in words, on every kind of pilot, and alone."""

import asyncio
import os
import pickle
import sys
import threading
import time
from typing import NamedTuple

import pytest
from support import raising
from support.raising import AS_ITSELF, IN_WORDS

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import TaskError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.mpi.starters import start_of_ranks
from pilotcut.pilots.worker import exception_pickling, exception_text
from pilotcut.pilots.worker.exception_pickling import pack_error, unpack_error
from pilotcut.pilots.worker.payload import Outcome, pack_outcome, unpack_outcome
from pilotcut.tasks import TaskState

PATIENCE_S = 60


def has_mpi():
    try:
        import mpi4py  # noqa: F401

        return bool(start_of_ranks(in_job=False))
    except (ImportError, TaskError):
        return False


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Return tasks on a pilot of each kind."""
    pilots = [
        PilotDescription(name="here", resource="inprocess"),
        PilotDescription(name="local", resource="local", threads_per_worker=2),
    ]
    if has_mpi():
        pilots.append(PilotDescription(name="mpi", resource="local", ranks=2))
    run_dir = tmp_path_factory.mktemp("failures")
    with (
        PilotManager(pilots, run_dir=run_dir) as manager,
        TaskManager(manager, duplicates=False) as tasks,
    ):
        yield tasks


def what_is_raised(future):
    with pytest.raises(Exception) as raised:  # noqa: PT011  whatever it is
        future.result(PATIENCE_S)
    return raised.value


def content(error):
    """Return what makes an exception what it is; of its parts too."""
    kept = {name: value for name, value in vars(error).items() if name not in ("__notes__", "lock")}
    slots = [getattr(error, name) for name in getattr(type(error), "__slots__", ())]
    parts = [content(part) for part in getattr(error, "exceptions", ())]
    args = [] if parts else [repr(arg) for arg in error.args]
    fields = [getattr(error, name, None) for name in ("errno", "filename", "name", "path", "start")]
    return type(error), args, kept, slots, parts, fields


def assert_is_told(error, future):
    """The worker's traceback is a note, and the cause has come along."""
    (note,) = error.__notes__[-1:]
    assert note.startswith(f"task '{future.task.name}' failed on worker ")
    assert "Traceback" in note
    assert "raise made from two()" in note
    assert len(note) < 2 * exception_text.MOST_TRACEBACK
    assert content(error.__cause__) == content(raising.two())


@pytest.mark.parametrize("pilot", ["here", "local"])
@pytest.mark.parametrize("name", AS_ITSELF)
def test_an_exception_arrives_as_itself_whatever_its_class_takes(tasks, pilot, name):
    future = tasks.submit_task(raising.throw, name, pilot=pilot, error_retries=1)
    error = what_is_raised(future)
    assert content(error) == content(AS_ITSELF[name]())
    assert_is_told(error, future)


# In process nothing travels, and a lock need not.
TOLD = [(pilot, name) for pilot in ("here", "local") for name in IN_WORDS]
TOLD.remove(("here", "a lock"))


@pytest.mark.parametrize(("pilot", "name"), TOLD)
def test_what_cannot_arrive_is_told_with_its_type_and_message(tasks, pilot, name):
    future = tasks.submit_task(raising.throw, name, pilot=pilot)
    error = what_is_raised(future)
    assert type(error) is TaskError
    assert IN_WORDS[name][1] in str(error)
    assert "raise made from two()" in error.__notes__[-1]
    if name in ("a lock", "a hostile one"):
        assert content(error.__cause__) == content(raising.two())
    else:  # it has come along all the same
        assert content(error.__cause__) == content(IN_WORDS[name][0]())
        assert content(error.__cause__.__cause__) == content(raising.two())


@pytest.mark.mpi
@pytest.mark.parametrize("pilot", ["mpi", "local"])
@pytest.mark.parametrize("name", ["two arguments", "a group", "an exit"])
def test_so_it_is_on_ranks(tasks, pilot, name):
    if not has_mpi():
        pytest.skip("mpi4py is not installed: pip install mpi4py mpich")
    future = tasks.submit_task(raising.throw_on_rank_one, name, ranks=2, pilot=pilot)
    error = what_is_raised(future)
    if name in IN_WORDS:
        assert type(error) is TaskError
        assert IN_WORDS[name][1] in str(error)
    else:
        assert content(error) == content(AS_ITSELF[name]())
        assert content(error.__cause__) == content(raising.two())
    assert any("raise made from two()" in note for note in error.__notes__)


def test_an_exception_in_a_parcel_is_that_of_one_task(tasks):
    for _ in range(3):  # then they are known to be short
        tasks.submit_task(int, 3, pilot="local").result(PATIENCE_S)

    def some(number):
        if number % 3 == 1:
            raise raising.TwoArgumentsError(number, "odd one")
        if number % 3 == 2:
            raise raising.LockError(f"lock {number}")
        return number

    futures = [tasks.submit_task(some, number, pilot="local") for number in range(60)]
    for number, future in enumerate(futures):
        if number % 3 == 0:
            assert future.result(PATIENCE_S) == number
        else:
            error = what_is_raised(future)
            assert str(number) in str(error)
            assert getattr(error, "code", number) == number


def test_a_class_that_no_module_has_is_the_same_here_and_there(tasks):
    class LocalError(Exception):
        def __init__(self, left, right):
            super().__init__(left)
            self.right = right

    def fail():
        raise LocalError(1, 2)

    error = what_is_raised(tasks.submit_task(fail, pilot="local"))
    assert (type(error), error.args, error.right) == (LocalError, (1,), 2)


def test_a_class_that_cannot_be_read_here_is_told(monkeypatch):
    packed = pickle.dumps(pack_error(raising.UnreadableError("far away")))
    monkeypatch.delattr(raising, "UnreadableError")
    error = unpack_error(pickle.loads(packed))
    assert (type(error), str(error)) == (TaskError, "UnreadableError: far away")
    assert "could not travel" in error.__notes__[0]
    assert "UnreadableError" in error.__notes__[0]


def test_an_exception_too_big_to_travel_is_told_with_both_ends(monkeypatch):
    monkeypatch.setattr(exception_pickling, "MOST_BYTES", 50_000)
    error = unpack_error(pack_error(ValueError("begin " + "x" * 60_000 + " end")))
    assert type(error) is TaskError
    assert str(error).startswith("ValueError: begin ")
    assert str(error).endswith(" end")
    assert len(str(error)) < 2 * exception_text.MOST_WORDS


def test_what_hangs_on_an_exception_comes_along_within_bounds():
    def nested(levels):
        error = raising.two()
        for _ in range(levels):
            error = ExceptionGroup("group", [error])
        return error

    chain = None
    for number in range(3000):
        link = ValueError(number)
        link.__cause__, chain = chain, link
    circle = ValueError("circle")
    circle.__cause__ = raising.two()
    circle.__cause__.__cause__ = circle
    noted = raising.two()
    noted.add_note("said before")
    odd = raising.two()
    odd.__notes__ = 3
    for error in (chain, circle, noted, odd):
        outcome = unpack_outcome(pack_outcome(Outcome(error=error, traceback="t", worker="w")))
        assert content(outcome.error)[:2] == content(error)[:2]
    for levels in (3, 3000):
        outcome = unpack_outcome(pack_outcome(Outcome(error=nested(levels))))
        assert type(outcome.error) is ExceptionGroup
    assert unpack_error(pack_error(noted)).__notes__ == ["said before"]
    assert unpack_error(pack_error(chain)).__cause__.args == (2998,)


class UnreadableValue:
    """Reads back as nothing: whoever reads it is interrupted."""

    def __reduce__(self):
        return interrupt, ()


class UnpackableValue:
    def __reduce__(self):
        raise SystemExit(4)


def interrupt():
    raise KeyboardInterrupt


def test_values_that_do_not_travel_are_failures_of_their_task_alone(tasks):
    for made, told in (
        (UnpackableValue, "the result, a UnpackableValue, cannot travel back: SystemExit: 4"),
        (UnreadableValue, "the result cannot be read here: KeyboardInterrupt"),
    ):
        future = tasks.submit_task(made, pilot="local")
        assert str(what_is_raised(future)) == told
        assert future.task.worker == "local-0"
        argument = tasks.submit_task(str, made(), pilot="local")
        assert isinstance(what_is_raised(argument), TaskError)
    assert tasks.submit_task(os.getpid, pilot="local").result(PATIENCE_S) > 0


def test_an_end_of_iteration_ends_nobody_elses_loop(tasks):
    future = tasks.submit_task(raising.throw, "an end of iteration", pilot="here")
    with pytest.raises(TaskError, match="StopIteration"):
        list(map(lambda f: f.result(PATIENCE_S), [future]))  # noqa: C417  which StopIteration ends

    async def awaited():
        return await asyncio.wait_for(asyncio.ensure_future(wait_for(future)), PATIENCE_S)

    async def wait_for(future):
        return await future

    with pytest.raises(TaskError, match="StopIteration"):
        asyncio.run(awaited())


def test_what_depends_on_a_failure_says_so_in_bounds(tasks):
    bad = tasks.submit_task(raising.throw, "a long message", pilot="here", name="bad")
    error = what_is_raised(tasks.submit_task(str, bad, name="next"))
    assert str(error).startswith("task 'next' did not run, for it depends on task 'bad', which ")
    assert len(str(error)) < 2 * exception_text.MOST_WORDS
    silent = tasks.submit_task(raising.throw, "a __str__ that raises", pilot="here", name="silent")
    error = what_is_raised(tasks.submit_task(str, silent, name="next"))
    assert "SilentError: its message cannot be told" in str(error)


class PickyPair(NamedTuple):
    left: object
    right: object


class PickierPair(PickyPair):
    def __new__(cls, left, right):
        if isinstance(left, int):
            raise ValueError("left is a number")
        return super().__new__(cls, left, right)


def test_arguments_that_refuse_a_result_fail_their_task_alone(tasks):
    pair = PickierPair(tasks.submit_task(int, 3, pilot="here"), 4)
    error = what_is_raised(tasks.submit_task(str, pair, pilot="here"))
    assert "cannot be filled in with results: ValueError: left is a number" in str(error)
    assert tasks.submit_task(int, 5, pilot="here").result(PATIENCE_S) == 5


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        ("_outcomes", "take"),
        ("_table", "make_ready"),
        ("_table", "write_event"),
        ("", "_bind"),
    ],
)
def test_a_breakdown_of_the_binder_ends_what_others_wait_for(monkeypatch, owner, method):
    def fail(*_, **__):
        raise KeyError("unheard of")

    release = threading.Event()
    with PilotManager([PilotDescription(name="here", resource="inprocess")]) as pilots:
        tasks = TaskManager(pilots, duplicates=False)
        slow = tasks.submit_task(release.wait, PATIENCE_S)
        next_one = tasks.submit_task(str, slow)
        while slow.task.state is not TaskState.BOUND:
            time.sleep(0.001)
        binder = tasks._binder
        monkeypatch.setattr(getattr(binder, owner) if owner else binder, method, fail)
        futures = [slow, next_one]
        if method in ("make_ready", "_bind"):
            futures.append(tasks.submit_task(int, 3))
        else:
            release.set()
        for future in futures:
            error = what_is_raised(future)
            assert type(error) is TaskError
            assert "the task manager broke down (KeyError: 'unheard of')" in str(error)
            assert 'raise KeyError("unheard of")' in error.__notes__[-1]
        with pytest.raises(TaskError, match="the task manager broke down"):
            tasks.submit_task(int, 3)
        release.set()
        tasks.close()


def test_a_callback_that_exits_leaves_those_of_others(tasks):
    called = threading.Event()
    for callback in (lambda _: sys.exit(3), lambda _: raising.throw("a hostile one")):
        release = threading.Event()
        future = tasks.submit_task(release.wait, PATIENCE_S, pilot="here")
        future.add_done_callback(callback)
        future.add_done_callback(lambda _: called.set())
        release.set()
        assert called.wait(PATIENCE_S)
        called.clear()
