"""Recommendations for an estimator: pilots that were never measured are measured first."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from qiskit.quantum_info import PauliList

from pilotcut.cutting.program import Binding, Program
from pilotcut.descriptions import PilotDescription
from pilotcut.dreamer.calibrate import BUDGET_S, calibrate, calibrate_through
from pilotcut.dreamer.calibration import key_of, merged, path_of, save
from pilotcut.dreamer.forecast import PilotView
from pilotcut.dreamer.recommend import (
    Options,
    Recommendation,
    descriptions_of,
    recommend_for,
    views_of,
)
from pilotcut.errors import UserError
from pilotcut.tasks import TaskManager

_log = logging.getLogger(__name__)


def choose(
    program: Program,
    binding: Binding,
    terms: PauliList,
    tasks: TaskManager | None,
    asked: Mapping[str, Any],
) -> Recommendation:
    """Return the recommendation for a circuit on the pilots of `tasks`.

    Parameters
    ----------
    program, binding, terms
        What is to run.
    tasks
        Where; None is this process, or what `asked` says.
    asked
        `Options` by name, and "pilots" where `tasks` are yet to come.
    """
    options = dict(asked)
    pilots = options.pop("pilots", None)
    described = descriptions_of(tasks.pilots if tasks is not None else pilots)
    try:
        known = Options(**options)
    except TypeError as error:
        names = ", ".join(Options.__dataclass_fields__)
        raise UserError(f"options of cuts 'auto': {error}; expected some of {names}") from None
    known.check()
    return recommend_for(program, binding, terms, _views(described, tasks, known.mode), known)


def _views(
    pilots: Sequence[PilotDescription | None], tasks: TaskManager | None, mode: str
) -> list[PilotView]:
    kinds = {key_of(pilot): pilot for pilot in pilots}
    for pilot in kinds.values():
        if not _is_known(pilot, mode):
            _measure(pilot, tasks if len(kinds) == 1 else None, mode)
    return [view for pilot in pilots for view in views_of(None if pilot is None else [pilot])]


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
