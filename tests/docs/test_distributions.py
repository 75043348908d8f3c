"""Distributions: sdist and wheel build, have valid metadata and all files, and work alone."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BASE_INSTALL = ROOT / "tests" / "support" / "base_install.py"

#: What there is to build with and to look at once the sources are unpacked.
IN_SDIST = (
    *("Makefile", "constraints.txt", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"),
    *("docs/architecture.md", "docs/conf.py", "benchmarks/README.md", "examples/trainer.py"),
    *("slurm/train.sbatch", "tests/conftest.py", ".ci/run", "findings/README.md"),
)

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; ry(0.3) q[0]; cx q[0],q[1];'

# In a process of its own, where nothing but the base and what is unpacked is found.
SMOKE = """
import sys
sys.path.insert(0, PLACE)
import pilotcut
assert pilotcut.__file__.startswith(PLACE), pilotcut.__file__
from pilotcut import cli

def call(line):
    sys.argv = ["pilotcut", *line.split()]
    assert (code := cli._run()) == 0, (line, code)

call("--version")
call("pilots show laptop")
call("pilots show qpu_fleet")
call("motif")
call("plan bell.qasm --cuts 1")
from qiskit import QuantumCircuit
from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.circuits.reader import load_circuit
with PilotManager.from_yaml("inprocess") as pilots, TaskManager(pilots) as tasks:
    estimator = CutEstimator(tasks, cuts=1, mode="counts", shots=4000, seed=7)
    data = estimator.run([(load_circuit("bell.qasm"), "ZI")]).result()[0].data
assert abs(data.evs - 0.955336) < 6 * data.stds + 1e-9, data
"""


def tracked(*folders):
    """Return the files that git knows, relative to the root."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--", *folders]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the sdist of the tracked files, and the wheel that is built of it."""
    place = tmp_path_factory.mktemp("built")
    for name in tracked():
        target = place / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target, follow_symlinks=False)
    # Without isolation, so that nothing is downloaded. It builds the wheel of the sdist.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist"]
    done = subprocess.run([*build, place / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (sdist,), (wheel,) = ((place / "dist").glob(kind) for kind in ("*.tar.gz", "*.whl"))
    return sdist, wheel


def unpacked(archive, place):
    """Unpack a distribution; return the folder that pilotcut is imported from."""
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(place)
        return place
    with tarfile.open(archive) as file:
        file.extractall(place, filter="data")
    (folder,) = place.iterdir()
    return folder


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(built):
    names = [name for name in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(tracked("pilotcut"))


def test_the_sdist_has_what_is_needed_to_work_on_it(built):
    with tarfile.open(built[0]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert [name for name in (*IN_SDIST, *tracked("pilotcut")) if name not in names] == []
    assert not [name for name in names if "__pycache__" in name]


def test_the_metadata_is_what_an_index_takes(built):
    with zipfile.ZipFile(built[1]) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        of_wheel = Metadata.from_email(file.read(name), validate=True)
    with tarfile.open(built[0]) as file:
        (name,) = (n for n in file.getnames() if n.count("/") == 1 and n.endswith("/PKG-INFO"))
        of_sdist = Metadata.from_email(file.extractfile(name).read(), validate=True)
    assert of_wheel.requires_dist == of_sdist.requires_dist
    assert of_wheel.description_content_type.startswith("text/markdown")
    assert of_wheel.description == (ROOT / "README.md").read_text(encoding="utf-8")
    assert of_wheel.license == of_sdist.license == "Apache-2.0"
    # Whoever says nothing gets the base.
    base = [one for one in of_wheel.requires_dist if one.marker is None]
    heavy = {"torch", "matplotlib", "bokeh", "scikit-learn", "qiskit-machine-learning"}
    assert {"qiskit", "qiskit-aer", "distributed"} < {one.name for one in base}
    assert not heavy & {one.name for one in base}
    assert all(isinstance(one, Requirement) for one in base)


@pytest.mark.parametrize("kind", [0, 1], ids=["sdist", "wheel"])
def test_it_works_alone_in_an_empty_folder_with_the_base_packages(built, kind, tmp_path):
    place = unpacked(built[kind], tmp_path / "unpacked")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "bell.qasm").write_text(BELL)
    done = subprocess.run(
        [sys.executable, "-P", BASE_INSTALL],
        input=SMOKE.replace("PLACE", repr(str(place))),
        capture_output=True,
        text=True,
        cwd=empty,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
