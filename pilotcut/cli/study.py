"""Command `pilotcut study`: repeats the study of arXiv:2602.16233."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from pilotcut.cli.arguments import AsJson, Pilots, among
from pilotcut.cli.console import complain, err, say, say_json
from pilotcut.cli.console import out as console
from pilotcut.io.extras import require
from pilotcut.io.new_directory import given_or_new
from pilotcut.options import check, choice_fault

if TYPE_CHECKING:
    from pilotcut.study.cells import Cell, StudyDirectory
    from pilotcut.study.findings import Findings
    from pilotcut.study.run import Failure, Notice, StudyRequest


_QUESTIONS = ("rq1", "rq2", "rq3", "rq4", "rq5", "fleet", "all")

#: The fleet that the question of that name is asked of.
_FLEET = Path("qpu_fleet")
_BASELINES = ("none", "addon")


def study(
    questions: Annotated[
        list[str] | None,
        typer.Argument(
            help="rq1 to rq5, all of them, or fleet.",
            show_default="all",
            autocompletion=among(_QUESTIONS),
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick: minutes on two cores; full: five seeds and more.")
    ] = "quick",
    pilots: Pilots = None,
    out: Annotated[
        Path | None, typer.Option(help="Where results go; runs/study-TIME if left out.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="addon: qiskit-addon-cutting's pipeline beside ours.")
    ] = "none",
    data_dir: Annotated[
        Path | None, typer.Option(help="MNIST files; without them, scikit-learn's digits.")
    ] = None,
    fleet: Annotated[
        Path, typer.Option(help="QPUs of the question fleet, a pilot description.")
    ] = _FLEET,
    show_cells: Annotated[
        bool, typer.Option("--list", help="Show what would be measured, and measure nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Repeat the study of arXiv:2602.16233 on these pilots, and write a report.

    RQ1 training time over cuts, RQ2 reconstruction and speed-up, RQ3 stragglers and dispatch
    policies, RQ4 accuracy, RQ5 robustness; fleet: the strategies of ArbiterQ (DAC 2025). Started
    again with the same --out, it measures only
    what is missing.
    """
    require("pilotcut study", "train", "report")
    if baseline == "addon":
        require("--baseline addon", "addon")
    from pilotcut.study.cells import StudyDirectory
    from pilotcut.study.run import conclude, measure

    request = _request(questions or ["all"], profile, pilots, baseline, data_dir, fleet)
    if show_cells:
        _show_cells(request, StudyDirectory(out or Path("runs") / "study-TIME"), as_json)
        return
    with given_or_new(out, Path("runs") / "study") as path:
        place = StudyDirectory(path)
        try:
            with _progress() as notice:
                failures = measure(request, place, notice)
        except KeyboardInterrupt:
            complain(
                "interrupted",
                f"what is measured is kept; go on with the same command and --out {place.path}",
            )
            raise
        _show(conclude(request, place), failures, place.path, as_json)


def _request(
    questions: Sequence[str],
    profile: str,
    pilots: Path | None,
    baseline: str,
    data_dir: Path | None,
    fleet: Path,
) -> StudyRequest:
    """Return what is asked for, after every mistake in it was looked for."""
    from pilotcut.fleet.fleet import load_fleet
    from pilotcut.pilots.description import embedded, load_descriptions
    from pilotcut.study.profiles import PROFILES, profile_of
    from pilotcut.study.run import PAPER, QUESTIONS, StudyRequest

    check(
        *(choice_fault("question", name, _QUESTIONS) for name in questions),
        choice_fault("baseline", baseline, _BASELINES),
        choice_fault("profile", profile, PROFILES),
    )
    chosen = profile_of(profile)
    if data_dir is not None:
        _check_mnist(data_dir)
        chosen = replace(chosen, datasets=("iris", "mnist"), data_dir=str(data_dir.resolve()))
    return StudyRequest(
        questions=[n for n in QUESTIONS if n in questions or ("all" in questions and n in PAPER)],
        profile=chosen,
        descriptions=embedded(1) if pilots is None else load_descriptions(pilots),
        addon=baseline == "addon",
        fleet=load_fleet(fleet),
    )


def _check_mnist(data_dir: Path) -> None:
    """Say now, and not after an hour, that there is no MNIST."""
    from pilotcut.training.data import load_dataset

    load_dataset("mnist", 4, data_dir=data_dir, max_samples=20)


def _show_cells(request: StudyRequest, place: StudyDirectory, as_json: bool) -> None:
    from pilotcut.study.run import cells_of

    states: dict[str, dict[str, str]] = {}
    for question, cells in cells_of(request).items():
        left = {cell.name for cell in place.missing(cells)}
        states[question] = {c.name: "to do" if c.name in left else "done" for c in cells}
    if as_json:
        say_json(states)
        return
    for question, own in states.items():
        number = list(own.values()).count("to do")
        console.print(f"{question}: {len(own)} cells, {number} to measure")
        for name, state in own.items():
            console.print(f"  {state:5}  {name}")


@contextmanager
def _progress() -> Iterator[Notice]:
    """Show a bar for every question."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[cell]}"),
    )
    bar = Progress(*columns, console=err)
    bars: dict[str, TaskID] = {}

    def notice(cell: Cell, done: int, total: int) -> None:
        bar.start()  # not before: without bars it would leave an empty line
        if cell.question not in bars:
            for other in bars.values():
                bar.stop_task(other)
            bars[cell.question] = bar.add_task(cell.question, total=total, cell="")
        bar.update(bars[cell.question], completed=done, cell=cell.name)

    try:
        yield notice
    finally:
        if bars:
            bar.stop()


def _show(
    found: Sequence[Findings], failures: Sequence[Failure], directory: Path, as_json: bool
) -> None:
    if as_json:
        say_json(
            {
                "questions": [
                    {
                        "question": one.question,
                        "answer": one.answer,
                        "verdicts": [asdict(verdict) for verdict in one.verdicts],
                    }
                    for one in found
                ],
                "report": str(directory / "report.html"),
            }
        )
    else:
        _print_findings(found, directory)
    for failure in failures:
        complain("failed", f"{failure.cell.question} {failure.cell.name}: {failure.reason}")
    if failures:
        raise typer.Exit(1)


def _print_findings(found: Sequence[Findings], directory: Path) -> None:
    for one in found:
        console.print(f"[bold]{escape(one.title)}[/]")
        say(one.answer)
        for verdict in one.verdicts:
            mark = "[green]met[/]    " if verdict.met else "[red]not met[/]"
            text = f"{verdict.claim}: {verdict.measured}"
            console.print(f"  {mark} {escape(text)}", soft_wrap=True, highlight=False)
    say(f"report: {directory / 'report.html'}")
