"""Outlook of a training: how long all of its steps will take, said before the first.

Counted as one call is (`pilotcut.execution.duration`), times the steps. Owns how many calls of
what size a training makes; refuses to know data and networks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil

import numpy as np

from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.duration import seconds_of
from pilotcut.execution.long_calls import NOTE_S, USUAL_SHOTS, quicker, readable
from pilotcut.execution.work_units import Request
from pilotcut.options import (
    MODES,
    counted,
)
from pilotcut.primitives.derivative import requests_of_shifts


@dataclass(frozen=True)
class Steps:
    """Steps of a training.

    Parameters
    ----------
    epochs, batch_size
        As asked.
    trained, watched
        Samples of an epoch that are trained on, and that are only evaluated.
    gradient
        Whether a step takes derivatives; without, an epoch is one evaluation of all samples.
    """

    epochs: int
    batch_size: int
    trained: int
    watched: int
    gradient: bool

    @property
    def batch(self) -> int:
        """Samples of one step."""
        return min(self.batch_size, self.trained) if self.gradient else self.trained

    @property
    def number(self) -> int:
        """Steps of an epoch."""
        return ceil(self.trained / self.batch)


def outlook(
    plan: CutPlan, mode: str, shots: int, steps: Steps, weights: Collection[int], workers: int
) -> str:
    """Return the line about a training that is predicted to take long, '' for a short one.

    Parameters
    ----------
    plan, mode, shots
        What is run.
    steps
        How often.
    weights
        The slots that are trained.
    workers
        How many work units run at a time.
    """
    known = (plan, shots, steps, weights)
    seconds = _seconds(mode, *known) / workers
    if seconds < NOTE_S:
        return ""
    ways = [
        text
        for other in MODES
        if other != mode
        for text in quicker(f"mode='{other}'", _seconds(other, *known) / workers, seconds)
    ]
    advice = ", ".join(ways) or "fewer epochs, samples or cuts would be quicker"
    each = readable(seconds / steps.epochs / steps.number)
    return (
        f"the training is predicted to take {readable(seconds)}: {counted(steps.epochs, 'epoch')} "
        f"of {counted(steps.number, 'step')}, {each} a step in mode '{mode}'; {advice}"
    )


def _seconds(mode: str, plan: CutPlan, shots: int, steps: Steps, weights: Collection[int]) -> float:
    """Return predicted seconds of all epochs on one worker."""
    number = 0 if mode == "exact" else shots or USUAL_SHOTS
    step = _values_s(plan, mode, number, steps.batch)
    if steps.gradient:
        step += step  # the gradient evaluates the batch anew
        slots = np.zeros((steps.batch, plan.program.num_slots))
        if mode == "exact":
            owners = [f for f in plan.fragments if any(a.slot in weights for a in f.angles)]
            pulled = [Request(f, f.angle_values(slots)) for f in owners]
            step += seconds_of(pulled, mode, pulled=1)
        else:
            step += seconds_of(requests_of_shifts(plan, slots, number, set(weights)), mode)
    watched = _values_s(plan, mode, number, steps.watched)
    return steps.epochs * (steps.number * step + watched)


def _values_s(plan: CutPlan, mode: str, shots: int, rows: int) -> float:
    slots = np.zeros((rows, plan.program.num_slots))
    requests = [Request(f, f.angle_values(slots), shots) for f in plan.fragments]
    return seconds_of(requests, mode) if rows else 0.0
