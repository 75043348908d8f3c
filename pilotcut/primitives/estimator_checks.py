"""Checks of an estimator's arguments, one by one; what they mean together is the estimator's."""

from __future__ import annotations

import os
from types import NoneType
from typing import Any

import numpy as np

from pilotcut.cutting.plan import CutPlan
from pilotcut.io.jsonl import JsonLines
from pilotcut.options import (
    ALLOCATIONS,
    ENGINES,
    MODES,
    RECONSTRUCTIONS,
    WIRES,
    check,
    choice_fault,
    directory_fault,
    dtype_fault,
    kind_fault,
    number_fault,
)


def check_arguments(
    plan: Any,
    store: Any,
    joint_cuts: Any,
    trace: Any,
    wires: Any,
    mode: Any,
    engine: Any,
    dtype: Any,
    shot_allocation: Any,
    reconstruction: Any,
) -> None:
    """Raise one `UserError` with every argument of `CutEstimator` that is of a wrong kind."""
    path = (str, os.PathLike, NoneType)
    check(
        kind_fault("plan", plan, (CutPlan, NoneType), "a CutPlan", "compile_plan makes one"),
        directory_fault("store", store),
        kind_fault("joint_cuts", joint_cuts, (bool, np.bool_), "True or False"),
        kind_fault("trace", trace, (*path, JsonLines), "the path of a file, or JsonLines(path)"),
        choice_fault("wires", wires, WIRES),
        choice_fault("mode", mode, MODES),
        choice_fault("engine", engine, ENGINES),
        dtype_fault(dtype, mode),
        choice_fault("shot_allocation", shot_allocation, ALLOCATIONS),
        choice_fault("reconstruction", reconstruction, RECONSTRUCTIONS),
    )


def checked_usage(max_usage: float | None) -> float | None:
    """Return `max_usage` if it is a number above 0, or None."""
    if max_usage is None:
        return None
    check(number_fault("max_usage", max_usage, lambda x: x > 0, "seconds above 0", "or None"))
    return float(max_usage)
