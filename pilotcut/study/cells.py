"""Cell of a study, which is one measurement: settings, run directory, result once it is done.

    OUT/study.json            what the study was started with
    OUT/rq1/NAME/             the run directory of a cell
    OUT/rq1/NAME.json         its settings and result, written in one step when it is done

A cell is done when its result is there. So a study that is killed at any moment repeats no
finished cell and loses none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotcut.errors import RunDirectoryError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten
from pilotcut.study.findings import CellResult

FILE_NAME = "study.json"


@dataclass(frozen=True)
class Cell:
    """A measurement: a question, a name that is unique in it, and plain settings."""

    question: str
    name: str
    settings: Mapping[str, Any]


class StudyDirectory:
    """Files of one study.

    Parameters
    ----------
    path
        Where they are, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, settings: Mapping[str, Any]) -> None:
        """Begin a study here, or continue the one that is here.

        Raises
        ------
        RunDirectoryError
            If something else is here, or a study with other settings.
        """
        place = self.path / FILE_NAME
        if place.exists():
            self._check_same(settings)
        elif self._holds_something_else():
            raise RunDirectoryError(
                f"out is '{self.path}', which holds something else, expected a new or empty "
                f"directory or one of a study; give another --out"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(place, json.dumps(settings, indent=1))
        except OSError as error:
            raise RunDirectoryError(
                f"out is '{self.path}', which cannot be written "
                f"({why_unwritten(error, self.path)}), expected a place that can; give another "
                f"--out"
            ) from None

    def _holds_something_else(self) -> bool:
        """Whether there is more than what a kill has left of the first file."""
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            return True
        return any(not one.name.startswith(FILE_NAME) for one in self.path.iterdir())

    def _check_same(self, settings: Mapping[str, Any]) -> None:
        """Compare with what the study was started with; a torn file is written anew.

        Results say themselves what they were measured with, so nothing is mixed by that.
        """
        old = read_json(self.path / FILE_NAME) or settings
        for name, value in settings.items():
            if old.get(name) != value:
                found = f"is '{value}'" if isinstance(value, str) else "differ"
                was = f" with '{old.get(name)}'" if isinstance(value, str) else " with others"
                raise RunDirectoryError(
                    f"{name} {found}, but the study in '{self.path}' was started{was}; keep to "
                    f"those, or give another --out"
                )

    def run_dir(self, cell: Cell) -> Path:
        """Return the run directory of a cell."""
        return self.path / cell.question / cell.name

    def fresh_run_dir(self, cell: Cell) -> Path:
        """Return the run directory of a cell, without what an interrupted try left there."""
        place = self.run_dir(cell)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def result(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell, None where it is not done, or no longer readable.

        Raises
        ------
        RunDirectoryError
            If it is that of a cell with other settings: of another version of the study.
        """
        found = read_json(self.place(cell)) or {}
        if not isinstance(found.get("values"), dict) or "settings" not in found:
            return None
        # As they come back from a file, where tuples are lists.
        plain = json.loads(json.dumps(dict(cell.settings)))
        if found["settings"] != plain:
            raise RunDirectoryError(
                f"{self.place(cell)} was measured with {found['settings']}, expected {plain}; keep "
                f"to the version of pilotcut that began the study, or give another --out"
            )
        return CellResult(cell.settings, found["values"])

    def results(self, cells: Iterable[Cell]) -> list[CellResult]:
        """Return the results of those that are done, in the order of the cells."""
        found = (self.result(cell) for cell in cells)
        return [result for result in found if result is not None]

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return the cells that are not done."""
        return [cell for cell in cells if self.result(cell) is None]

    def save(self, cell: Cell, values: Mapping[str, Any]) -> None:
        """Write the result of a cell; from now on it is done."""
        save_result(self.place(cell), cell, values)

    def place(self, cell: Cell) -> Path:
        """Return the file of a cell's result."""
        return self.path / cell.question / f"{cell.name}.json"


def save_result(place: Path, cell: Cell, values: Mapping[str, Any]) -> None:
    """Write a result in one step."""
    place.parent.mkdir(parents=True, exist_ok=True)
    content = {"settings": dict(cell.settings), "values": dict(values)}
    write_atomically(place, json.dumps(content, indent=1))


def read_json(place: Path) -> dict[str, Any] | None:
    """Return the mapping in a file, None where there is none."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
