"""Command `pilotcut train`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import WIRES_HELP, AsJson, JointCuts, among
from pilotcut.cli.console import complain, err, note, out, say, say_json
from pilotcut.cli.session import manager_of, tasks_on
from pilotcut.errors import UserError
from pilotcut.io.directory_lock import locked
from pilotcut.io.extras import require
from pilotcut.io.new_directory import given_or_new
from pilotcut.options import DTYPES, ENGINES, MODES, WIRES, counted
from pilotcut.pilots.description.mitigation import MITIGATIONS
from pilotcut.training.config import LEARNING_RATES, LOSSES, SCHEDULES, TrainingConfig

if TYPE_CHECKING:
    from pilotcut.training.run_directory import RunDirectory


#: As `pilotcut.training.data` has them, which loads scikit-learn.
_DATASETS = ("iris", "wine", "digits", "mnist")


def _default(name: str) -> str:
    return str(getattr(TrainingConfig, name))


def _or(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


def _rates() -> str:
    """Return the learning rates, each with the optimisers that it is the default of."""
    by_rate: dict[float, list[str]] = {}
    for name, rate in LEARNING_RATES.items():
        by_rate.setdefault(rate, []).append(name)
    return ", ".join(f"{rate:g} ({', '.join(names)})" for rate, names in by_rate.items())


def train(
    dataset: Annotated[
        str,
        typer.Argument(help="iris, wine, digits or mnist.", autocompletion=among(_DATASETS)),
    ],
    classes: Annotated[
        int | None,
        typer.Option(
            help="Classes to tell apart: 2 or 3, up to 10 digits.",
            show_default=_default("classes"),
        ),
    ] = None,
    cuts: Annotated[
        str | None,
        typer.Option(metavar="INTEGER|auto", help="Number of cuts, or as many as pay off."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="One letter a qubit, such as AABC; gates between are cut.")
    ] = None,
    joint_cuts: JointCuts = False,
    wires: Annotated[
        str | None,
        typer.Option(help=WIRES_HELP, show_default=_default("wires"), autocompletion=among(WIRES)),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="In exact mode: auto, statevector (of all branches) or network (of tensors).",
            show_default=_default("engine"),
            autocompletion=among(ENGINES),
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="In exact mode: complex128, or complex64 at half the memory.",
            show_default=_default("dtype"),
            autocompletion=among(DTYPES),
        ),
    ] = None,
    qubits: Annotated[
        int | None,
        typer.Option(
            help="Qubits of the circuit, one feature each.", show_default=_default("qubits")
        ),
    ] = None,
    reps: Annotated[
        int | None,
        typer.Option(help="Repetitions of the ansatz.", show_default=_default("reps")),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="counts, sampled or exact.",
            show_default=_default("mode"),
            autocompletion=among(MODES),
        ),
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
    samples: Annotated[
        int | None,
        typer.Option(help="Samples before they are split, at most.", show_default="1000"),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Share of the training samples held out to watch.",
            show_default=_default("validation"),
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help=f"{_or(LEARNING_RATES)}; for the last two an epoch is one evaluation.",
            show_default=_default("optimizer"),
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Step size of the optimizer.", show_default=_rates()),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help=f"{_or(LOSSES)}.", show_default="mse for two classes, else cross_entropy"
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help=f"Of the learning rate: {_or(SCHEDULES)}.", show_default=_default("schedule")
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="End after so many epochs without a lower validation loss.",
            show_default="train all epochs",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same weights.", show_default=_default("seed"))
    ] = None,
    pilots: Annotated[
        Path | None,
        typer.Option(
            help="Pilot description, a file or a name, or the connection.json of pilots that run; "
            "without one, this process."
        ),
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the run's files go.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the MNIST files lie.")] = None,
    error_tolerance: Annotated[
        float | None,
        typer.Option(
            help="Error above the best QPU's that a fragment may have for the sake of load.",
            show_default=_default("error_tolerance"),
        ),
    ] = None,
    mitigation: Annotated[
        str | None,
        typer.Option(
            help=f"Of QPUs' errors: {_or(MITIGATIONS)}; options behind it, as in "
            "'zne factors=1,3'.",
            show_default="as pilots say",
        ),
    ] = None,
    reconstruction: Annotated[
        str | None,
        typer.Option(
            help="auto, local, or mpi on a pilot with ranks.",
            show_default=_default("reconstruction"),
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Refuse what is predicted to take longer in one call; inf for no limit.",
            show_default=_default("max_seconds"),
        ),
    ] = None,
    max_usage: Annotated[
        float | None,
        typer.Option(
            "--max-usage",
            metavar="SECONDS",
            help="Use devices no longer: stop before a batch that is predicted to.",
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Keep the last queries' tensors, for pilotcut reconstruct."),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write logs for TensorBoard into the run directory."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the run in --run-dir, with its settings unless given."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a quantum classifier whose circuit is cut."""
    given = {
        "dataset": dataset,
        "qubits": qubits,
        "classes": classes,
        "reps": reps,
        "cuts": _whole(cuts),
        "labels": labels,
        "joint_cuts": joint_cuts or None,
        "wires": wires,
        "engine": engine,
        "dtype": dtype,
        "mode": mode,
        "shots": shots,
        "epochs": epochs,
        "batch_size": batch_size,
        "samples": samples,
        "validation": validation,
        "optimizer": optimizer.lower() if optimizer else None,
        "learning_rate": learning_rate,
        "loss": loss,
        "schedule": schedule,
        "patience": patience,
        "seed": seed,
        "data_dir": str(data_dir) if data_dir else None,
        "pilots": str(pilots) if pilots else None,
        "error_tolerance": error_tolerance,
        "mitigation": mitigation,
        "reconstruction": reconstruction,
        "max_seconds": max_seconds,
        "max_usage": max_usage,
        # A flag that is left out says nothing: a resumed run keeps what it was asked.
        "store": store or None,
        "tensorboard": tensorboard or None,
    }
    require("pilotcut train", "train")
    if tensorboard:
        require("--tensorboard", "tensorboard")
    summary = _train(given, run_dir, resume)
    if as_json:
        say_json(summary)
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

    if resume:
        if run_dir is None:
            raise UserError(
                "--resume is given without --run-dir, expected the directory of the run to "
                "continue; add --run-dir"
            )
        run = RunDirectory(run_dir)
        config = run.training_config(**given)
        run.check_same(asdict(config))
        return _train_or_advise(run, config, resume)
    config = TrainingConfig.of(given)
    config.check()
    with given_or_new(run_dir, Path("runs") / config.dataset) as path:
        return _train_or_advise(RunDirectory(path), config, resume)


