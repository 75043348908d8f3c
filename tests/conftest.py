"""Two halves for `pytest -n 2`: what starts processes runs one by one, the rest beside it."""

import os
import sys
from pathlib import Path

import pytest

#: Test modules that start workers, schedulers or commands, or look at all processes.
ALONE = {
    "test_budgets",
    "test_cli",
    "test_cli_dreamer",
    "test_connection",
    "test_faults",
    "test_job_script",
    "test_lending",
    "test_mpi_pilots",
    "test_parallel",
    "test_pilots",
    "test_readme",
    "test_slurm_states",
    "test_status",
    "test_tasks",
    "test_training",
}

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes with all cores each would be far slower
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests that would disturb each other on one worker of pytest-xdist."""
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = Path(nodeid.partition("::")[0])
            alone = path.parent.name in ("chaos", "slurm") or path.stem in ALONE
            return "processes" if alone else nodeid

    return Halves(config, log)


@pytest.fixture
def call(monkeypatch, capfd):
    """Return a function that runs the command line here and returns code, stdout, stderr."""
    from pilotcut import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pilotcut", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    # 80 columns, as in a pipe: lines that are longer must not be broken.
    monkeypatch.setenv("COLUMNS", "80")
    return run
