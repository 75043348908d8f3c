"""Calibration of a kind of pilot: measured, merged with what was known, and kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from errno import EACCES
from pathlib import Path

from pilotcut.errors import UserError
from pilotcut.perfmodel.calibration import Calibration
from pilotcut.perfmodel.calibration_files import merged, path_of, save
from pilotcut.perfmodel.measure import BUDGET_S, measure, measure_through
from pilotcut.pilots.description import PilotDescription
from pilotcut.tasks import TaskManager


def calibrate(
    pilot: PilotDescription | None,
    tasks: TaskManager | None,
    modes: Sequence[str],
    budget_s: Mapping[str, float] = BUDGET_S,
) -> Calibration:
    """Measure a kind of pilot and keep the result, beside the modes that were known already.

    Parameters
    ----------
    pilot
        Its description; None is this process.
    tasks
        Of pilots of this kind that are running; None starts one.
    modes, budget_s
        As in `pilotcut.perfmodel.measure.measure`.

    Raises
    ------
    UserError
        If the result could not be kept, before anything is measured.
    """
    path = path_of(pilot)
    _check_place(path.parent)
    if tasks is None:
        made = measure(pilot, modes, budget_s)
    else:
        made = measure_through(tasks, pilot, modes, budget_s)
    made = merged(path, made)
    save(made, path)
    return made


def _check_place(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, "Permission denied")
    except OSError as error:
        raise UserError(
            f"calibrations cannot be kept in {place} ({error.strerror}), expected a directory that "
            f"can be written; set PILOTCUT_CACHE_DIR to one"
        ) from None
