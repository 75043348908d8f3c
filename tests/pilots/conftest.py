"""Tests that start workers, schedulers or commands run one at a time."""

import pytest


def pytest_itemcollected(item):
    """Keep the tests of this folder on one worker of pytest-xdist."""
    item.add_marker(pytest.mark.xdist_group("processes"))
