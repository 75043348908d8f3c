"""Fixtures of the tests of training."""

import pytest
from support.training_runs import train

from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager
from pilotcut.training.run_directory import RunDirectory


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return the directory and the summary of an undisturbed run of SMALL."""
    path = tmp_path_factory.mktemp("finished") / "run"
    return RunDirectory(path), train(path)


@pytest.fixture(scope="session")
def one():
    with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as manager:
        yield manager
