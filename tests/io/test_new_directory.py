"""Directories named by the time are made by one process each."""

import subprocess
import sys

import pytest

from pilotcut.errors import RunDirectoryError
from pilotcut.io.new_directory import given_or_new, new_directory, private_directory


def test_processes_that_start_in_the_same_second_have_directories_of_their_own(tmp_path):
    """As elements of an array of trainings do."""
    script = (
        "from pathlib import Path; from pilotcut.io.new_directory import new_directory\n"
        "import sys; [print(new_directory(Path(sys.argv[1]) / 'runs' / 'iris')) for _ in range(20)]"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    found = [path for one in started for path in one.communicate(timeout=60)[0].split()]
    assert len(found) == len(set(found)) == 80
    assert all(path.startswith(f"{tmp_path}/runs/iris-2") for path in found)


def test_a_new_directory_that_stays_empty_goes_again_and_a_given_one_stays(tmp_path):
    with given_or_new(None, tmp_path / "runs" / "x") as empty:
        assert empty.stat().st_mode & 0o777 == 0o700
    assert not empty.exists()
    with given_or_new(None, tmp_path / "runs" / "x") as used:
        (used / "log").touch()
    assert used.exists()
    given = tmp_path / "given"
    given.mkdir()
    with given_or_new(given, tmp_path / "runs" / "x") as same:
        assert same == given
    assert given.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"no directory can be made in '.*file/runs'"):
        new_directory(tmp_path / "file" / "runs" / "x")
    with pytest.raises(RunDirectoryError, match=r"'.*file/x' cannot be a run directory"):
        private_directory(tmp_path / "file" / "x")
