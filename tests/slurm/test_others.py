"""Jobs of others on the same cluster are left alone, whatever sbatch prints."""

import re
import shutil

import pytest

from pilotcut.errors import PilotError
from pilotcut.pilots import PilotManager, PilotState
from pilotcut.tasks import TaskManager

from . import testbed
from .helpers import slurm_pilot
from .testbed import slurm, wait_until

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def theirs(cluster, tmp_path_factory):
    """Return the number of a running job that is none of ours."""
    job = testbed.sbatch(
        *["--job-name=theirs", "--output=/dev/null", "--wrap=exec sleep 600"],
        cwd=tmp_path_factory.mktemp("theirs"),
    )
    wait_until(lambda: testbed.state_of(job) == "RUNNING")
    yield job
    slurm("scancel", job)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function that puts a site's own sbatch, a few lines of shell, before Slurm's."""
    real = shutil.which("sbatch")

    def wrap(script):
        path = tmp_path / "bin" / "sbatch"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\nreal={real}\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")

    return wrap


def test_a_banner_with_the_number_of_another_job_harms_nobody(theirs, site, tmp_path):
    site(f'echo "Welcome to Cluster{theirs}"; "$real" "$@"; echo "{theirs} jobs run"')
    with (
        PilotManager([slurm_pilot("p")], run_dir=tmp_path / "run") as pilots,
        TaskManager(pilots) as tasks,
    ):
        assert tasks.submit_task(pow, 2, 5).result(testbed.PATIENCE_S) == 32
        (pilot,) = pilots.pilots
        assert pilot.job_id != theirs
    assert pilot.state is PilotState.DONE
    wait_until(lambda: testbed.state_of(pilot.job_id) == "CANCELLED")
    assert testbed.state_of(theirs) == "RUNNING"


def test_an_answer_that_is_not_certain_ends_the_start_and_names_the_job(theirs, site, tmp_path):
    site(f'echo "Welcome to Cluster{theirs}"; "$real" "${{@:2}}"')  # without --parsable
    manager = PilotManager([slurm_pilot("p")], run_dir=tmp_path / "run")
    with pytest.raises(PilotError, match=f"printed 'Welcome to Cluster{theirs}") as caught:
        manager.start()
    assert testbed.state_of(theirs) == "RUNNING"
    name = re.search("scancel --name=(pilotcut-p-[0-9a-f]{8})'", str(caught.value))[1]
    assert slurm("squeue", "--noheader", "--format=%j", f"--name={name}") == name
    slurm("scancel", f"--name={name}")
    wait_until(lambda: not slurm("squeue", "--noheader", f"--name={name}"))


def test_a_number_that_is_another_job_s_is_not_followed(theirs, site, tmp_path):
    site(f"echo {theirs}")
    with PilotManager([slurm_pilot("p")], run_dir=tmp_path / "run") as pilots:
        (pilot,) = pilots.pilots
        wait_until(lambda: pilot.state is PilotState.FAILED)
        assert pilot.reason.startswith(f"job {theirs} is 'theirs' of the user with uid ")
    assert testbed.state_of(theirs) == "RUNNING"
