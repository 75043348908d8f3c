"""`pilotcut doctor`: what works, what is absent, and what is wrong with its fix."""

import importlib.metadata
import json
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.slurm_commands import Commands

from pilotcut.perfmodel.calibration_files import path_of
from pilotcut.pilots.mpi import launch, library, starters

SLURM_PILOTS = """
pilots:
  - {name: far, resource: slurm, queue: cpu, walltime: "01:00:00"}
"""


@pytest.fixture
def found(call, monkeypatch, tmp_path):
    """Return a function that gives exit code and findings, with these commands alone."""
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(launch, "run_ranks", lambda _, ranks: ranks)  # a second, and has tests
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def run(*arguments):
        code, out, err = call("doctor", "--run-dir", tmp_path / "runs", *arguments, "--json")
        assert "Traceback" not in err
        return code, {one["what"]: one for one in json.loads(out)}

    return run


def test_a_laptop_is_well_without_slurm(found, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, findings = found()
    assert code == 0, findings
    states = {what: one["state"] for what, one in findings.items()}
    assert states["Aer"] == states["TLS"] == states["disk"] == states["clock"] == "works"
    assert states["Slurm"] == states["munge"] == states["calibration"] == "absent"
    assert not (tmp_path / "runs").exists()


def test_what_is_wrong_is_told_with_its_fix(found, monkeypatch, tmp_path):
    commands = Commands(tmp_path)
    commands.let("squeue", complains="slurm_load_jobs error: Unable to contact\n", status=1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    few = SimpleNamespace(free=512, total=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)
    code, findings = found()
    assert code == 1
    slurm, disk = findings["Slurm"], findings["disk"]
    assert slurm["state"] == disk["state"] == "wrong"
    assert slurm["said"] == "squeue failed: slurm_load_jobs error: Unable to contact"
    assert disk["said"] == f"{tmp_path} has 512 bytes free of 2 MB"
    assert disk["fix"] == "make room, or name another --run-dir"


def test_a_run_directory_that_cannot_be_is_a_fault_of_the_disk_alone(call, tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "cache"))

    monkeypatch.setenv("PATH", str(tmp_path))  # without Slurm

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").touch()
    for place, said in (("file", "is a file"), ("new", "cannot be written (Permission denied)")):
        code, out, _ = call("doctor", "--run-dir", tmp_path / place, "--json")
        wrong = [one for one in json.loads(out) if one["state"] == "wrong"]
        assert code == 1
        assert [one["what"] for one in wrong] == ["disk"]
        assert said in wrong[0]["said"]
        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)


def test_the_table_names_everything(call, tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "cache"))
    _, out, _ = call("doctor", "--run-dir", tmp_path)
    for what in ("Python", "Aer", "GPU", "TLS", "proxy", "Slurm", "munge", "MPI", "disk", "clock"):
        assert what in out


# -- planted faults --------------------------------------------------------------------


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Return Slurm's commands of a cluster that is well, with a node that sees all."""
    made = Commands(tmp_path)
    made.replace("munge", "#!/bin/sh\necho credential\n")
    made.replace("unmunge", "#!/bin/sh\ncat > /dev/null\n")
    made.replace("srun", NODE.format(file='"$file"', clock="date +%s.%N"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return made


#: An srun that runs the command, on a node that has this file in place of the one of the run
#: directory, and this clock.
NODE = """#!/bin/bash
[ "$1" = --mpi=list ] && {{ echo "MPI plugin types are... pmi2"; exit; }}
while [ "${{1#--}}" != "$1" ]; do shift; done
file=${{@: -1}}
set -- "${{@:1:$#-1}}"
date() {{ command {clock}; }}
export -f date
exec bash "${{@:2}}" {file}
"""


@pytest.fixture
def pilots(tmp_path):
    path = tmp_path / "pilots.yaml"
    path.write_text(SLURM_PILOTS)
    return path


def test_a_cluster_that_is_well_has_no_complaints(found, commands, pilots):
    code, findings = found("--pilots", pilots)
    states = {what: one["state"] for what, one in findings.items()}
    assert code == 0, findings
    assert states["Slurm"] == states["munge"] == states["MPI"] == "works"
    assert states["node of 'far'"] == "works", findings["node of 'far'"]


def no_munge(commands, monkeypatch):
    commands.replace("munge", "#!/bin/sh\necho 'munge: Error: Failed to access socket' >&2; exit 6")
    commands.replace("unmunge", "#!/bin/sh\nexit 17\n")


def wrong_mpi(commands, monkeypatch):
    mpich = library.Library("mpich", Path("/opt/lib/libmpi.so.12"), speaks_pmix=False)
    monkeypatch.setattr(starters, "libraries", lambda *_: iter([mpich]))
    monkeypatch.setenv("PILOTCUT_MPI_LAUNCHER", "srun --mpi=pmix")


def full_disk(commands, monkeypatch):
    few = SimpleNamespace(free=512, total=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)


def not_shared(commands, monkeypatch):
    commands.replace("srun", NODE.format(file="/nonexistent", clock="date +%s.%N"))


def no_driver(commands, monkeypatch):
    version = importlib.metadata.version
    gpu = "qiskit-aer-gpu"
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.17.2" if name == gpu else version(name)
    )


def old_calibration(commands, monkeypatch):
    path_of(None).parent.mkdir(parents=True)
    made = {"pilot": "here", "key": "here", "slots": 1, "machine": "another", "seen": {}}
    data = made | {"versions": {}, "made": "2020-01-01", "modes": {}, "model": 1}
    path_of(None).write_text(json.dumps(data))


def proxy_for_all(commands, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "example.org")


def proxy_that_is_gone(commands, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{address[1]}")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")


def clock_skew(commands, monkeypatch):
    commands.replace("srun", NODE.format(file='"$file"', clock="date -d '90 seconds' +%s.%N"))


FAULTS = {
    no_munge: ("munge", "Failed to access socket", "start munged"),
    wrong_mpi: ("MPI", "does not start ranks of MPICH", "srun --mpi=pmi2"),
    full_disk: ("disk", "512 bytes free", "make room"),
    not_shared: ("node of 'far'", "it does not see", "name another --run-dir"),
    no_driver: ("GPU", "there is no NVIDIA driver", "or qiskit-aer in its place"),
    proxy_for_all: ("proxy", "this machine itself go there too", "export no_proxy=localhost"),
    proxy_that_is_gone: ("proxy", "nothing answers (Connection refused)", "unset https_proxy"),
    clock_skew: ("node of 'far'", "its clock is 9", "NTP"),
}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_planted_faults_are_named_alone_with_what_mends_them(
    found, commands, monkeypatch, pilots, plant
):
    """Each of the faults that clusters have is the one thing that is wrong."""
    plant(commands, monkeypatch)
    what, said, fix = FAULTS[plant]
    code, findings = found("--pilots", pilots)
    assert code == 1
    assert [name for name, one in findings.items() if one["state"] == "wrong"] == [what], findings
    assert said in findings[what]["said"]
    assert fix in findings[what]["fix"]


def test_an_old_calibration_is_named(found, commands, monkeypatch):
    """What was measured with other versions, on another machine, does not hold here."""
    old_calibration(commands, monkeypatch)
    code, findings = found()
    assert code == 1
    assert "calibration of this process is stale" in findings["calibration"]["said"]
    assert findings["calibration"]["fix"].startswith("run pilotcut calibrate again")
