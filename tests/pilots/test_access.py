"""Access modes in descriptions: faults are lines, and Slurm is asked for what the device is."""

from pathlib import Path

import pytest

from pilotcut.errors import DescriptionError
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.pilots.slurm.job_script import make_job
from pilotcut.pilots.worker.sessions import ASKED

LAB = {"sampler": "lab:make"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("access: sessions", "did you mean 'session'?"),
        ("limits: {circuit: 3}", "limits.circuit is an unknown key; did you mean 'circuits'?"),
        ("limits: {shots: 0}", "limits.shots is 0, expected a whole number from 1 up"),
        ("wait_s: 0", "wait_s is 0, expected seconds, a number above 0"),
        ("instead: simulator", "expected wait_s: SECONDS beside instead, which says when"),
        ("slurm: gres", "slurm is 'gres', expected qpu=NAME or gres=qpu:1"),
        ("slurm: qpu=a", "no qpu.slurm with resource inprocess, which runs no sbatch"),
        ("job_s: 0", "job_s is 0, expected seconds, a number above 0"),
        ("mitigation: zne+pec", "mitigation is 'zne+pec', expected none, readout, zne"),
        ("mitigation: pec samples=1", "mitigation's samples is 1, expected a whole number from 2"),
        ("price: {second: -1}", "price.second is -1, expected a number from 0 up"),
    ],
)
def test_faults_of_access_are_lines(tmp_path, fields, expected):
    file = tmp_path / "pilots.yaml"
    file.write_text(
        "pilots: [{name: q, resource: inprocess, backend: {qpu: {sampler: 'm:f', "
        f"{fields}}}}}}}]"
    )
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(file)
    assert any(expected in fault for fault in caught.value.faults), caught.value.faults


@pytest.mark.parametrize(
    ("workers", "qpu", "expected"),
    [
        (2, {"access": "dedicated"}, "one worker with access dedicated, and there are 2"),
        (3, {"limits": {"jobs": 2}}, "limits.jobs of at least the number of workers, which is 3"),
    ],
)
def test_workers_must_go_with_the_access(workers, qpu, expected):
    fields = {"name": "q", "resource": "inprocess", "workers_per_node": workers}
    with pytest.raises(ValueError, match=expected):
        PilotDescription(**fields, backend={"qpu": LAB | qpu})


def test_a_device_that_aer_plays_has_no_access():
    with pytest.raises(ValueError, match="no limits, wait_s for a device that Aer plays"):
        QpuDescription(like="FakeManilaV2", wait_s=3, limits={"shots": 3})


def test_the_way_follows_the_client_s_mode_unless_it_is_said():
    assert QpuDescription(**LAB).way == "shared"
    for mode, way in (("job", "shared"), ("session", "session"), ("batch", "batch")):
        assert QpuDescription(runtime={"backend": "ibm_x", "mode": mode}).way == way
    said = QpuDescription(runtime={"backend": "ibm_x"}, access="session")
    assert said.keeps_session
    assert said.opened_runtime.mode == "session"
    with pytest.raises(ValueError, match="no access shared beside runtime"):
        QpuDescription(runtime={"backend": "ibm_x", "mode": "session"}, access="shared")
    # The client's local mode has sessions that no other process attaches to.
    assert not QpuDescription(runtime={"backend": "FakeManilaV2"}, access="session").keeps_session
    assert QpuDescription(**LAB, access="batch").keeps_session


def script(qpu, **fields):
    pilot = PilotDescription(name="q", resource="slurm", backend={"qpu": LAB | qpu}, **fields)
    return make_job(pilot, "q", Path("/run/connection.json"), Path("/run")).job_script()


def test_a_qpu_of_slurm_s_is_asked_for_beside_gpus():
    assert "#SBATCH --qpu=ibm_a" in script({"slurm": "qpu=ibm_a"})
    assert "#SBATCH --gres=qpu:1\n" in script({"slurm": "gres=qpu:1"})
    assert "#SBATCH --gres=gpu:2,qpu:1\n" in script({"slurm": "gres=qpu:1"}, gpus_per_node=2)


def test_what_a_session_is_opened_with_is_in_no_command_line():
    text = script({"access": "session", "options": {"place": "xyzzy"}})
    (line,) = [line for line in text.splitlines() if "xyzzy" in line]
    assert line.startswith(f"export '{ASKED}=")
    assert ASKED not in script({})
