"""`pilotcut doctor`: what works, what is absent, and what is wrong with its fix."""

import json
import shutil
from types import SimpleNamespace

import pytest
from support.slurm_commands import Commands


@pytest.fixture
def found(call, monkeypatch, tmp_path):
    """Return a function that gives exit code and findings, with these commands alone."""
    home = tmp_path / "bin"
    home.mkdir()
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "cache"))

    def run():
        code, out, err = call("doctor", "--run-dir", tmp_path / "runs", "--json")
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
    for what in ("Python", "Aer", "TLS", "Slurm", "munge", "MPI", "disk", "clock", "calibration"):
        assert what in out
