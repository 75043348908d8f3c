"""Known pilots: with resources and calibrations, in whatever form they are given; none starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pilotcut.errors import UserError
from pilotcut.execution.devices import fleet_among
from pilotcut.options import counted
from pilotcut.perfmodel import resources
from pilotcut.perfmodel.calibration import Calibration
from pilotcut.perfmodel.calibration_files import load, path_of
from pilotcut.perfmodel.device_forecast import DeviceView
from pilotcut.perfmodel.forecast import CalibratedPilot
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.pilots.description.kinds import EXECUTOR

#: What pilots may be given as.
Pilots = str | os.PathLike[str] | PilotManager | Iterable[PilotDescription] | None

#: What is known of pilots: all with calibrations, or all with devices.
Views = Sequence[CalibratedPilot] | Sequence[DeviceView]


def views_of(pilots: Pilots, mode: str) -> Views:
    """Return pilots with their resources and calibrations, without starting any.

    Pilots with a device need no calibration: what a device takes is in its description.

    Raises
    ------
    UserError
        With a line for each kind of pilot that has no calibration, or a stale one, or where the
        pilots' kinds do not go together in that mode (`pilotcut.execution.devices.fleet_among`).
    """
    taking = taking_part(descriptions_of(pilots), mode)
    if devices := devices_in(taking):
        return [DeviceView(one, resources.described(one)) for one in devices]
    faults: list[str] = []
    views = []
    for one in taking:
        promised = resources.here() if one is None else resources.described(one)
        try:
            calibration = calibration_of(one, promised.machine)
            seen = promised if one is None else resources.found(one, calibration.seen)
            views.append(CalibratedPilot(one, seen, calibration))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(list(dict.fromkeys(faults)))
    return views


def taking_part(
    pilots: Sequence[PilotDescription | None], mode: str
) -> Sequence[PilotDescription | None]:
    """Return the pilots that circuits of a mode run on; None stands for this process."""
    fleet = fleet_among([one for one in pilots if one is not None], mode)
    if fleet.ideal is None:
        return pilots
    return [one for one in pilots if one is not None and one.name in fleet.ideal]


def devices_in(pilots: Iterable[PilotDescription | None]) -> list[PilotDescription]:
    """Return the pilots that have a device."""
    return [one for one in pilots if one is not None and one.backend.qpu is not None]


def calibration_of(pilot: PilotDescription | None, machine: str) -> Calibration:
    """Return a pilot's calibration.

    Raises
    ------
    UserError
        If there is none, or one that was made elsewhere or with other versions.
    """
    name = "this process" if pilot is None else f"pilot '{pilot.kind}'"
    path = path_of(pilot)
    if not path.exists():
        how = f"{_command(pilot)} (a minute for each kind of pilot), or add --calibrate"
        if pilot is not None and pilot.resource == EXECUTOR:  # which no command can start
            how = 'run an estimator with cuts="auto" on it once, which measures it'
        raise UserError(f"{name} has no calibration, expected one at {path}; {how}")
    found = load(path)
    if wrong := found.differences(machine):
        raise UserError(
            f"calibration of {name} is stale: {'; '.join(wrong)}; {_command(pilot)} again, or "
            f"add --calibrate"
        )
    return found


def _command(pilot: PilotDescription | None) -> str:
    return "run pilotcut calibrate" + (" with these --pilots" if pilot is not None else "")


def descriptions_of(pilots: Pilots) -> list[PilotDescription | None]:
    """Return what is said of pilots that take circuits; None stands for this process.

    Raises
    ------
    UserError
        If there are none: MPI pilots take commands and contractions only.
    """
    if pilots is None:
        return [None]
    found = described_by(pilots)
    taking = [pilot for pilot in found if pilot.ranks == 1]
    if not taking:
        names = ", ".join(f"'{pilot.name}' has {counted(pilot.ranks, 'rank')}" for pilot in found)
        raise UserError(
            f"pilots: {names or 'there are none'}, expected at least one of a single rank, which "
            f"circuits run on; add one"
        )
    return list(taking)


def described_by(
    pilots: str | os.PathLike[str] | PilotManager | Iterable[PilotDescription],
) -> list[PilotDescription]:
    """Return what is said of pilots, MPI pilots too.

    Raises
    ------
    UserError
        For a description file with faults, or what are no descriptions.
    """
    if isinstance(pilots, (str, os.PathLike)):
        return list(load_descriptions(Path(pilots)))
    if isinstance(pilots, PilotManager):
        return [pilot.description for pilot in pilots.pilots if not pilot.state.final]
    return _checked_pilots(pilots)


def _checked_pilots(pilots: object) -> list[PilotDescription]:
    found: list[Any] = list(pilots) if isinstance(pilots, Iterable) else [pilots]
    wrong = [one for one in found if not isinstance(one, PilotDescription)]
    if wrong:
        raise UserError(
            f"pilots: found {wrong[0]!r:.60}, expected a description file, descriptions or a "
            f"PilotManager; leave them out for this process"
        )
    return found
