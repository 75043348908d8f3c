"""A full disk is told with what is free, and what is to be done."""

import errno
import shutil
from types import SimpleNamespace

import pytest

from pilotcut.errors import RunDirectoryError
from pilotcut.io.disk import full_in_words, why_unwritten
from pilotcut.io.jsonl import unwritten
from pilotcut.io.new_directory import private_directory


@pytest.fixture
def full(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=512, total=2_000_000))


def test_a_full_disk_is_told_with_what_is_free(full, tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "new" / "file"))
    words = "No space left on device, 512 bytes free of 2 MB"
    assert why_unwritten(error) == words
    assert f"events.jsonl: cannot be written ({words}), expected a place" in str(
        unwritten(tmp_path / "events.jsonl", error)
    )


def test_a_quota_is_not_told_by_the_disk_s_space(full):
    assert why_unwritten(OSError(errno.EDQUOT, "Disk quota exceeded"), "/home") == (
        "Disk quota exceeded, see 'quota -s'"
    )


def test_a_run_directory_without_room_is_one_line_before_anything_starts(full, tmp_path):
    with pytest.raises(RunDirectoryError) as caught:
        private_directory(tmp_path / "run")
    assert str(caught.value) == (
        f"'{tmp_path / 'run'}' has 512 bytes free of 2 MB, expected room for the files of a run; "
        "make room, or name another one"
    )


def test_an_empty_log_says_that_its_disk_is_full(full, tmp_path):
    assert full_in_words(tmp_path / "log") == (
        " (its disk is full, 512 bytes free of 2 MB; make room)"
    )
