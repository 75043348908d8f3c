"""Pilots and options of a plan for ``cuts="auto"``: what was never measured is measured first."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pilotcut.errors import UserError
from pilotcut.perfmodel.calibrate import calibrate
from pilotcut.perfmodel.calibration import key_of
from pilotcut.perfmodel.forecast import CalibratedPilot
from pilotcut.perfmodel.known_pilots import (
    Pilots,
    Views,
    descriptions_of,
    devices_in,
    taking_part,
    views_of,
)
from pilotcut.perfmodel.measure import BUDGET_S
from pilotcut.perfmodel.options import Options
from pilotcut.pilots.description import PilotDescription
from pilotcut.tasks import TaskManager

_log = logging.getLogger(__name__)


def options_of(asked: Mapping[str, Any]) -> Options:
    """Return checked options by name.

    Raises
    ------
    UserError
        For a name that is none, and options that make no sense.
    """
    unknown = sorted(set(asked) - set(Options.__dataclass_fields__))
    if unknown:
        names = ", ".join([*Options.__dataclass_fields__, "pilots"])
        raise UserError(f"auto has '{unknown[0]}', expected some of {names}")
    return Options(**asked)


def known_pilots(tasks: TaskManager | None, pilots: Pilots, mode: str) -> Views:
    """Return the pilots of `tasks`, or where these are yet to come those that are described.

    Pilots that have no calibration for the mode, or a stale one, are measured first.
    """
    described = taking_part(descriptions_of(tasks.pilots if tasks is not None else pilots), mode)
    if devices := devices_in(described):
        return views_of(devices, mode)
    kinds = {key_of(pilot): pilot for pilot in described}
    slots = sum(pilot.slots for pilot in described if pilot is not None)
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
