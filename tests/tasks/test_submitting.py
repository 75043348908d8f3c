"""Mistakes in a submission are one line each, and what stands for nothing is nothing."""

from concurrent.futures import Future

import pytest

from pilotcut.errors import UserError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager


@pytest.fixture(scope="module")
def tasks():
    with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as manager:
        yield manager


def knot():
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"after": Future()}, "after has <Future at .*, expected futures from submit_task"),
        ({"after": [Future()]}, "after has <Future at .*, expected futures from submit_task"),
        ({"after": 3}, "after has 3, expected futures"),
        ({"after": "encode"}, "after has 'encode', expected futures"),
        ({"after": [None]}, "after has None, expected futures"),
        ({"name": 3}, "task 'max-.*': name is 3, expected a text"),
        ({"group": ""}, "task 'max-.*': group is '', expected a text"),
        ({"key": 3}, "task 'max-.*': key is 3, expected a text"),
        ({"pilot": 3}, r"pilot is \(3,\), expected names of pilots"),
        ({"pilot": [None]}, r"pilot is \(None,\), expected names of pilots"),
        ({"default": knot()}, "an argument is nested more deeply .* or holds itself"),
    ],
)
def test_a_mistake_says_what_was_found_and_what_is_expected(tasks, options, fault):
    with pytest.raises(UserError, match=fault):
        tasks.submit_task(max, 1, 2, **options)


def test_the_first_task_of_a_chain_is_after_none(tasks):
    last = None
    for number in range(3):
        last = tasks.submit_task(max, number, 1, after=last)
    assert last.result(30) == 2
