"""Pilot descriptions that tests write, and the faults that are found in them."""

from pathlib import Path

import pytest

from pilotcut.errors import DescriptionError
from pilotcut.pilots.description import load_descriptions


def write(folder: Path, text: str) -> Path:
    path = folder / "pilots.yaml"
    path.write_text(text)
    return path


def faults_of(folder: Path, text: str) -> list[str]:
    """Return the faults without the file's name, which must start each of them."""
    path = write(folder, text)
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(path)
    assert all(fault.startswith(f"{path}: ") for fault in caught.value.faults)
    return [fault.removeprefix(f"{path}: ") for fault in caught.value.faults]
