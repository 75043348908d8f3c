"""One cluster for all tests here; without Slurm they skip, and say why."""

import pytest

from . import testbed

_WHY_NOT = pytest.StashKey[str]()


def pytest_collection_finish(session):
    """Install Slurm before the first test: its time limit is not for apt-get."""
    wanted = any(item.get_closest_marker("slurm") for item in session.items)
    if wanted and not session.config.option.collectonly:
        if not testbed.is_installed():
            session.config.get_terminal_writer().line("installing Slurm for its tests ...")
        session.config.stash[_WHY_NOT] = testbed.why_not()


@pytest.fixture(scope="package")
def cluster(request):
    """Start the cluster, point this process at it, and stop it after the last test here."""
    if reason := request.config.stash[_WHY_NOT]:
        pytest.skip(reason)
    cluster = testbed.Cluster()
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