def _train_or_advise(run: RunDirectory, config: TrainingConfig, resume: bool) -> dict[str, Any]:
    try:
        return _train_in(run, config, resume)
    except KeyboardInterrupt:
        advice = "nothing was trained"
        if run.config.exists():
            command = ["pilotcut", "train", config.dataset, "--run-dir", str(run.path), "--resume"]
            advice = f"continue with: {shlex.join(command)}"
        complain("interrupted", advice)
        raise


def _train_in(run: RunDirectory, config: TrainingConfig, resume: bool) -> dict[str, Any]:
    from pilotcut.execution.devices import fleet_among
    from pilotcut.execution.mitigating import check_devices
    from pilotcut.pilots.manager import CONNECTION_VARIABLE
    from pilotcut.pilots.registry import lent
    from pilotcut.training.callbacks import ProgressBar
    from pilotcut.training.run import TrainingRun

    manager, described = None, []
    if config.pilots is not None:
        manager = manager_of(Path(config.pilots), run.path)
        described = lent(config.pilots) or [pilot.description for pilot in manager.pilots]
    elif os.environ.get(CONNECTION_VARIABLE):
        note(f"{CONNECTION_VARIABLE} is for scripts; to train on its pilots: --pilots ITS_FILE")
    # Faults of the pilots' file and of the directory come before the circuit is read and cut.
    run.check(resume=resume)
    training = TrainingRun(config, run)
    check_devices(training.estimator.runner.mitigation, fleet_among(described, config.mode))
    err.print(escape(repr(training.plan)), style="dim", highlight=False, soft_wrap=True)
    run.make()  # the pilots' logs go there
    pilots = nullcontext() if manager is None else tasks_on(manager)
    with locked(run.path), pilots as tasks:
        training.use(tasks)
        return training.train(resume=resume, callbacks=[ProgressBar(err)])


def _print_summary(summary: dict[str, Any]) -> None:
    table = Table(title="where the time went", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    stages = summary["stage_seconds"]
    staged = sum(stages.values())
    for stage, seconds in stages.items():
        table.add_row(stage, f"{seconds:.2f}", f"{seconds / staged:.1%}" if staged else "-")
    out.print(
        f"{summary['dataset']}: test accuracy [bold]{summary['accuracy']:.1%}[/], loss "
        f"{summary['loss']:.3f}, {counted(summary['cuts'], 'cut')} into "
        f"{counted(summary['fragments'], 'fragment')}, "
        f"{summary['seconds']:.1f} s",
        soft_wrap=True,
    )
    out.print(_ending(summary), soft_wrap=True)
    out.print(table)
    if (predicted := summary["predicted"]) is not None:
        out.print(
            f"batches: predicted {predicted['predicted_s']:.2f} s, measured "
            f"{predicted['measured_s']:.2f} s ({predicted['batches']} of them)",
            soft_wrap=True,
        )
    shots = f" of {counted(summary['shots'], 'shot')}" if summary["shots"] else ", without shots"
    out.print(
        f"{summary['queries']} queries, {summary['subexperiments']} subexperiments{shots}",
        soft_wrap=True,
    )
    say(f"run directory: {summary['run_dir']}")


def _ending(summary: dict[str, Any]) -> str:
    """Return how the training ended, and with which weights."""
    epochs = counted(summary["epochs"], "epoch")
    text = f"{summary['classes']} classes, {summary['optimizer']}, {epochs}"
    if summary["stopped_early"]:
        text += " (stopped early)"
    if summary["reason"]:
        text += f"; {summary['reason']}; continue with --resume"
    if summary["best_epoch"] != summary["epochs"]:
        text += f", weights of epoch {summary['best_epoch']}"
    if summary["val_loss"] is not None:
        accuracy = summary["val_accuracy"]
        text += f"; validation accuracy {accuracy:.1%}, loss {summary['val_loss']:.3f}"
    return text
