"""Pilots from the shell, on Slurm: `pilots show`, `up`, `status` and `down`, and `run`."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pilotcut.pilots import PilotState, registry

from . import testbed
from .testbed import wait_until

pytestmark = pytest.mark.slurm

SCRIPT = """
import os, sys
from pilotcut import PilotManager, TaskManager

if __name__ == "__main__":
    with PilotManager.from_environment() as pilots, TaskManager(pilots) as tasks:
        node = tasks.submit_task(os.getenv, "SLURMD_NODENAME").result(60)
    print("it ran on", node)
    sys.exit(7)
"""


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    """Return a directory with a pilot description and a script that uses its pilot."""
    path = tmp_path_factory.mktemp("commands")
    (path / "script.py").write_text(SCRIPT)
    (path / "pilots.yaml").write_text(
        "pilots: [{name: p, resource: slurm, queue: cpu, walltime: '00:10:00'}]\n"
    )
    return path


def pilotcut(place, *arguments):
    """Run a command of ours in a directory, as one does from a shell."""
    return subprocess.run(
        [sys.executable, "-m", "pilotcut.cli", *map(str, arguments)],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"COLUMNS": "120"},
    )


def use(place, connection_file):
    """Run the script with the pilots of a connection file."""
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PILOTCUT_CONNECTION": str(connection_file)},
    )


@pytest.fixture(scope="module")
def up(place):
    """Return pilots that `pilots up` has started, and what it has said."""
    before = set(testbed.jobs())
    run_dir = place / "kept"
    said = pilotcut(place, "pilots", "up", "pilots.yaml", "--run-dir", run_dir)
    yield SimpleNamespace(
        said=said, run_dir=run_dir, connection=run_dir / "connection.json", before=before
    )
    if (run_dir / "keeper.json").exists():
        pilotcut(place, "pilots", "down", "--run-dir", run_dir)


def test_up_says_how_the_pilots_are_used_and_ended(up):
    assert up.said.returncode == 0, up.said.stderr
    assert f"export PILOTCUT_CONNECTION={up.connection}" in up.said.stdout
    assert f"pilotcut pilots down --run-dir {up.run_dir}" in up.said.stdout


def test_a_script_uses_the_pilots_that_are_up_and_leaves_them(place, up):
    for _ in range(2):
        done = use(place, up.connection)
        assert (done.returncode, done.stdout) == (7, "it ran on cpu1\n"), done.stderr
    entries = registry.read(up.run_dir / registry.FILE_NAME)
    assert [entry.state for entry in entries] == [PilotState.ACTIVE]


def test_status_shows_where_each_pilot_stands(place, up):
    said = pilotcut(place, "pilots", "status", "--run-dir", up.run_dir)
    (row,) = [line for line in said.stdout.splitlines() if " p " in line]
    assert [cell.strip() for cell in row.split("│")][1:4] == ["p", "slurm", "active"]


def test_down_ends_the_pilots_with_their_jobs(place, up):
    said = pilotcut(place, "pilots", "down", "--run-dir", up.run_dir)
    assert said.returncode == 0, said.stderr
    assert not up.connection.exists()
    wait_until(lambda: set(testbed.jobs()) <= up.before)


def test_run_starts_pilots_for_a_command_and_ends_them(place):
    before = set(testbed.jobs())
    arguments = ["run", "pilots.yaml", "--run-dir", "lent", "--", sys.executable, "script.py"]
    done = pilotcut(place, *arguments)
    assert (done.returncode, done.stdout) == (7, "it ran on cpu1\n"), done.stderr
    assert not (place / "lent" / "connection.json").exists()
    wait_until(lambda: set(testbed.jobs()) <= before)


def test_show_prints_the_script_that_slurm_would_get(place):
    said = pilotcut(place, "pilots", "show", "pilots.yaml")
    script = said.stdout[said.stdout.index("#!") :]
    (place / "shown.sh").write_text(script)
    checked = subprocess.run(
        ["sbatch", "--test-only", "shown.sh"], cwd=place, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_doctor_asks_a_node_and_two_ranks(place):
    """On a cluster that is well nothing is wrong, and a node has been asked."""
    runs = place / "new"
    said = pilotcut(place, "doctor", "--pilots", "pilots.yaml", "--run-dir", runs, "--json")
    findings = {one["what"]: one for one in json.loads(said.stdout)}
    assert [one for one in findings.values() if one["state"] == "wrong"] == []
    assert findings["node of 'p'"]["said"] == f"it sees {place}, and its clock is right"
    assert findings["MPI"]["said"].endswith("2 ranks are one world")
