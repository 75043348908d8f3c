"""Command `pilotcut plan`: how a circuit from a file is cut; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import AsJson, CircuitFile, JointCuts, Observable, Wires
from pilotcut.cli.console import err, note, out, say, say_json
from pilotcut.io.large_numbers import in_json, short_number
from pilotcut.options import AUTO, SEPARATE, counted

if TYPE_CHECKING:
    from pilotcut.cutting.bond import Bond
    from pilotcut.cutting.explanation import PlanExplanation
    from pilotcut.cutting.fragment import Fragment
    from pilotcut.cutting.plan import CutPlan

#: Cuts of a table that are shown.
_SHOWN = 50


def plan(
    circuit: CircuitFile,
    labels: Annotated[
        str | None, typer.Option(help="One letter a qubit, such as AABC; gates between are cut.")
    ] = None,
    cuts: Annotated[int | None, typer.Option(help="Number of cuts; narrow fragments.")] = None,
    max_width: Annotated[
        int | None, typer.Option(help="Least overhead with fragments of so many qubits.")
    ] = None,
    observable: Observable = None,
    joint_cuts: JointCuts = False,
    wires: Wires = AUTO,
    draw: Annotated[
        Path | None, typer.Option(help="Draw the cut circuit into this .png, .pdf or .svg.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Each cut's form and price, and why no cheaper form was taken."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how a circuit is cut: its fragments, the cuts, and what they cost."""
    from pilotcut.circuits.reader import load_circuit
    from pilotcut.cutting.explanation import explain as explained
    from pilotcut.cutting.plan import compile_plan
    from pilotcut.report.drawing_files import check_path
    from pilotcut.report.plan_drawing import draw_plan

    if draw is not None:
        check_path(draw)
    loaded = load_circuit(circuit, tell=note)
    with err.status("cutting"):
        compiled = compile_plan(
            loaded,
            observable,
            cuts=cuts,
            labels=labels,
            max_width=max_width,
            joint_cuts=joint_cuts,
            wires=wires,
        )
    for text in compiled.program.notes:
        note(text)
    drawing = draw_plan(compiled, draw) if draw is not None else None
    summary = summary_of(compiled) | {
        "circuit": str(circuit),
        "drawing": str(drawing) if drawing else None,
    }
    with err.status("looking at what other cuts would cost"):
        explanation = explained(compiled, max_width) if explain else None
    if as_json:
        more = {} if explanation is None else {"explanation": _in_json(explanation)}
        if explanation is not None:
            more["explanation"]["exact"] = _exact_way(compiled)
        say_json(summary | more)
        return
    _print(summary)
    if explanation is not None:
        _print_explanation(explanation)
        say(f"in exact mode: {_exact_way(compiled)}")


def _exact_way(compiled: CutPlan) -> str:
    """Return in words how exact mode would compute a plan, or why it cannot."""
    from pilotcut.cutting.plan import build_plan
    from pilotcut.errors import CutError
    from pilotcut.execution.contractions import contraction_of, way_of

    # It has no use for joint cuts and for communication, which save shots.
    parts = (compiled.program, compiled.binding, compiled.terms, compiled.requested)
    try:
        return f"by {way_of(contraction_of(build_plan(*parts, False, SEPARATE), 'exact'))}"
    except CutError as error:
        return f"not at all: {error}"


def summary_of(compiled: CutPlan) -> dict[str, Any]:
    """Return a plan in the words of JSON.

    Numbers that are beyond floats, and the subexperiments of a plan with too many variants to run,
    are None.
    """
    from pilotcut.cutting.walks import MOST_VARIANTS

    runs = compiled.num_variants <= MOST_VARIANTS
    return {
        "qubits": compiled.num_qubits,
        "labels": list(compiled.labels),
        "placement": compiled.requested and compiled.requested.to_dict(),
        "observables": compiled.terms.to_labels(),
        "fragments": [_fragment(fragment, runs) for fragment in compiled.fragments],
        "bonds": [_bond(compiled, bond) for bond in compiled.bonds],
        "cuts": compiled.num_cuts,
        "variants": in_json(compiled.num_variants),
        "subexperiments": compiled.num_subexperiments if runs else None,
        "sampling_overhead": in_json(compiled.sampling_overhead),
        "notes": list(compiled.program.notes),
    }


