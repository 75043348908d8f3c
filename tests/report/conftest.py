"""Fixtures of the tests of reports."""

import pytest
from support.run_directories import made_up, page_of

from pilotcut.report.read import read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the record of a run that is made up."""
    return read_run(made_up(tmp_path_factory.mktemp("runs") / "made-up"))


@pytest.fixture(scope="module")
def page(run):
    """Return the page about the run that is made up."""
    return page_of(run)
