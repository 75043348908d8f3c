"""Recommendations for an estimator: pilots that were never measured are measured first."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pilotcut.descriptions import PilotDescription
from pilotcut.dreamer.calibrate import BUDGET_S, calibrate, calibrate_through
from pilotcut.dreamer.calibration import key_of, merged, path_of, save
from pilotcut.dreamer.forecast import PilotView
from pilotcut.dreamer.recommend import (
    Options,
    Pilots,
    descriptions_of,
    views_of,
)
from pilotcut.errors import UserError
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
    options = Options(**asked)
    options.check()
    return options


def known_pilots(tasks: TaskManager | None, pilots: Pilots, mode: str) -> list[PilotView]:
    """Return the pilots of `tasks`, or where these are yet to come those that are described.

    Pilots that have no calibration for the mode, or a stale one, are measured first.
    """
    described = descriptions_of(tasks.pilots if tasks is not None else pilots)
    kinds = {key_of(pilot): pilot for pilot in described}
    for pilot in kinds.values():
        if not _is_known(pilot, mode):
            _measure(pilot, tasks if len(kinds) == 1 else None, mode)
    return [view for pilot in described for view in views_of(None if pilot is None else [pilot])]


def _is_known(pilot: PilotDescription | None, mode: str) -> bool:
    try:
        (view,) = views_of(None if pilot is None else [pilot])
        view.calibration.costs(mode)
    except UserError as error:
        _log.warning("%s: measuring it now, for about %.0f s", error, BUDGET_S[mode])
        return False
    return True


def _measure(pilot: PilotDescription | None, tasks: TaskManager | None, mode: str) -> None:
    """Measure a kind of pilot, on those that are there if they are all of this kind."""
    made = calibrate(pilot, [mode]) if tasks is None else calibrate_through(tasks, pilot, [mode])
    path = path_of(pilot)
    save(merged(path, made), path)
