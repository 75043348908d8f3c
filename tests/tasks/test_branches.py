"""Branches of a graph: what a failure cuts off, and what a task says of those around it."""

import logging
import threading
import time

import pytest

from pilotcut.errors import TaskError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager


@pytest.fixture(scope="module")
def pilots():
    with PilotManager(embedded(2)) as manager:
        yield manager


@pytest.fixture
def tasks(pilots):
    with TaskManager(pilots) as manager:
        yield manager


def fail(gate):
    gate.wait(30)
    raise ValueError("no state")


def late(gate, *before):
    gate.wait(30)
    return len(before)


def test_a_failure_says_in_one_line_which_branch_it_has_cut_off(tasks, caplog):
    gate = threading.Event()
    bad = tasks.submit_task(fail, gate, name="encode.0")
    good = tasks.submit_task(late, gate, name="encode.1")
    sweep = [tasks.submit_task(late, gate, bad, name=f"sweep.{k}") for k in range(5)]
    rest = [tasks.submit_task(late, gate, good, name=f"rest.{k}") for k in range(2)]
    last = tasks.submit_task(late, gate, *sweep, *rest, name="last")
    end = tasks.submit_task(late, gate, last, name="end")
    gate.set()
    line = "task 'encode.0' failed and cut off 7 tasks that depend on it: 5 of sweep, 2 of no group"
    with pytest.raises(ValueError, match="no state") as caught:
        bad.result(30)
    assert line in caught.value.__notes__
    for future in (sweep[0], last, end):
        assert isinstance(future.exception(30), TaskError)
        assert future.task.cut_by == "encode.0"
    assert str(sweep[0].exception()) == (
        "task 'sweep.0' did not run, for it depends on task 'encode.0', which failed: "
        "ValueError: no state"
    )
    assert str(end.exception()) == (
        "task 'end' did not run, for it depends, by way of task 'last', on task 'encode.0', which "
        "failed: ValueError: no state"
    )
    assert end.exception().__cause__ is bad.exception()
    assert [future.result(30) for future in rest] == [1, 1]
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said == [line]


def test_of_two_failures_the_first_has_cut_off_what_depends_on_both(tasks, caplog):
    first, second = threading.Event(), threading.Event()
    bad = [tasks.submit_task(fail, gate, name=f"bad.{k}") for k, gate in enumerate((first, second))]
    last = tasks.submit_task(late, first, *bad, name="last")
    first.set()
    assert last.exception(30) is not None
    second.set()
    assert bad[1].exception(30) is not None
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said == ["task 'bad.0' failed and cut off 1 task that depends on it"]


def test_what_depends_on_a_canceled_task_names_it(tasks):
    gate = threading.Event()
    running = [tasks.submit_task(late, gate) for _ in range(2)]
    waiting = tasks.submit_task(late, gate, name="given up")
    after = tasks.submit_task(late, gate, waiting, name="after")
    behind = tasks.submit_task(late, gate, after, name="behind")
    assert waiting.cancel()
    with pytest.raises(TaskError, match="by way of task 'after', on task 'given up', which failed"):
        behind.result(30)
    gate.set()
    assert [future.result(30) for future in running] == [0, 0]


def test_a_task_submitted_after_the_failure_is_cut_off_too(tasks):
    gate = threading.Event()
    gate.set()
    bad = tasks.submit_task(fail, gate, name="bad")
    assert bad.exception(30) is not None
    after = tasks.submit_task(late, gate, bad, name="after")
    behind = tasks.submit_task(late, gate, after, name="behind")
    assert behind.exception(30) is not None
    assert (after.task.cut_by, behind.task.cut_by) == ("bad", "bad")


def test_a_task_says_what_it_waits_for_and_what_waits_for_it(tasks):
    gate = threading.Event()
    first = tasks.submit_task(late, gate, name="first")
    second = tasks.submit_task(late, gate, first, name="second")
    third = [tasks.submit_task(late, gate, second, name=f"third.{k}") for k in range(6)]
    assert first.explain().endswith("; 1 task waits for it: 'second'")
    assert second.explain() == (
        "waits for 1 task: 'first'; 6 tasks wait for it: 'third.0', 'third.1', 'third.2', 'third.3'"
    )
    gate.set()
    assert [future.result(30) for future in third] == [1] * 6


def test_events_have_the_edges_of_the_graph_and_the_tasks_at_both_ends():
    with PilotManager(embedded(1)) as pilots:
        with TaskManager(pilots) as tasks:
            gate = threading.Event()
            first = tasks.submit_task(late, gate, name="first", group="one")
            tasks.submit_task(late, gate, name="alone")
            tasks.submit_task(late, gate, first, after=first, name="two.1")
            gate.set()
        events = [e for e in pilots.events.records if e["event"] == "task"]
    assert [e["after"] for e in events if "after" in e] == [(0,)]
    assert {e["task"]: e.get("group") for e in events} == {
        "first": "one", "alone": None, "two.1": None
    }  # fmt: skip


def test_closing_at_once_cuts_off_nothing(caplog):
    gate = threading.Event()
    with PilotManager(embedded(1)) as pilots:
        tasks = TaskManager(pilots)
        running = tasks.submit_task(late, gate, name="encode.0")
        after = tasks.submit_task(late, gate, running, name="refine.0")
        behind = tasks.submit_task(late, gate, after, name="measure.0")
        while running.task.state.value != "bound":
            time.sleep(0.01)
        threading.Timer(0.2, gate.set).start()
        tasks.close(wait=False)
        assert (after.cancelled(), behind.cancelled()) == (True, True)
        assert (after.task.cut_by, behind.task.cut_by) == ("", "")
    assert not caplog.records
