"""Calibration of pilots: measured, merged with what was known, and kept.

For ``pilotcut calibrate``, and for estimators with ``cuts="auto"``, whose pilots may never have
been measured (`calibrated_pilots`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from errno import EACCES
from pathlib import Path

from pilotcut.errors import UserError
from pilotcut.io.disk import why_unwritten
from pilotcut.perfmodel.calibration import Calibration, key_of
from pilotcut.perfmodel.calibration_files import merged, path_of, save
from pilotcut.perfmodel.forecast import CalibratedPilot
from pilotcut.perfmodel.known_pilots import (
    Pilots,
    Views,
    descriptions_of,
    devices_in,
    taking_part,
    views_of,
)
from pilotcut.perfmodel.measure import BUDGET_S, measure, measure_through
from pilotcut.pilots.description import PilotDescription
from pilotcut.tasks import TaskManager

_log = logging.getLogger(__name__)


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
            f"calibrations cannot be kept in {place} ({why_unwritten(error, place)}), expected a "
            f"directory that can be written; set PILOTCUT_CACHE_DIR to one"
        ) from None


def calibrated_pilots(tasks: TaskManager | None, pilots: Pilots, mode: str) -> Views:
    """Return pilots with what is known of them, measured first where that is nothing, or stale.

    Parameters
    ----------
    tasks
        Whose pilots they are; None where these are yet to come.
    pilots
        Those that are described, without `tasks`.
    mode
        Of `CutEstimator`; a calibration may have one mode and not another.
    """
    described = taking_part(descriptions_of(tasks.pilots if tasks is not None else pilots), mode)
    if devices := devices_in(described):
        return views_of(devices, mode)
    kinds = {key_of(pilot): pilot for pilot in described}
    slots = sum(pilot.slots for pilot in described if pilot is not None)
    # What batches take on all slots says something of a kind of pilot only if all are of that kind.
    alike = tasks is not None and len(kinds) == 1 and tasks.slots == slots
    for pilot in kinds.values():
        if not _is_known(pilot, mode):
            calibrate(pilot, tasks if alike else None, [mode])
    return [_view_of(pilot, mode) for pilot in described]


def _view_of(pilot: PilotDescription | None, mode: str) -> CalibratedPilot:
    (view,) = views_of(None if pilot is None else [pilot], mode)
    assert isinstance(view, CalibratedPilot)
    return view


def _is_known(pilot: PilotDescription | None, mode: str) -> bool:
    try:
        _view_of(pilot, mode).calibration.costs(mode)
    except UserError as error:
        _log.warning("%s: measuring it now, for about %.0f s", error, BUDGET_S[mode])
        return False
    return True
