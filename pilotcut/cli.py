"""The command line: `pilotcut train`, `pilotcut pilots show`.

Results go to stdout, everything else to stderr. A mistake of the user's is one line and
exit code 2, never a traceback.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
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

from pilotcut import __version__, cli_dreamer, cli_pilots, cli_plan, cli_reconstruct, cli_report
from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.training.config import TrainingConfig, default_of

if TYPE_CHECKING:
    from pilotcut.pilots import PilotManager
    from pilotcut.tasks import TaskManager
    from pilotcut.training.run_directory import RunDirectory
    from pilotcut.training.trainer import Progress as TrainingProgress
    from pilotcut.training.trainer import Trainer

app = typer.Typer(
    name="pilotcut",
    help="Train quantum neural networks whose circuits are too big for one device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_pilots.app, name="pilots")
app.add_typer(cli_pilots.tasks_app, name="tasks")
app.command()(cli_pilots.run)
app.command()(cli_dreamer.calibrate)
app.command()(cli_dreamer.recommend)
app.command()(cli_reconstruct.reconstruct)
app.command()(cli_plan.plan)
app.command()(cli_report.report)
app.command("status")(cli_pilots.status_of_run)

_out = Console()
_err = Console(stderr=True)

_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130

# The parent of every complaint about a command line; where it lives has changed with typer.
_UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line; the entry point of the package."""
    code = _run()
    if code == _INTERRUPTED:
        # A thread that is in the middle of a simulation cannot be stopped, and a normal exit
        # would wait for it. All files are closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    """Return the exit code; mistakes become lines on stderr."""
    try:
        # Not standalone: typer would draw a box around its complaints, and break long ones.
        return int(app(prog_name="pilotcut", standalone_mode=False) or 0)
    except UserError as error:
        return _complain("error", error.faults, _MISUSED)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which has shown the help
            return _MISUSED
        return _complain("error", [_usage_fault(error)], _MISUSED)
    except (PilotError, TaskError) as error:
        return _complain("failed", [str(error)], _FAILED)
    except OSError as error:
        return _complain("failed", [str(error)], _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _usage_fault(error: Any) -> str:
    path = error.ctx.command_path if error.ctx else "pilotcut"
    text = " ".join(error.format_message().split())
    if text.endswith("?"):
        return f"{text} See '{path} --help'"
    return f"{text.rstrip('.')}; see '{path} --help'"


def _complain(what: str, faults: Sequence[str], code: int) -> int:
    for fault in faults:
        _err.print(f"[bold red]{what}:[/] {escape(fault)}", soft_wrap=True, highlight=False)
    return code


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


def _default(name: str) -> str:
    return str(default_of(name))


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="iris, wine, digits or mnist.")],
    cuts: Annotated[
        str | None,
        typer.Option(metavar="INTEGER|auto", help="Number of cuts, or as many as pay off."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="One letter a qubit, such as AABC; gates between are cut.")
    ] = None,
    qubits: Annotated[
        int | None,
        typer.Option(
            help="Qubits of the circuit, one feature each.", show_default=_default("qubits")
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="counts, sampled or exact.", show_default=_default("mode")),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(help="Shots of each subexperiment.", show_default=_default("shots")),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training samples.", show_default=_default("epochs")),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples a step.", show_default=_default("batch_size"))
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Step size of Adam.", show_default=_default("learning_rate")),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same weights.", show_default=_default("seed"))
    ] = None,
    pilots: Annotated[
        Path | None, typer.Option(help="Pilot description; without one, this process.")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the run's files go.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the MNIST files lie.")] = None,
    reconstruction: Annotated[
        str | None,
        typer.Option(
            help="auto, local, or mpi on a pilot with ranks.",
            show_default=_default("reconstruction"),
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Keep the last queries' tensors, for pilotcut reconstruct."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the run in --run-dir, with its settings unless given."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Train a quantum classifier whose circuit is cut."""
    given = {
        "dataset": dataset,
        "qubits": qubits,
        "cuts": _whole(cuts),
        "labels": labels,
        "mode": mode,
        "shots": shots,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "data_dir": str(data_dir) if data_dir else None,
        "pilots": str(pilots) if pilots else None,
        "reconstruction": reconstruction,
        "store": store or None,
    }
    summary = _train(given, run_dir, resume)
    if as_json:
        print(json.dumps(summary))
    else:
        _print_summary(summary)


def _whole(text: str | None) -> int | str | None:
    """Return a number if the text is one; what else it may be is checked with the others."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


def _train(given: dict[str, Any], run_dir: Path | None, resume: bool) -> dict[str, Any]:
    from pilotcut.training.run_directory import RunDirectory
    from pilotcut.training.trainer import default_run_directory

    if resume:
        if run_dir is None:
            raise UserError(
                "--resume is given without --run-dir, expected the directory of the run to "
                "continue; add --run-dir"
            )
        run = RunDirectory(run_dir)
        config = _config_of(run, given)
    else:
        config = TrainingConfig.of(given)
        config.check()
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        run = RunDirectory(run_dir or default_run_directory(config.dataset, now))
    try:
        return _train_in(run, config, resume)
    except KeyboardInterrupt:
        advice = "nothing was trained"
        if run.config.exists():
            command = ["pilotcut", "train", config.dataset, "--run-dir", str(run.path), "--resume"]
            advice = f"continue with: {shlex.join(command)}"
        _complain("interrupted", [advice], _INTERRUPTED)
        raise


def _config_of(run: RunDirectory, given: Mapping[str, Any]) -> TrainingConfig:
    """Return the settings of the run that is there, with what is given over them."""
    stored = run.settings()
    merged = stored | {name: value for name, value in given.items() if value is not None}
    try:
        config = TrainingConfig.of(merged)
        config.check()
    except TypeError as error:  # somebody's hand was in the file
        raise run.damaged_settings(str(error)) from None
    run.check_same(asdict(config))
    return config


def _train_in(run: RunDirectory, config: TrainingConfig, resume: bool) -> dict[str, Any]:
    from pilotcut.pilots import PilotManager
    from pilotcut.training.trainer import Trainer

    manager = None
    if config.pilots is not None:
        manager = PilotManager.from_yaml(config.pilots, run_dir=run.path)
    run.check(resume=resume)
    trainer = Trainer(config, run)
    _err.print(escape(repr(trainer.plan)), style="dim", highlight=False, soft_wrap=True)
    run.make()  # the pilots' logs go there
    with _tasks(manager) as tasks:
        trainer.use(tasks)
        with _progress(trainer) as progress:
            return trainer.train(resume=resume, progress=progress)


@contextmanager
def _tasks(manager: PilotManager | None) -> Iterator[TaskManager | None]:
    """Start the pilots and yield their task manager; None without pilots."""
    if manager is None:
        yield None
        return
    from pilotcut.tasks import TaskManager

    for note in manager.notes:
        _err.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    with _err.status("starting pilots"):
        manager.start()
    if manager.dashboard:
        _err.print(f"dask's dashboard: {manager.dashboard}", style="dim", soft_wrap=True)
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
    bar = Progress(*columns, console=_err)
    task = bar.add_task("training", total=None, loss=0.0)

    def show(epoch: int, batch: int, batches: int, loss: float) -> None:
        if not bar.live.is_started:  # not before: a run that cannot start shows no bar
            bar.start()
        bar.update(
            task,
            description=f"epoch {epoch}/{trainer.config.epochs}",
            total=trainer.config.epochs * batches,
            completed=(epoch - 1) * batches + batch,
            loss=loss,
        )

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


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
        f"{summary['seconds']:.1f} s",
        soft_wrap=True,
    )
    _out.print(table)
    if (predicted := summary["predicted"]) is not None:
        _out.print(
            f"batches: predicted {predicted['predicted_s']:.2f} s, measured "
            f"{predicted['measured_s']:.2f} s ({predicted['batches']} of them)",
            soft_wrap=True,
        )
    shots = f" of {summary['shots']} shots" if summary["shots"] else ", without shots"
    _out.print(
        f"{summary['queries']} queries, {summary['subexperiments']} subexperiments{shots}",
        soft_wrap=True,
    )
    _out.print(f"run directory: {escape(summary['run_dir'])}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
