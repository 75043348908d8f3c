"""`pilotcut status` and `tasks explain`: where a run stands, from its files."""

import time

import pytest
from typer.testing import CliRunner

from pilotcut import PilotManager, TaskManager, UserError
from pilotcut.cli import app
from pilotcut.descriptions import PilotDescription
from pilotcut.status import Status


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
        assert later.explain() == "waits for 1 tasks: 'patient'"
        wait_until(lambda: "patient: " in shown("tasks", "explain", tmp_path))
        assert shown("tasks", "explain", tmp_path, "nobody") == "task 'nobody' does not wait\n"
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


def test_a_directory_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has none of pilots.json, events.jsonl, metrics.jsonl"):
        Status.of(tmp_path)
