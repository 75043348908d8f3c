"""Tasks with a key and a stored result are not run again, and nothing stale is returned."""

import errno
import logging
import threading
import time

import pytest

from pilotcut.errors import UserError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager, result_store

RAN = []


def square(x):
    _note(x)
    return x * x


def _note(x):
    __import__(__name__).RAN.append(x)


def fail_once(marker):
    if not marker.exists():
        marker.touch()
        raise ArithmeticError("first")
    return "second"


@pytest.fixture(scope="module")
def pilots():
    with PilotManager(embedded(2)) as manager:
        yield manager


@pytest.fixture
def life(pilots, tmp_path):
    """Return what runs a function with a task manager on one store, as each life of a program."""
    RAN.clear()

    def live(play, **options):
        RAN.clear()
        with TaskManager(pilots, store=tmp_path / "store", **options) as tasks:
            return play(tasks)

    return live


def squares(tasks):
    return [f.result(30) for f in [tasks.submit_task(square, k, key=f"sq {k}") for k in range(5)]]


def total(tasks):
    parts = [tasks.submit_task(square, k, key=f"sq {k}", group="square") for k in range(5)]
    last = tasks.submit_task(sum, parts, key="total")
    return last.result(30), last.task.was_stored, parts[0].task.was_stored


def test_what_was_stored_is_not_run_again(life):
    assert life(squares) == [0, 1, 4, 9, 16]
    assert sorted(RAN) == [0, 1, 2, 3, 4]
    assert life(squares) == [0, 1, 4, 9, 16]
    assert RAN == []


def test_a_task_after_stored_ones_is_stored_by_their_results(life):
    assert life(total) == (30, False, False)
    assert life(total) == (30, True, True)
    assert RAN == []


def test_tasks_without_a_key_run_in_every_life_and_failures_are_not_stored(life, tmp_path):
    once = tmp_path / "once"
    with pytest.raises(ArithmeticError):
        life(lambda tasks: tasks.submit_task(fail_once, once, key="f").result(30))
    assert life(lambda tasks: tasks.submit_task(fail_once, once, key="f").result(30)) == "second"
    life(lambda tasks: tasks.submit_task(square, 3).result(30))
    life(lambda tasks: tasks.submit_task(square, 3).result(30))
    assert RAN == [3]


def test_other_arguments_or_another_function_under_a_key_run_again_and_that_is_said(life, caplog):
    life(lambda tasks: tasks.submit_task(square, 3, key="k").result(30))
    assert life(lambda tasks: tasks.submit_task(square, 4, key="k").result(30)) == 16
    assert life(lambda tasks: tasks.submit_task(max, 4, 1, key="k").result(30)) == 4
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 2
    assert "its stored result is of another function or other arguments; it runs again" in said[0]


def test_a_result_of_another_task_before_makes_other_work_of_what_follows(life):
    def play(start):
        def run(tasks):
            first = tasks.submit_task(square, start)  # without a key
            return tasks.submit_task(square, first, key="next").result(30)

        return run

    assert life(play(2)) == 16
    assert life(play(3)) == 81
    assert life(play(-3)) == 81
    assert RAN == [-3]


def test_work_named_in_after_counts(life):
    def play(start):
        def run(tasks):
            first = tasks.submit_task(square, start, key="first")
            return tasks.submit_task(square, 7, key="next", after=first).result(30)

        return run

    life(play(2))
    life(play(2))
    assert RAN == []
    life(play(3))
    assert RAN == [3, 7]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:20] + b"x" + data[21:],
        lambda data: b"\x80\x05nonsense",
    ],
)
def test_a_torn_or_changed_result_is_said_and_computed_again(life, tmp_path, caplog, spoil):
    life(squares)
    (path,) = (tmp_path / "store").glob("sq_3-*.result")
    path.write_bytes(spoil(path.read_bytes()))
    assert life(squares) == [0, 1, 4, 9, 16]
    assert RAN == [3]
    assert f"cannot be read; it runs again ({path} does not fit its checksum)" in caplog.text
    assert life(squares) == [0, 1, 4, 9, 16]
    assert RAN == []


def test_a_key_for_different_work_in_one_life_is_refused_in_one_line(life):
    def play(tasks):
        first = tasks.submit_task(square, 3, key="k", name="one")
        assert first.result(30) == 9
        with pytest.raises(UserError) as caught:
            tasks.submit_task(square, 4, key="k", name="other").result(30)
        return caught.value.faults

    (fault,) = life(play)
    assert fault.startswith("task 'other': key is 'k', which task 'one' has for another function")


def test_equal_work_under_one_key_runs_once(life):
    def play(tasks):
        return [f.result(30) for f in [tasks.submit_task(square, 3, key="k") for _ in range(9)]]

    assert life(play) == [9] * 9
    assert RAN == [3]


def test_what_cannot_be_compared_is_refused_in_one_line(life):
    def play(tasks):
        with pytest.raises(UserError, match="key is 'k' with an argument that cannot be compared"):
            tasks.submit_task(square, (x for x in "ab"), key="k").result(30)

    life(play)


def test_a_result_that_finds_no_space_is_said_and_the_task_has_it(life, caplog, monkeypatch):
    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(result_store, "write_atomically", full)
    assert life(squares) == [0, 1, 4, 9, 16]
    assert "its result cannot be stored" in caplog.text
    assert "No space left on device" in caplog.text
    assert "2 tasks more: its result cannot be stored" in caplog.text


def test_a_store_that_is_no_directory_is_refused_in_one_line(pilots, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"store is '.*file', expected a directory"):
        TaskManager(pilots, store=tmp_path / "file")


@pytest.mark.parametrize("key", ["", 5, len])
def test_a_key_that_is_no_text_is_refused_in_one_line(life, key):
    with pytest.raises(UserError, match=r"key is .*, expected a text"):
        life(lambda tasks: tasks.submit_task(max, [1], key=key))


def test_events_tell_which_results_were_stored(tmp_path):
    for life in range(2):
        with PilotManager(embedded(1)) as pilots:
            with TaskManager(pilots, store=tmp_path / "store") as tasks:
                total(tasks)
            events = [e for e in pilots.events.records if e["event"] == "task"]
        ends = [e for e in events if e["state"] == "done"]
        assert [e.get("stored", False) for e in ends] == [bool(life)] * 6


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("store", lambda: TaskManager(PilotManager(embedded()), store=5)),
        ("run_dir", lambda: PilotManager(embedded(), run_dir=5)),
        ("pilots", lambda: PilotManager.from_yaml(5)),
    ],
)
def test_what_is_no_path_is_named(name, ask):
    with pytest.raises(UserError, match=rf"^{name} is 5 \(int\), expected the path of a "):
        ask()


def test_arguments_that_change_while_a_task_waits_leave_no_result_under_what_they_were(
    life, caplog
):
    box, begun, may_end = [1], threading.Event(), threading.Event()

    def hold():
        begun.set()
        may_end.wait(30)

    def play(tasks):
        held = [tasks.submit_task(hold) for _ in range(2)]
        begun.wait(30)
        one = tasks.submit_task(sum, box, key="sum of the box")
        while "no active" in one.explain() or "stored results" in one.explain():
            time.sleep(0.01)  # until its result has been looked for
        box[0] = 7
        may_end.set()
        return one.result(30), [f.result(30) for f in held]

    assert life(play)[0] == 7
    assert "has changed meanwhile; it is not stored (key 'sum of the box')" in caplog.text
    again = life(lambda tasks: tasks.submit_task(sum, [1], key="sum of the box").result(30))
    assert again == 1
