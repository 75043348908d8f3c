"""What was measured on one kind of pilot, the costs that follow, and where they are kept.

A calibration is a file that names the machine and the versions it was made with. One that was
made elsewhere, or with other versions, is found and named, never used in silence.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.errors import UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.jsonl import read_jsonl
from pilotcut.perfmodel.costmodel import BATCH, Costs, fit, makespan
from pilotcut.perfmodel.load import KINDS
from pilotcut.perfmodel.workload import Work
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.worker.versions import installed

#: Raised when amounts change their meaning: older calibrations are then stale.
MODEL = 1

#: Predictions of unseen circuits are never said to be better than this.
LEAST_SPREAD = 0.06

#: Batches of one run that are kept.
MOST_LEARNT = 32

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
    """What one call took on a slot of its own."""

    family: str
    amounts: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class BatchObservation:
    """What one batch took.

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


@dataclass(frozen=True)
class ModeObservations:
    """All that was measured in one mode.

    `compile_step_s` and `compile_gate_s` are as in `Costs`.
    """

    calls: tuple[CallObservation, ...]
    batches: tuple[BatchObservation, ...]
    compile_step_s: float
    compile_gate_s: float

    def costs(self, slots: int) -> Costs:
        """Return the costs that fit best, with the spread of families left out in turn."""
        call, batch = self._fitted(slots)
        return Costs(
            call=tuple(call.tolist()),
            batch=tuple(batch.tolist()),
            compile_step_s=self.compile_step_s,
            compile_gate_s=self.compile_gate_s,
            spread=self._spread(slots),
        )

    def _fitted(self, slots: int) -> tuple[np.ndarray, np.ndarray]:
        call = fit(
            np.array([one.amounts for one in self.calls]),
            np.array([one.seconds for one in self.calls]),
        )
        amounts = np.array([_with_makespan(one, call, slots) for one in self.batches])
        return call, fit(amounts, np.array([one.seconds for one in self.batches]))

    def _spread(self, slots: int) -> float:
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


def _with_makespan(one: BatchObservation, call: np.ndarray, slots: int) -> np.ndarray:
    amounts = np.array(one.amounts)
    durations = ((float(np.array(some) @ call), number) for some, number in one.calls)
    amounts[BATCH.index("makespan_s")] = makespan(durations, slots)
    return amounts


@dataclass(frozen=True)
class Calibration:
    """What is known of one kind of pilot.

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
                f"{', '.join(self.modes)}; run pilotcut calibrate with --mode {mode}"
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


# -- files -----------------------------------------------------------------------------


def directory() -> Path:
    """Return where calibrations are kept: PILOTCUT_CACHE_DIR, or as XDG says."""
    own = os.environ.get("PILOTCUT_CACHE_DIR")
    if own:
        return Path(own) / "calibrations"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pilotcut" / "calibrations"


def path_of(pilot: PilotDescription | None) -> Path:
    """Return the file of a pilot's calibration."""
    name = "here" if pilot is None else f"{pilot.kind}-{key_of(pilot)}"
    return directory() / f"{name}.json"


def save(calibration: Calibration, path: Path) -> None:
    """Write a calibration, all or nothing.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    data = asdict(calibration)
    del data["_costs"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(data).encode())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}), expected a place with space "
            f"left; make room, or name another in PILOTCUT_CACHE_DIR"
        ) from error


def load(path: Path) -> Calibration:
    """Return what a file holds.

    Raises
    ------
    UserError
        If it is no calibration, with what to do.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["model"] != MODEL:  # what is in it is called stale, not read
            return Calibration(**data | {"modes": {}})
        modes = {name: _mode_of(name, one) for name, one in data.pop("modes").items()}
        made = Calibration(**data, modes=modes)
        _check(isinstance(made.slots, int) and made.slots >= 1, f"slots is {made.slots!r}")
        _check(isinstance(made.versions, dict), f"versions is {made.versions!r:.40}")
        _check(isinstance(made.seen, dict), f"seen is {made.seen!r:.40}")
        return made
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"calibration {path} cannot be read ({type(error).__name__}: {error}), expected what "
            f"pilotcut calibrate writes; remove it and calibrate again"
        ) from error


