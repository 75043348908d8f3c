"""`pilotcut status` and `tasks explain`: where a run stands, from its files."""

import json
import os
import pty
import select
import signal
import sys
import time

import pytest
from support import run_directories
from support.commands import Command
from support.run_directories import BEGAN, made_up
from typer.testing import CliRunner

from pilotcut import PilotManager, TaskManager, UserError
from pilotcut.cli import app
from pilotcut.pilots.description import PilotDescription
from pilotcut.report.run_follower import Follower, Tail, status_of


@pytest.fixture
def pilots(tmp_path):
    pilot = PilotDescription(name="laptop", resource="local", cores_per_node=1)
    with PilotManager([pilot], run_dir=tmp_path) as manager:
        yield manager


def shown(*words):
    return CliRunner().invoke(app, [str(word) for word in words]).output


def test_why_tasks_wait_and_where_a_run_stands(pilots, tmp_path):
    with TaskManager(pilots) as tasks:
        first = [tasks.submit_task(time.sleep, 1.5) for _ in range(2)]  # running, and prefetched
        waiting = tasks.submit_task(time.sleep, 0.0, name="patient")
        later = tasks.submit_task(time.sleep, 0.0, after=waiting)
        wait_until(lambda: "bound" in first[1].explain())
        assert first[0].explain().startswith("is bound to pilot 'laptop'")
        assert "laptop" in waiting.explain()
        assert later.explain() == "waits for 1 task: 'patient'"
        wait_until(lambda: "patient: " in shown("tasks", "explain", tmp_path))
        assert shown("tasks", "explain", tmp_path, "nobody").startswith(
            "task 'nobody' is not known"
        )
        later.result(30)
        assert waiting.explain() == "is done"
        wait_until(lambda: shown("tasks", "explain", tmp_path) == "no task waits\n", 10)
    text = shown("status", tmp_path)
    assert "laptop" in text
    assert "tasks: 4 done" in text
    assert "task patient done on laptop" in text


def wait_until(condition, limit_s=10):
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def test_a_training_run_shows_its_last_epoch(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 3, "loss": 0.25, "accuracy": 0.9}\n')
    assert "training: epoch 3, loss 0.250, test accuracy 90.0%" in shown("status", tmp_path)


def test_a_run_shows_how_far_it_is_and_where_its_time_goes(tmp_path):
    path = made_up(tmp_path / "run", epochs=4)
    (path / "weights.pt").unlink()
    (path / "pilots.json").unlink()
    (path / "config.yaml").write_text("epochs: 10\n")
    text = shown("status", path)
    assert "run ━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 4 of 10 epochs, about 30 s left" in text
    assert "training: epoch 4, loss 0.250 █▃▂▁, test accuracy 87.5% ▁▆▇█" in text
    assert "execute 89%, reconstruct 10%" in text
    assert "tasks: 60 done (" in text


def test_nonsense_in_files_is_passed_over(tmp_path):
    for name in ("events.jsonl", "metrics.jsonl", "trace.jsonl", "config.yaml"):
        lines = [{"event": "task"}, {"time": "x", "event": 3}, {"epoch": "y", "stage_seconds": 1}]
        run_directories.write(tmp_path / name, [*lines, [], 7, {"epoch": 1, "loss": None}])
    for name in ("pilots.json", "waiting.json"):
        (tmp_path / name).write_text('[{"description": 1}]')
    text = shown("status", tmp_path)
    assert "training: epoch 1" in text
    assert "--:--:-- pilot None note" in text


# -- following -------------------------------------------------------------------------


def test_records_are_read_once_and_torn_ones_when_they_are_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.read() == (False, [])  # it need not be there yet
    path.write_text('{"a": 1}\n{"a":')
    assert tail.read() == (True, [{"a": 1}])
    assert tail.read() == (False, [])
    with path.open("a") as file:
        file.write(' 2}\n{"a": 3}\n')
    assert tail.read() == (False, [{"a": 2}, {"a": 3}])


def test_a_file_that_took_the_place_of_another_is_read_from_its_beginning(tmp_path):
    path, other = tmp_path / "metrics.jsonl", tmp_path / "other"
    run_directories.write(path, [run_directories.epoch(k) for k in (1, 2, 3)])
    follower = Follower(tmp_path)
    assert [e["epoch"] for e in follower.look().epochs] == [1, 2, 3]
    run_directories.write(other, [run_directories.epoch(1)])  # as a resumed run does
    other.replace(path)
    assert [e["epoch"] for e in follower.look().epochs] == [1]


def test_a_second_look_costs_nothing_of_a_long_file(tmp_path):
    path = made_up(tmp_path / "run", tasks=3000)
    follower = Follower(path)
    before = follower.look()
    read = []

    class Counting(Tail):
        def read(self):
            other, records = super().read()
            read.append(len(records))
            return other, records

    follower._events.__class__ = Counting
    with (path / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": "task", "id": 9999, "task": "new", "state": "bound",
                               "time": BEGAN}) + "\n")  # fmt: skip
    after = follower.look()
    assert read == [1]
    assert after.tasks - before.tasks == {"bound": 1}
    assert after.latest[-1]["task"] == "new"


def watching(path, act):
    """Watch a run on a terminal, `act(process)` once something is shown; code and output."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pilotcut.cli", "status", str(path), "--watch"]
    output, has_acted, limit = b"", False, time.monotonic() + 60
    with Command(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            assert time.monotonic() < limit, output.decode()
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    output += os.read(ours, 65536)
                except OSError:  # the other side is closed
                    break
            if not has_acted and b"epochs" in output:
                has_acted = True
                act(process)
        os.close(ours)
        return process.wait(10), output.decode()


@pytest.fixture
def unfinished(tmp_path):
    """Return the directory of a run that has an epoch to go."""
    path = made_up(tmp_path / "run", epochs=3)
    (path / "weights.pt").unlink()
    (path / "pilots.json").unlink()
    (path / "config.yaml").write_text("epochs: 4\n")
    return path


def test_watching_ends_with_the_run(unfinished):
    def finish(_):
        with (unfinished / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(run_directories.epoch(4)) + "\n")
        (unfinished / "weights.pt").touch()

    code, output = watching(unfinished, finish)
    assert code == 0
    assert "3 of 4 epochs" in output
    assert "4 of 4 epochs" in output


def test_watching_ends_with_a_run_that_lost_its_patience(unfinished):
    code, output = watching(unfinished, lambda _: (unfinished / "weights.pt").touch())
    assert code == 0
    assert "3 of 4 epochs, about" in output
    assert "3 of 4 epochs, ended early" in output


def test_weights_of_an_earlier_end_do_not_end_a_resumed_run(unfinished):
    (unfinished / "weights.pt").touch()
    assert status_of(unfinished).is_over
    later = (unfinished / "weights.pt").stat().st_mtime_ns + 10**9
    os.utime(unfinished / "config.yaml", ns=(later, later))
    assert not status_of(unfinished).is_over


def test_watching_ends_quietly_on_ctrl_c(unfinished):
    code, output = watching(unfinished, lambda process: process.send_signal(signal.SIGINT))
    assert code == 130
    assert "Traceback" not in output


def test_a_directory_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has none of pilots.json, events.jsonl, metrics.jsonl"):
        status_of(tmp_path)
