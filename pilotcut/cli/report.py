"""Command `pilotcut report`: a page about runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pilotcut.cli.arguments import AsJson
from pilotcut.cli.console import err, say, say_json
from pilotcut.errors import CutError, UserError
from pilotcut.io.extras import require
from pilotcut.options import SEPARATE, counted

if TYPE_CHECKING:
    from pilotcut.cutting.placement import Placement
    from pilotcut.cutting.plan import CutPlan
    from pilotcut.report.run_record import RunRecord

#: Circuits with more qubits are not compiled again just to be drawn.
_MOST_QUBITS = 40


def report(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="Run directories; several: compared.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path(
        "report.html"
    ),
    chrome_trace: Annotated[
        Path | None,
        typer.Option(help="Also write one run's timeline for Perfetto and chrome://tracing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a page about runs: learning, stages, slots, stragglers, predictions, cuts.

    One file that loads nothing from anywhere.
    """
    require("pilotcut report", "report")
    from pilotcut.report.chrome_trace import write_chrome_trace
    from pilotcut.report.read import read_run
    from pilotcut.report.run_page import report as report_of

    _check(run_dirs, out, chrome_trace)
    with err.status("reading"):
        runs = [read_run(path) for path in run_dirs]
    if chrome_trace is not None:
        events = write_chrome_trace(runs[0], chrome_trace)
        if not as_json:
            say(f"trace of {events:,} events: {chrome_trace}")
    with err.status("drawing"):
        report_of(runs, plan_of).save(out)
    if as_json:
        trace = None if chrome_trace is None else str(chrome_trace)
        say_json({"report": str(out), "bytes": out.stat().st_size, "chrome_trace": trace})
        return
    say(f"report: {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _check(run_dirs: list[Path], out: Path, chrome_trace: Path | None) -> None:
    """Find what cannot work before anything is read or written."""
    faults = []
    if chrome_trace is not None and len(run_dirs) > 1:
        faults.append(
            f"--chrome-trace is given for {counted(len(run_dirs), 'run')}, expected one: their "
            "clocks have "
            f"nothing in common; name one run directory"
        )
    for option, path in {"--out": out, "--chrome-trace": chrome_trace}.items():
        if path is not None and not path.parent.is_dir():
            faults.append(
                f"{option} is {path}, expected a file in a directory that exists; make "
                f"'{path.parent}', or choose another path"
            )
    if chrome_trace is not None and chrome_trace.resolve() == out.resolve():
        faults.append(f"--out and --chrome-trace are both {out}, expected two files")
    if faults:
        raise UserError(faults)


def plan_of(run: RunRecord) -> CutPlan:
    """Return the plan that a training ran, compiled again from its settings.

    Raises
    ------
    UserError
        If that would take long, or does not give the plan that the trace names.
    """
    from pilotcut.cutting.plan import compile_plan
    from pilotcut.report.figures import MOST_GATES
    from pilotcut.training.config import TrainingConfig
    from pilotcut.training.model import classifier

    qubits = run.config.get("qubits", TrainingConfig("").qubits)
    if not run.config or type(qubits) is not int or qubits < 1:
        raise CutError("config.yaml does not say what was trained")
    if qubits > _MOST_QUBITS:
        raise CutError(
            f"it has {counted(qubits, 'qubit')}, and more than {_MOST_QUBITS} cannot be seen"
        )
    model = classifier(qubits, **_shape(run))
    # Runs from before there was a choice have none.
    how = {"wires": run.config.get("wires", SEPARATE)}
    if run.config.get("mode") == "exact":
        how["wires"] = SEPARATE
    elif run.config.get("joint_cuts") is True:
        how["joint_cuts"] = True
    for choice in _choices(run, qubits):
        plan = compile_plan(model.circuit, model.observables, **how, **choice)
        if plan.fingerprint != run.plan.get("plan"):
            continue
        if len(plan.layout) > MOST_GATES:
            raise CutError(f"of {len(plan.layout):,} gates, over {MOST_GATES:,}, nothing is seen")
        return plan
    raise CutError("the plan of its settings is not the one that its trace names")


def _shape(run: RunRecord) -> dict[str, int]:
    """Return layers and classes, as far as the settings have them: old runs do not."""
    found = {name: run.config.get(name) for name in ("reps", "classes")}
    return {name: value for name, value in found.items() if isinstance(value, int) and value > 0}


def _choices(run: RunRecord, qubits: int) -> Iterator[dict[str, Any]]:
    """Yield how the run may have been cut, what is quickly compiled first."""
    if run.config.get("cuts") == "auto":
        yield {
            "labels": _placement((run.recommendation or {}).get("chosen"), "recommendation.json")
        }
        return
    cuts, labels = run.config.get("cuts"), run.plan.get("labels")
    if isinstance(labels, str) and len(labels) == qubits:  # else they are of several letters
        yield {"labels": labels}
    if "placement" in run.plan:
        yield {"labels": _placement(run.plan["placement"], "trace.jsonl")}
    elif type(cuts) is int:  # searched again: traces of old runs do not say where wires are cut
        yield {"cuts": cuts}


def _placement(record: Any, file: str) -> Placement:
    from pilotcut.cutting.placement import Placement

    try:
        return Placement.of_dict(record)
    except (AttributeError, TypeError, KeyError):
        raise CutError(f"{file} does not say where it is cut") from None
