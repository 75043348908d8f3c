"""Command `pilotcut recommend`: how many cuts pay off, and where."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import AsJson, CircuitFile, JointCuts, Observable, Pilots, Wires
from pilotcut.cli.calibrate import kinds_of, measure
from pilotcut.cli.console import err, note, out, say, say_json
from pilotcut.errors import UserError
from pilotcut.io.extras import require
from pilotcut.io.large_numbers import whole
from pilotcut.options import AUTO, counted

if TYPE_CHECKING:
    from pilotcut.perfmodel.recommendation import Recommendation, RecommendationLine
    from pilotcut.pilots.description import PilotDescription

#: Letters of a line's widths that are shown; behind them stands the widest.
MOST_WIDTHS = 24


def recommend(
    circuit: CircuitFile,
    pilots: Pilots = None,
    observable: Observable = None,
    max_cuts: Annotated[int, typer.Option(help="The most cuts to look at.")] = 5,
    max_width: Annotated[
        int | None, typer.Option(help="The most qubits of a fragment.", show_default="any")
    ] = None,
    mode: Annotated[str, typer.Option(help="counts, sampled or exact.")] = "counts",
    shots: Annotated[
        int | None, typer.Option(help="Shots of each subexperiment.", show_default="1024")
    ] = None,
    target_error: Annotated[
        float | None, typer.Option(help="Standard error to reach, in place of shots.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="time, or error: how wrong values are, by noise and by shots.")
    ] = "time",
    joint_cuts: JointCuts = False,
    wires: Wires = AUTO,
    queries: Annotated[int, typer.Option(help="Parameter sets in all.")] = 1000,
    batch: Annotated[int, typer.Option(help="Parameter sets of a batch.")] = 16,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Count derivatives by all parameters as well.")
    ] = False,
    mitigation: Annotated[
        str | None,
        typer.Option(help="Of QPUs' errors, as for `train`.", show_default="as described"),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="How exact mode computes: auto, statevector or network.")
    ] = AUTO,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    calibrate_now: Annotated[
        bool, typer.Option("--calibrate", help="Measure pilots that have no calibration first.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw time against cuts into this .png, .pdf or .svg.")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Draw the recommended plan into this .png, .pdf or .svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how many cuts pay off, where, and what each number of cuts would take."""
    from pilotcut.circuits.reader import load_circuit
    from pilotcut.perfmodel.options import Options
    from pilotcut.perfmodel.recommend import recommend as run
    from pilotcut.report.drawing_files import check_path
    from pilotcut.report.plan_drawing import draw_plan
    from pilotcut.report.recommendation_plot import draw_recommendation

    for path in (plot, draw):
        if path is not None:
            check_path(path)
    if shots is not None and target_error is not None:
        raise UserError(
            f"shots is {shots} and target_error is {target_error}, expected one of the two; leave "
            f"out shots to have them follow from the error"
        )
    given: dict[str, Any] = {} if shots is None else {"shots": shots}
    options = Options(
        max_cuts=max_cuts,
        max_width=max_width,
        mode=mode,
        target_error=target_error,
        joint_cuts=joint_cuts,
        wires=wires,
        queries=queries,
        batch=batch,
        seed=seed,
        engine=engine,
        gradients=gradients,
        objective=objective,
        mitigation=mitigation,
        **given,
    )
    if mode != "counts":
        require(f"mode '{mode}'", "torch")
    loaded = load_circuit(circuit, tell=note)
    _need_calibrations(pilots, mode, calibrate_now)
    with err.status("searching cuts, and predicting what they take"):
        found = run(loaded, observable, pilots, **asdict(options))
    if plot is not None:
        draw_recommendation(found, plot)
    if draw is not None:
        draw_plan(found.plan, draw)
    if as_json:
        say_json(found.to_dict() | {"circuit": str(circuit)})
    else:
        _print_recommendation(found)


