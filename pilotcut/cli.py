"""The command line: `pilotcut train`, `pilotcut pilots show`.

Results go to stdout, everything else to stderr. A mistake of the user's is one line and
exit code 2, never a traceback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pilotcut import __version__
from pilotcut.errors import PilotError, TaskError, UserError

if TYPE_CHECKING:
    from pilotcut.descriptions import PilotDescription
    from pilotcut.tasks import TaskManager
    from pilotcut.training.trainer import Progress as TrainingProgress
    from pilotcut.training.trainer import Trainer, TrainingConfig

app = typer.Typer(
    name="pilotcut",
    help="Train quantum neural networks whose circuits are too big for one device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
pilots_app = typer.Typer(help="Look at pilot descriptions.", no_args_is_help=True)
app.add_typer(pilots_app, name="pilots")

_out = Console()
_err = Console(stderr=True)


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        app()
    except UserError as error:
        for fault in error.faults:
            _err.print(f"[bold red]error:[/] {escape(fault)}", soft_wrap=True)
        sys.exit(2)
    except (PilotError, TaskError) as error:
        _err.print(f"[bold red]failed:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        _err.print("interrupted; continue a training run with --resume")
        sys.exit(130)


def _show_version(wanted: bool) -> None:
    if wanted:
        _out.print(f"pilotcut {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    # One thread a process unless the user or the pilot says otherwise: two processes that
    # each take all cores slow each other down tenfold. Set before numpy is imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="iris, wine, digits or mnist.")],
    cuts: Annotated[int | None, typer.Option(help="Number of cuts; fragments balanced.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="One letter a qubit, such as AABC; gates between are cut.")
    ] = None,
    qubits: Annotated[int, typer.Option(help="Qubits of the circuit, one feature each.")] = 4,
    mode: Annotated[str, typer.Option(help="How subexperiments are run: counts.")] = "counts",
    shots: Annotated[int, typer.Option(help="Shots of each subexperiment.")] = 1024,
    epochs: Annotated[int, typer.Option(help="Passes over the training samples.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Step size of Adam.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Same seed, same weights.")] = 0,
    pilots: Annotated[
        Path | None, typer.Option(help="Pilot description; without one, this process.")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the run's files go.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the MNIST files lie.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run-dir.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Train a quantum classifier whose circuit is cut."""
    from pilotcut.training.trainer import TrainingConfig

    if resume and run_dir is None:
        raise UserError("--resume is given without --run-dir, expected the run to continue")
    config = TrainingConfig(
        dataset=dataset,
        qubits=qubits,
        cuts=cuts,
        labels=labels,
        mode=mode,
        shots=shots,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        data_dir=str(data_dir) if data_dir else None,
        pilots=str(pilots) if pilots else None,
    )
    summary = _train(config, run_dir, resume)
    if as_json:
        print(json.dumps(summary))
    else:
        _print_summary(summary)


def _train(config: TrainingConfig, run_dir: Path | None, resume: bool) -> dict[str, Any]:
    from pilotcut.training.run_directory import RunDirectory
    from pilotcut.training.trainer import Trainer, default_run_directory

    config.check()
    place = run_dir or default_run_directory(config.dataset, f"{datetime.now():%Y%m%d-%H%M%S}")
    run = RunDirectory(place)
    run.check(resume=resume)
    trainer = Trainer(config, run)
    _err.print(f"[dim]{escape(repr(trainer.plan))}[/]")
    with _tasks(config.pilots) as tasks:
        trainer.use(tasks)
        with _progress(trainer) as progress:
            return trainer.train(resume=resume, progress=progress)


@contextmanager
def _tasks(pilots: str | None) -> Iterator[TaskManager | None]:
    """Start the described pilots and yield their task manager; None without a description."""
    if pilots is None:
        yield None
        return
    from pilotcut.pilots import PilotManager
    from pilotcut.tasks import TaskManager

    manager = PilotManager.from_yaml(pilots)
    for note in manager.notes:
        _err.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    with _err.status("starting pilots"):
        manager.start()
    with manager, TaskManager(manager) as tasks:
        yield tasks


@contextmanager
def _progress(trainer: Trainer) -> Iterator[TrainingProgress]:
    """Show a bar over all batches, with the loss of the last one and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))

        def show(epoch: int, batch: int, batches: int, loss: float) -> None:
            bar.update(
                task,
                description=f"epoch {epoch}/{trainer.config.epochs}",
                total=trainer.config.epochs * batches,
                completed=(epoch - 1) * batches + batch,
                loss=loss,
            )

        yield show


def _print_summary(summary: dict[str, Any]) -> None:
    table = Table(title="where the time went", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    stages = summary["stage_seconds"]
    staged = sum(stages.values())
    for stage, seconds in stages.items():
        table.add_row(stage, f"{seconds:.2f}", f"{seconds / staged:.1%}" if staged else "-")
    _out.print(
        f"{summary['dataset']}: test accuracy [bold]{summary['accuracy']:.1%}[/], loss "
        f"{summary['loss']:.3f}, {summary['cuts']} cuts into {summary['fragments']} fragments, "
        f"{summary['seconds']:.1f} s"
    )
    _out.print(table)
    _out.print(
        f"{summary['queries']} queries, {summary['subexperiments']} subexperiments of "
        f"{summary['shots']} shots"
    )
    _out.print(f"run directory: {summary['run_dir']}", soft_wrap=True, highlight=False)


@pilots_app.command("show")
def show_pilots(file: Annotated[Path, typer.Argument(help="A pilot description, YAML.")]) -> None:
    """Check a pilot description and show what it asks for."""
    from pilotcut.descriptions import load_descriptions, notes

    described = load_descriptions(file)
    table = Table()
    for name in ("pilot", "resource", "nodes", "workers", "threads", "gpus", "memory", "backend"):
        table.add_column(name)
    for pilot in described:
        table.add_row(*_cells(pilot))
    _out.print(table)
    for note in notes(described):
        _err.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def _cells(pilot: PilotDescription) -> list[str]:
    return [
        pilot.name,
        pilot.resource,
        str(pilot.nodes),
        str(pilot.slots),
        str(pilot.threads_per_worker),
        str(pilot.gpus),
        pilot.memory_per_node or "-",
        f"{pilot.backend.kind} on {pilot.backend.device}",
    ]


if __name__ == "__main__":
    main()
