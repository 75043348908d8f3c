"""Arrays of jobs: a training in each element, and one element that is ended alone."""

import sys

import pytest

from pilotcut.pilots.slurm.commands import OwnJob, cancel, unique_name

from . import testbed
from .testbed import slurm, wait_until

pytestmark = pytest.mark.slurm

#: Uses the nodes of its element, and a pilot that is a job of its own.
SCRIPT = """
import os
from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription

described = [
    PilotDescription(name="here", resource="allocation", cores_per_node=1),
    PilotDescription(name="there", resource="slurm", queue="cpu", walltime="00:05:00"),
]
with PilotManager(described) as pilots, TaskManager(pilots) as tasks:
    where = [
        tasks.submit_task(os.getenv, "SLURM_JOB_ID", pilot=name).result(60)
        for name in ("here", "there")
    ]
    print("found", os.environ["SLURM_JOB_ID"], *where, pilots.pilots[1].job_id, pilots._run_dir)
"""


def test_each_element_of_an_array_has_pilots_of_its_own(cluster, tmp_path):
    """One of them has the array's number: its end is not that of the others, nor of their jobs."""
    (tmp_path / "script.py").write_text(SCRIPT)
    job = testbed.sbatch(
        *["--array=0-1", "--cpus-per-task=1", "--output=out-%a.txt"],
        f"--wrap={sys.executable} script.py",
        cwd=tmp_path,
    )
    outputs = [tmp_path / f"out-{k}.txt" for k in range(2)]
    # Both are over; squeue lists all elements for the array's number.
    wait_until(lambda: set(testbed.state_of(job).split()) <= {"COMPLETED", "FAILED"}, 120)
    found = []
    for output in outputs:
        lines = output.read_text().splitlines()
        found += [line.split()[1:] for line in lines if line.startswith("found")]
        assert lines[-1].startswith("found"), output.read_text()
    own, here, there, pilot, run_dir = zip(*found, strict=True)
    assert here == own
    assert there == pilot
    assert len({*own, *pilot}) == 4
    assert job in own
    assert len({*run_dir}) == 2
    assert testbed.state_of(job).split() == ["COMPLETED", "COMPLETED"]
    wait_until(lambda: all(testbed.state_of(number) == "CANCELLED" for number in pilot))


def test_an_element_with_the_array_s_number_is_canceled_alone(cluster, tmp_path):
    name = unique_name("p")
    job = testbed.sbatch(
        *["--array=0-1", f"--job-name={name}", "--output=/dev/null", "--wrap=exec sleep 300"],
        cwd=tmp_path,
    )

    def states():
        lines = slurm("squeue", "--noheader", "--states=all", "--format=%A %T", f"--jobs={job}")
        return dict(line.split() for line in lines.splitlines())

    wait_until(lambda: sorted(states().values()) == ["RUNNING", "RUNNING"])
    cancel(OwnJob(job, name))
    wait_until(lambda: states()[job] == "CANCELLED")
    (other,) = states().keys() - {job}
    assert states()[other] == "RUNNING"
    cancel(OwnJob(other, name))
    wait_until(lambda: states()[other] == "CANCELLED")