def _check(is_right: bool, found: str) -> None:
    if not is_right:
        raise ValueError(found)


def merged(path: Path, made: Calibration) -> Calibration:
    """Return a new calibration with the modes that only an old one of the same kind has."""
    if not path.exists():
        return made
    try:
        old = load(path)
    except UserError:  # damaged: made anew
        return made
    if old.differences(made.machine):
        return made
    return replace(made, modes=dict(old.modes) | dict(made.modes), _costs={})


def learnt(calibration: Calibration, run: Path) -> Calibration:
    """Return a calibration with the batches that the trace of a run holds.

    Raises
    ------
    UserError
        If the run has no trace, or none of batches whose work was counted: runs with
        ``cuts="auto"`` count it.
    """
    trace = run / "trace.jsonl"
    if not trace.exists():
        raise UserError(f"run {run} has no trace.jsonl, expected the directory of a training run")
    family = str(run.resolve())
    batches: dict[str, list[BatchObservation]] = {}
    for record in read_jsonl(trace):
        if record.get("kind") == "query_batch" and "work" in record:
            _check_same_pilot(calibration, run, record)
            data = {"family": family, "seconds": record["wall_s"], **record["work"]}
            batches.setdefault(record["mode"], []).append(batch_of(data))
    if not batches:
        raise UserError(
            f"run {run} has no batches whose work was counted, expected a run with cuts 'auto'; "
            f"train with --cuts auto"
        )
    for mode, some in batches.items():
        calibration.costs(mode)  # an error if there is no such mode
        step = max(1, len(some) // MOST_LEARNT)
        calibration = calibration.with_run(mode, some[::step][:MOST_LEARNT])
    return calibration


def _check_same_pilot(calibration: Calibration, run: Path, record: Mapping[str, Any]) -> None:
    """Raise `UserError` if a batch ran on another kind of pilot, or on more or fewer of them."""
    key, workers = record["work"].get("key", calibration.key), record.get("workers")
    if key != calibration.key or workers != calibration.slots:
        kind = "the same kind" if key == calibration.key else "another kind"
        raise UserError(
            f"run {run} was on {workers} slots of {kind} of pilot, expected {calibration.slots} as "
            f"in the calibration of '{calibration.pilot}'; give the pilots of that run"
        )


def _mode_of(name: str, data: Mapping[str, Any]) -> ModeObservations:
    calls = tuple(
        CallObservation(one["family"], tuple(one["amounts"]), one["seconds"])
        for one in data["calls"]
    )
    batches = tuple(batch_of(one) for one in data["batches"])
    _check(bool(calls and batches), f"mode {name} has no observations")
    size = len(KINDS[name])
    amounts = [one.amounts for one in calls] + [some for b in batches for some, _ in b.calls]
    _check(all(len(some) == size for some in amounts), f"calls of mode {name} have other amounts")
    _check(
        all(len(one.amounts) == len(BATCH) for one in batches),
        f"batches of mode {name} have other amounts",
    )
    seconds = [*(one.seconds for one in calls), *(one.seconds for one in batches)]
    _check(all(0 < s < float("inf") for s in seconds), f"seconds of mode {name} are not above 0")
    compiling = (float(data["compile_step_s"]), float(data["compile_gate_s"]))
    return ModeObservations(calls, batches, *compiling)


def batch_of(data: Mapping[str, Any]) -> BatchObservation:
    """Return an observation from plain data."""
    calls = tuple((tuple(amounts), number) for amounts, number in data["calls"])
    return BatchObservation(data["family"], calls, tuple(data["amounts"]), data["seconds"])


def observation(family: str, work: Work, seconds: float) -> BatchObservation:
    """Return what is kept of a batch that took so long."""
    calls = tuple((tuple(load.amounts.tolist()), load.number) for load in work.loads)
    amounts = (1.0, float(work.steps), 0.0, work.calls, work.entries, work.contraction_s)
    return BatchObservation(family, calls, amounts, seconds)


def now() -> str:
    """Return the time in ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
