"""What the README shows works as it stands there."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_example(number, folder):
    """Run one of its Python examples and return the lines that it prints."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    training, mpi = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    script = folder / "example.py"
    script.write_text((training, mpi)[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_python_example_runs(tmp_path):
    assert [line.split()[0] for line in run_example(0, tmp_path)] == ["0", "1", "2"]


@pytest.mark.mpi
def test_the_example_of_mpi_prints_what_it_says(tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    assert run_example(1, tmp_path) == ["11"]


def test_the_session_with_distributions_runs():
    assert doctest.testfile(str(ROOT / "README.md"), module_relative=False).failed == 0


def test_files_that_it_names_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\(([\w/.]+)\)", text):
        assert (ROOT / name).exists(), name
