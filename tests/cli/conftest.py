"""Fixtures of the tests of commands."""

import pytest
from support.fleets import described


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return described(tmp_path_factory.mktemp("fleet") / "fleet.yaml")


@pytest.fixture
def train(call, fleet):
    """Return a function that trains shortly and returns code, stdout, stderr."""

    def run(run_dir, *more, epochs=1):
        quick = ("--epochs", epochs, "--shots", 32, "--batch-size", 40, "--run-dir", run_dir)
        return call("fleet", "train", "iris", "--fleet", fleet, *quick, *more)

    return run
