"""Fixtures of the tests of fleets."""

from dataclasses import replace

import pytest
from support.fleets import config, described

from pilotcut.fleet.run import dataset_of


@pytest.fixture(scope="session")
def data():
    some = dataset_of(config("single"))
    return replace(some, x_train=some.x_train[:24], y_train=some.y_train[:24])


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """Return the settings of a run on a fleet in which a device goes and comes back."""
    path = tmp_path_factory.mktemp("fleet") / "fleet.yaml"
    described(path, beta={"offline": [[2, 3]]})
    return {"fleet": str(path), "epochs": 3, "batch_size": 40}
