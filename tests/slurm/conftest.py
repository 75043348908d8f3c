"""One cluster for all tests here; without Slurm they skip, and say why (see `kinds.py`)."""

import os
import time
from types import SimpleNamespace

import pytest
from support import openmpi

from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import slurm_pilot

_WHY_NOT, _NO_OPEN_MPI = pytest.StashKey[str](), pytest.StashKey[str]()


def pytest_collection_finish(session):
    """Install Slurm before the first test: its time limit is not for apt-get."""
    wanted = any(item.get_closest_marker("slurm") for item in session.items)
    if wanted and not session.config.option.collectonly:
        if not testbed.is_installed():
            session.config.get_terminal_writer().line("installing Slurm for its tests ...")
        session.config.stash[_WHY_NOT] = testbed.why_not()
        # Before slurmd starts: with a libpmix that comes later its steps hang.
        if any(item.get_closest_marker("openmpi") for item in session.items):
            session.config.stash[_NO_OPEN_MPI] = openmpi.why_not()


@pytest.fixture(scope="package")
def cluster(request):
    """Start the cluster, point this process at it, and stop it after the last test here."""
    if reason := request.config.stash[_WHY_NOT]:
        pytest.skip(reason)
    cluster = testbed.Cluster()
    cluster.no_open_mpi = request.config.stash.get(_NO_OPEN_MPI, "")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment().items():
            patch.delenv(name) if value is None else patch.setenv(name, value)
        try:
            if problem := cluster.start():
                pytest.skip(f"Slurm is installed, but does not start: {problem}")
            yield cluster
        finally:
            ended = cluster.stop()
    assert ended, f"some of the cluster's processes did not end, see {cluster.directory}"


@pytest.fixture(scope="package", autouse=True)
def _start_slow_ones(request):
    """Begin with what takes over a minute, so that the other tests run meanwhile."""
    if any("short_lived" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("short_lived")


@pytest.fixture(scope="package")
def short_lived(cluster, tmp_path_factory):
    """Return pilots, one of them of a minute's time, and a task that outlasts that."""
    run_dir = tmp_path_factory.mktemp("short-lived") / "run"
    marker = run_dir / "began"
    described = [
        slurm_pilot("brief", walltime="00:01:00"),
        PilotDescription(name="steady", resource="local"),
    ]

    def hold():
        job = os.environ.get("SLURM_JOB_NAME", "steady")
        if marker.exists():
            return f"{marker.read_text()}, then {job}"
        marker.write_text(job)
        time.sleep(600)

    with (
        PilotManager(described, run_dir=run_dir) as pilots,
        TaskManager(pilots, duplicates=False) as tasks,
    ):
        brief_is_there = tasks.submit_task(pow, 2, 2, pilot="brief")
        future = tasks.submit_task(hold, pilot=("brief", "steady"), after=brief_is_there)
        yield SimpleNamespace(pilots=pilots, run_dir=run_dir, future=future)
        tasks.close(wait=False)
