"""Two halves for `pytest -n 2`: what starts processes runs one by one, the rest beside it."""

import os

import pytest

#: Test modules that start workers, schedulers or commands, or look at all processes.
ALONE = {
    "test_budgets",
    "test_cli",
    "test_connection",
    "test_faults",
    "test_job_script",
    "test_lending",
    "test_pilots",
    "test_readme",
    "test_slurm_states",
    "test_status",
    "test_tasks",
    "test_training",
}

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes with all cores each would be far slower
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(config, items):
    """Keep the tests that would disturb each other on one worker of pytest-xdist."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.path.parent.name in ("chaos", "slurm") or item.path.stem in ALONE:
            item.add_marker(pytest.mark.xdist_group("processes"))