def _fragment(fragment: Fragment, runs: bool) -> dict[str, Any]:
    return {
        "label": fragment.label,
        "qubits": fragment.circuit_qubits,
        "width": fragment.width,
        "sites": len(fragment.sites),
        "variants": in_json(fragment.num_variants),
        "subexperiments": fragment.num_subexperiments if runs else None,
    }


def _bond(compiled: CutPlan, bond: Bond) -> dict[str, Any]:
    cut = [step for step in compiled.layout if step.bond == bond.index]
    return {
        "gates": [step.name for step in cut],
        "qubits": [list(step.qubits) for step in cut],
        "fragments": [compiled.fragments[fragment].label for fragment, _ in bond.ends],
        "sampling_overhead": bond.overhead,
        "wires": bond.way or None,
    }


def _in_json(explanation: PlanExplanation) -> dict[str, Any]:
    cuts = [
        asdict(cut) | {"gamma": cut.gamma, "overhead": in_json(cut.overhead)}
        for cut in explanation.cuts
    ]
    return {"cuts": cuts, "whole": asdict(explanation.whole)}


# -- for people ------------------------------------------------------------------------


def _print(summary: Mapping[str, Any]) -> None:

    out.print(_fragments_table(summary))
    if summary["bonds"]:
        out.print(_cuts_table(summary["bonds"][:_SHOWN]))
    if len(summary["bonds"]) > _SHOWN:
        say(f"... and {len(summary['bonds']) - _SHOWN} more; all of them with --json")
    overhead = summary["sampling_overhead"]
    shown = "more than can be told" if overhead is None else f"{overhead:.4g}"
    totals = (
        counted(str(summary["cuts"]), "cut"),
        counted(str(len(summary["fragments"])), "fragment"),
        counted(_number(summary["variants"]), "variant"),
        counted(_number(summary["subexperiments"]), "subexperiment"),
        f"sampling overhead γ² = {shown}",
    )
    say(", ".join(totals))
    if summary["drawing"]:
        say(f"drawing: {summary['drawing']}")


def _print_explanation(explanation: PlanExplanation) -> None:
    """Print a paragraph for each cut, and what the search finds."""
    for cut in explanation.cuts:
        gates = ", ".join(map(str, cut.gates))
        a, b = cut.operations
        say(f"bond {cut.bond}, {'–'.join(cut.fragments)}: {gates}")
        say(
            f"  {cut.form}: γ = {cut.gamma:.4g}, γ² = {cut.overhead:.4g}, "
            f"{counted(a, 'operation') if a == b else f'{a} and {b} operations'} a side"
        )
        for other in cut.alternatives:
            say(f"  {other.form}: {other.finding}")
    say(f"{explanation.whole.form}: {explanation.whole.finding}")


def _fragments_table(summary: Mapping[str, Any]) -> Table:
    from pilotcut.report.words import ranges_of

    table = Table(title=f"fragments of {escape(summary['circuit'])}", title_justify="left")
    for name in ("fragment", "qubits"):
        table.add_column(name)
    for name in ("width", "sites", "variants", "subexperiments"):
        table.add_column(name, justify="right")
    for one in summary["fragments"]:
        numbers = (one[key] for key in ("width", "sites", "variants", "subexperiments"))
        cells = map(_number, numbers)
        table.add_row(escape(one["label"]), ranges_of(one["qubits"]), *cells)
    return table


def _cuts_table(bonds: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="cuts", title_justify="left")
    table.add_column("bond", justify="right")
    for name in ("gate", "qubits", "between"):
        table.add_column(name)
    table.add_column("γ²", justify="right")
    for number, bond in enumerate(bonds):
        # Twice the same qubit: its wire is cut.
        places = (sorted(set(pair), key=pair.index) for pair in bond["qubits"])
        table.add_row(
            str(number),
            " + ".join(bond["gates"]),
            ", ".join("–".join(map(str, place)) for place in places),
            escape("–".join(bond["fragments"])),
            f"{bond['sampling_overhead']:.4g}",
        )
    return table


def _number(number: int | None) -> str:
    return "too many" if number is None else short_number(number)
