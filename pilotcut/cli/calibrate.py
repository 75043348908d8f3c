"""Command `pilotcut calibrate`: how fast pilots run circuits, measured once for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pilotcut.cli.arguments import AsJson, Pilots, among
from pilotcut.cli.console import err, note, out, say_json
from pilotcut.errors import UserError
from pilotcut.io.extras import has, require
from pilotcut.options import MODES, check, choice_fault, number_fault

if TYPE_CHECKING:
    from pilotcut.perfmodel.calibration import Calibration
    from pilotcut.pilots.description import PilotDescription


def calibrate(
    pilots: Pilots = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="counts, sampled or exact; may be given often.",
            show_default="all",
            autocompletion=among(MODES),
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="For each kind of pilot, all modes together.")
    ] = 40.0,
    run_dir: Annotated[
        list[Path] | None,
        typer.Option(help="Learn from the trace of this run instead; may be given often."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast pilots run circuits, once for each kind of pilot and machine."""
    from pilotcut.perfmodel.known_pilots import described_by, descriptions_of

    described = None if pilots is None else described_by(pilots)
    kinds = kinds_of(descriptions_of(described))
    modes = _checked_modes(mode)
    expected = "a number from 1 to 3600"
    check(number_fault("seconds", seconds, lambda s: 1 <= s <= 3600, expected, "leave it out"))
    if run_dir and len(kinds) > 1:
        raise UserError(
            f"run_dir is given with {len(kinds)} kinds of pilots, expected one: what a batch took "
            f"on all says nothing of each; describe that kind alone"
        )
    if run_dir:
        made = [_learnt(one, run_dir) for one in kinds]
    else:
        made = [measure(one, modes, seconds) for one in kinds]
        for one in kinds_of([pilot for pilot in described or () if pilot.ranks > 1]):
            _measure_ranks(one)
    if as_json:
        say_json([_summary(one) for one in made])
        return
    for calibration in made:
        _print_calibration(calibration)


def kinds_of(
    pilots: Sequence[PilotDescription | None],
) -> list[PilotDescription | None]:
    """Return one pilot of each kind that is calibrated by itself."""
    from pilotcut.perfmodel.calibration import key_of

    # Read backwards, so that of each kind the first pilot is the one that stays.
    return list({key_of(pilot): pilot for pilot in reversed(pilots)}.values())[::-1]


def measure(pilot: PilotDescription | None, modes: Sequence[str], seconds: float) -> Calibration:
    """Calibrate one kind of pilot and keep the result."""
    from pilotcut.perfmodel.calibrate import calibrate as measure_and_keep
    from pilotcut.perfmodel.measure import BUDGET_S

    name = "this process" if pilot is None else f"pilot '{pilot.kind}'"
    share = seconds / sum(BUDGET_S.values())
    budget = {mode: share * BUDGET_S[mode] for mode in modes}
    with err.status(f"measuring {name}, about {sum(budget.values()):.0f} s"):
        return measure_and_keep(pilot, None, modes, budget)


def _measure_ranks(pilot: PilotDescription | None) -> None:
    """Measure what a state over a pilot's ranks takes, and keep it."""
    from pilotcut.perfmodel.rank_forecast import measure_rates

    assert pilot is not None, "this process has no ranks"
    with err.status(f"measuring the ranks of pilot '{pilot.kind}'"):
        rates = measure_rates(pilot)
    exchange = f"{1e-9 / rates.byte_s:.2g} GB/s" if rates.byte_s else "-"
    note(
        f"{pilot.kind}: {pilot.ranks} ranks, {1e9 * rates.block_s:.2g} ns for an amplitude and a "
        f"block of gates, {exchange} between ranks"
    )


def _learnt(pilot: PilotDescription | None, runs: Sequence[Path]) -> Calibration:
    """Add the batches of real runs to a calibration."""
    from pilotcut.perfmodel import resources
    from pilotcut.perfmodel.calibration_files import learnt, path_of, save
    from pilotcut.perfmodel.known_pilots import calibration_of

    machine = (resources.here() if pilot is None else resources.described(pilot)).machine
    found = calibration_of(pilot, machine)
    for run in runs:
        found = learnt(found, run)
    save(found, path_of(pilot))
    return found


def _checked_modes(modes: Sequence[str] | None) -> Sequence[str]:
    check(*(choice_fault("mode", mode, MODES) for mode in modes or ()))
    if not modes and not has("torch"):
        note("modes 'exact' and 'sampled' are not measured: they need pilotcut[torch]")
        return ["counts"]
    asked = list(dict.fromkeys(modes or MODES))
    if asked != ["counts"]:
        require(f"mode '{next(mode for mode in asked if mode != 'counts')}'", "torch")
    return asked


def _summary(calibration: Calibration) -> dict[str, Any]:
    return {
        "pilot": calibration.pilot,
        "slots": calibration.slots,
        "machine": calibration.machine,
        "made": calibration.made,
        "modes": {
            mode: {
                "calls": len(observed.calls),
                "batches": len(observed.batches),
                "spread": calibration.costs(mode).spread,
            }
            for mode, observed in calibration.modes.items()
        },
    }


def _print_calibration(calibration: Calibration) -> None:
    from math import exp

    from pilotcut.perfmodel.costmodel import WIDTH

    slots = "one slot" if calibration.slots == 1 else f"{calibration.slots} slots"
    table = Table(title=f"{calibration.pilot}: {slots} of {calibration.machine}")
    for name in ("mode", "calls", "batches", "predicts within"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for mode, observed in calibration.modes.items():
        within = exp(WIDTH * calibration.costs(mode).spread)
        table.add_row(mode, str(len(observed.calls)), str(len(observed.batches)), f"{within:.2f}x")
    out.print(table)