def _need_calibrations(pilots: Path | None, mode: str, now: bool) -> None:
    """Calibrate what has no calibration if asked to, by the option or by an answer."""
    from pilotcut.perfmodel.forecast import CalibratedPilot
    from pilotcut.perfmodel.known_pilots import descriptions_of, taking_part, views_of
    from pilotcut.perfmodel.measure import BUDGET_S

    missing: list[PilotDescription | None] = []
    faults: list[str] = []
    for pilot in kinds_of(taking_part(descriptions_of(pilots), mode)):
        try:
            (view,) = views_of(None if pilot is None else [pilot], mode)
            if isinstance(view, CalibratedPilot):
                view.calibration.costs(mode)
        except UserError as error:
            missing.append(pilot)
            faults += error.faults
    if missing and not now and not _agrees("\n".join(faults)):
        raise UserError(faults)
    for pilot in missing:
        measure(pilot, [mode], sum(BUDGET_S.values()))


def _agrees(fault: str) -> bool:
    """Offer to measure now, where somebody is there to answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    err.print(escape(fault), soft_wrap=True, highlight=False)
    return typer.confirm("measure it now?", err=True)


def _print_recommendation(found: Recommendation) -> None:
    from pilotcut.perfmodel.resources import readable_bytes

    shots = found.options.mode != "exact"
    table = Table(title=_title(found), title_justify="left")
    # Exact mode draws nothing: what its cuts cost is time and memory.
    names = ["cuts", "widths"]
    names += ["variants", "gamma^2", "shots", "error"] if shots else ["by"]
    noisy = found.on_devices
    names += ["noise", "total", "seconds"] if noisy else ["memory", "seconds", "between"]
    for name in (*names, ""):
        table.add_column(name, justify="left" if name in ("widths", "") else "right")
    for line in found.lines:
        row = [str(line.cuts), _widths(line)]
        row += _of_shots(line) if shots else [line.way or "-"]
        row += _on_devices(line) if noisy else [readable_bytes(line.memory_bytes), *_times(line)]
        row.append("recommended" if line is found.chosen else "" if line.feasible else "cannot run")
        table.add_row(*row, style="bold" if line is found.chosen else None)
    out.print(table)
    for line in found.lines:
        for lack in line.lacks:
            say(f"{counted(line.cuts, 'cut')}: {lack}")
    for forecast in found.on_ranks:
        say(str(forecast))
    say(f"recommended: {found.reason}")
    if found.usage is not None:
        device_s, number, cost = found.usage
        price = f", cost {cost:.4g}" if cost else ""
        say(f"predicted usage: {device_s:.3g} s of devices, {counted(number, 'shot')}{price}")
    if found.chosen.cuts:
        say(_how(found))


def _title(found: Recommendation) -> str:
    options = found.options
    slots = found.forecaster.slots
    asked = "parameter sets" + (" with derivatives" if options.gradients else "")
    if found.on_devices:
        return (
            f"{options.queries} {asked} in batches of {options.batch} on "
            f"{slots} device{'' if slots == 1 else 's'}: noise predicted from infidelities, "
            f"time modelled, of the devices alone"
        )
    return (
        f"{options.queries} {asked} in batches of {options.batch}, mode {options.mode}, on "
        f"{', '.join(found.pilots)} ({slots} slot{'' if slots == 1 else 's'})"
    )


def _widths(line: RecommendationLine) -> str:
    if line.cuts == 0:
        return "do not cut"
    text = "+".join(map(str, line.widths))
    return text if len(text) <= MOST_WIDTHS else f"{text[:MOST_WIDTHS]}... ({max(line.widths)})"


def _of_shots(line: RecommendationLine) -> list[str]:
    """Return what cuts cost with shots."""
    return [whole(line.variants), f"{line.overhead:.4g}", f"{line.shots}", f"{line.error:.2g}"]


def _times(line: RecommendationLine) -> list[str]:
    if line.prediction is None:
        return ["-", "-"]
    p = line.prediction
    return [f"{p.seconds:.3g}", f"{p.low_s:.3g}-{p.high_s:.3g}"]


def _on_devices(line: RecommendationLine) -> list[str]:
    """Return the noise, the error with that of the shots, and the devices' time."""
    if line.prediction is None:
        return ["-", "-", "-"]
    return [f"{line.noise:.2g}", f"{line.value_error:.2g}", f"{line.prediction.seconds:.3g}"]


def _how(found: Recommendation) -> str:
    placement = found.chosen.placement
    if placement.wire_cuts:
        return "wires are cut as well: in a script, compile_plan(circuit, placement=...) takes it"
    return f"labels: {''.join(placement.labels)}"
