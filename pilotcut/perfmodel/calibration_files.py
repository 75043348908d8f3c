"""Files of calibrations: where they are kept, how they are read, and what real runs add to them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pilotcut.errors import UserError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten
from pilotcut.io.jsonl import read_jsonl
from pilotcut.perfmodel.calibration import (
    MODEL,
    BatchObservation,
    Calibration,
    CallObservation,
    ModeObservations,
    key_of,
)
from pilotcut.perfmodel.costmodel import BATCH
from pilotcut.perfmodel.load import KINDS
from pilotcut.pilots.description import PilotDescription

#: Batches of one run that are kept.
MOST_LEARNT = 32


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
            f"{path}: cannot be written ({why_unwritten(error, path)}), expected a place with "
            f"space left; make room, or name another in PILOTCUT_CACHE_DIR"
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
    # Modes that were measured elsewhere, or with other versions, do not go with these.
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
            batches.setdefault(record["mode"], []).append(_batch_of(data))
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
            f"run {run} was on {workers} slots of {kind} of pilot, expected "
            f"{calibration.slots} as "
            f"in the calibration of '{calibration.pilot}'; give the pilots of that run"
        )


def _mode_of(name: str, data: Mapping[str, Any]) -> ModeObservations:
    calls, slopes = (
        tuple(
            CallObservation(one["family"], tuple(one["amounts"]), one["seconds"])
            for one in data[kind]
        )
        for kind in ("calls", "slopes")
    )
    batches = tuple(_batch_of(one) for one in data["batches"])
    _check(bool(calls and batches), f"mode {name} has no observations")
    size = len(KINDS[name])
    _check(bool(slopes) == (name == "exact"), f"mode {name} has {len(slopes)} slopes")
    amounts = [one.amounts for one in (*calls, *slopes)] + [
        some for b in batches for some, _ in b.calls
    ]
    _check(all(len(some) == size for some in amounts), f"calls of mode {name} have other amounts")
    _check(
        all(len(one.amounts) == len(BATCH) for one in batches),
        f"batches of mode {name} have other amounts",
    )
    seconds = [*(one.seconds for one in (*calls, *slopes)), *(one.seconds for one in batches)]
    _check(all(0 < s < float("inf") for s in seconds), f"seconds of mode {name} are not above 0")
    compiling = (float(data["compile_step_s"]), float(data["compile_gate_s"]))
    return ModeObservations(calls, batches, *compiling, slopes)


def _batch_of(data: Mapping[str, Any]) -> BatchObservation:
    """Return an observation from plain data."""
    calls = tuple((tuple(amounts), number) for amounts, number in data["calls"])
    return BatchObservation(data["family"], calls, tuple(data["amounts"]), data["seconds"])
