"""Calibration: what was measured on one kind of pilot, and the costs that follow.

It names the machine and the versions that it was made with, so that one of another machine is
named, and never used in silence. Where calibrations are kept is `calibration_files`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pilotcut.errors import UserError
from pilotcut.perfmodel.costmodel import BATCH, Costs, amounts_around, fit, makespan
from pilotcut.perfmodel.workload import Work
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.worker.versions import installed

#: Raised when amounts change their meaning: older calibrations are then stale.
MODEL = 4

#: Predictions of unseen circuits are never said to be better than this.
LEAST_SPREAD = 0.06

_PACKAGES = ("pilotcut", "qiskit", "qiskit-aer", "torch", "numpy")

#: What of a description decides how fast it works, apart from its name.
_DECISIVE = (
    "resource",
    "nodes",
    "cores_per_node",
    "gpus_per_node",
    "threads_per_worker",
    "workers_per_node",
    "queue",
    "constraint",
)


@dataclass(frozen=True)
class CallObservation:
    """Seconds of one call on a slot of its own."""

    family: str
    amounts: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class BatchObservation:
    """Seconds of one batch on all slots.

    Parameters
    ----------
    family
        Of circuits, or the run that it was seen in.
    calls
        (amounts, how many such calls) each.
    amounts
        In the order of `BATCH`; its makespan is computed from `calls` when costs are known.
    seconds
        Wall time.
    """

    family: str
    calls: tuple[tuple[tuple[float, ...], float], ...]
    amounts: tuple[float, ...]
    seconds: float


def observation(family: str, work: Work, seconds: float) -> BatchObservation:
    """Return what is kept of a batch that took so long."""
    calls = tuple((tuple(load.amounts.tolist()), load.number) for load in work.loads)
    amounts = amounts_around(work, makespan_s=0.0)
    return BatchObservation(family, calls, tuple(amounts.tolist()), seconds)


@dataclass(frozen=True)
class ModeObservations:
    """Measurements of one mode.

    `compile_step_s` and `compile_gate_s` are as in `Costs`; `slopes` are pull-backs in exact mode.
    """

    calls: tuple[CallObservation, ...]
    batches: tuple[BatchObservation, ...]
    compile_step_s: float
    compile_gate_s: float
    slopes: tuple[CallObservation, ...] = ()

    def costs(self, slots: int) -> Costs:
        """Return the costs that fit best, with the spread of families left out in turn."""
        call, batch = self._fitted(slots)
        return Costs(
            call=tuple(call.tolist()),
            batch=tuple(batch.tolist()),
            compile_step_s=self.compile_step_s,
            compile_gate_s=self.compile_gate_s,
            spread=self._spread(slots),
            slope=tuple(_fitted(self.slopes).tolist()) if self.slopes else (),
        )

    def _fitted(self, slots: int) -> tuple[np.ndarray, np.ndarray]:
        # Calls first: the makespan of a batch is computed from what they cost.
        call = _fitted(self.calls)
        amounts = np.array([_with_makespan(one, call, slots) for one in self.batches])
        return call, fit(amounts, np.array([one.seconds for one in self.batches]))

    def _spread(self, slots: int) -> float:
        # A user's circuit is of no family that was measured. How wrong the costs are for it is how
        # wrong those of the other families are for the one that was left out of the fit.
        errors: list[float] = []
        for family in {one.family for one in self.batches}:
            others = replace(
                self,
                calls=tuple(one for one in self.calls if one.family != family),
                batches=tuple(one for one in self.batches if one.family != family),
            )
            if others.calls and others.batches:
                call, batch = others._fitted(slots)
                errors += [
                    float(np.log(one.seconds / (_with_makespan(one, call, slots) @ batch)))
                    for one in self.batches
                    if one.family == family
                ]
        if not errors:
            return 0.5
        # The 90th percentile of the errors is where a 90 % interval should end.
        return max(LEAST_SPREAD, float(np.quantile(np.abs(errors), 0.9)) / 1.645)


def _fitted(calls: Sequence[CallObservation]) -> np.ndarray:
    """Return the costs of calls."""
    return fit(np.array([one.amounts for one in calls]), np.array([one.seconds for one in calls]))


def _with_makespan(one: BatchObservation, call: np.ndarray, slots: int) -> np.ndarray:
    amounts = np.array(one.amounts)
    durations = ((float(np.array(some) @ call), number) for some, number in one.calls)
    amounts[BATCH.index("makespan_s")] = makespan(durations, slots)
    return amounts


@dataclass(frozen=True)
class Calibration:
    """Measurements on one kind of pilot, with what they were made on.

    Parameters
    ----------
    pilot
        The description's name.
    key
        Hash of what decides how fast such a pilot works; see `key_of`.
    slots
        That the batches were measured with.
    machine, versions, model
        What it was made on and with.
    seen
        What a worker saw of its machine, from `pilotcut.perfmodel.resources.detect`.
    made
        When, in ISO format.
    modes
        Observations by mode.
    """

    pilot: str
    key: str
    slots: int
    machine: str
    seen: Mapping[str, Any]
    versions: Mapping[str, str]
    made: str
    modes: Mapping[str, ModeObservations]
    model: int = MODEL
    _costs: dict[str, Costs] = field(default_factory=dict, repr=False, compare=False)

    def costs(self, mode: str) -> Costs:
        """Return the costs of a mode.

        Raises
        ------
        UserError
            If that mode was not calibrated.
        """
        if mode not in self.modes:
            raise UserError(
                f"calibration of pilot '{self.pilot}' has no mode '{mode}', only "
                f"{', '.join(self.modes)}; run pilotcut calibrate --mode {mode} for the same pilots"
            )
        if mode not in self._costs:
            self._costs[mode] = self.modes[mode].costs(self.slots)
        return self._costs[mode]

    def with_run(self, mode: str, run: Sequence[BatchObservation]) -> Calibration:
        """Return the calibration with batches of a real run, which is a family of its own.

        What was known of the same run before is replaced.
        """
        old = self.modes[mode]
        others = tuple(one for one in old.batches if one.family != run[0].family)
        modes = dict(self.modes) | {mode: replace(old, batches=(*others, *run))}
        # Costs that were fitted to the old observations are not passed on.
        return replace(self, modes=modes, _costs={})

    def differences(self, machine: str) -> list[str]:
        """Return what is not as it was, one phrase each; `machine` is "" where unknown."""
        found = []
        if self.model != MODEL:
            found.append(f"its model is {self.model}, here it is {MODEL}")
        if machine and machine != self.machine:
            found.append(f"it was made on {self.machine}, here is {machine}")
        found += [
            f"{name} was {self.versions.get(name, 'none')}, here it is {version}"
            for name, version in versions().items()
            if self.versions.get(name) != version
        ]
        return found


def versions() -> dict[str, str]:
    """Return the versions that decide how fast circuits run."""
    return installed(_PACKAGES)


def key_of(pilot: PilotDescription | None) -> str:
    """Return a hash of what decides how fast a pilot works; None is this process."""
    if pilot is None:
        return "here"
    parts = {name: getattr(pilot, name) for name in _DECISIVE}
    parts |= {"device": pilot.backend.device, "method": pilot.backend.method}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def now() -> str:
    """Return the time in ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
