"""Commands of a fleet of QPUs: `pilotcut fleet show`, `train` and `infer`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import AsJson, among
from pilotcut.cli.console import complain, err, note, out, say, say_json
from pilotcut.cli.session import tasks_on
from pilotcut.errors import UserError
from pilotcut.io.directory_lock import locked
from pilotcut.io.extras import require
from pilotcut.io.new_directory import given_or_new
from pilotcut.options import (
    MOST_SHOTS,
    check,
    choice_fault,
    counted,
    number_fault,
    seed_fault,
    whole_fault,
)

if TYPE_CHECKING:
    from pilotcut.fleet.config import FleetConfig
    from pilotcut.fleet.device_jobs import Job
    from pilotcut.fleet.epochs import FleetEpoch
    from pilotcut.fleet.fleet import OnPilots
    from pilotcut.fleet.inference_run import Inference
    from pilotcut.fleet.run import FleetRun
    from pilotcut.training.data import Dataset

app = typer.Typer(help="Train and infer on a fleet of unlike QPUs.", no_args_is_help=True)


#: What Slurm may take to start the jobs of a fleet where there is room for them.
_WAIT_S = 300.0

#: Arguments of `train` that are no settings of a training.
_NO_SETTINGS = ("run_dir", "wait", "resume", "as_json")

_Dataset = Annotated[
    str,
    typer.Argument(
        help="iris, wine, digits, or a file of features (.npz).",
        autocompletion=among(("iris", "wine", "digits")),
    ),
]
_Fleet = Annotated[Path, typer.Option(help="Pilot description with a QPU on every pilot.")]
_Model = Annotated[str | None, typer.Option(help="crz, crx or crz-all.", show_default="crx")]
_Qubits = Annotated[int | None, typer.Option(help="Of the model.", show_default="the paper's")]
_Layers = Annotated[
    int | None, typer.Option(help="How often the ansatz is repeated.", show_default="1")
]
_Kappa = Annotated[
    float | None, typer.Option(help="κ of the similarity exp(−κ·dist).", show_default="20000")
]
_Threshold = Annotated[
    float | None,
    typer.Option(help="Least similarity of devices that share.", show_default="0.01"),
]
_Wait = Annotated[
    float, typer.Option(help="Seconds to wait for all devices before it begins with some.")
]


@app.command()
def show(
    dataset: _Dataset,
    fleet: _Fleet,
    model: _Model = None,
    qubits: _Qubits = None,
    layers: _Layers = None,
    kappa: _Kappa = None,
    threshold: _Threshold = None,
    as_json: AsJson = False,
) -> None:
    """Show what the devices are to a model: SWAPs, success, speed, and who is like whom."""
    from pilotcut.fleet.config import FleetConfig
    from pilotcut.fleet.fleet import jobs_of, load_fleet

    given = {"dataset": dataset, "fleet": str(fleet), "model": model, "kappa": kappa}
    given |= {"qubits": qubits, "layers": layers}
    config = FleetConfig.of(given | {"threshold": threshold})
    with err.status("compiling the model for each device"):
        jobs = jobs_of(
            load_fleet(fleet),
            config.model,
            config.qubits,
            config.engine,
            layers=config.layers,
            runs=False,
        )
        shown = _shown(config, jobs)
    if as_json:
        say_json(shown)
        return
    table = Table()
    for name in ("device", "SWAPs", "success", "error", "shots/s", "group", "most like"):
        table.add_column(name, justify="left" if name in ("device", "most like") else "right")
    for one in shown:
        like = one["most_like"]
        table.add_row(
            escape(one["device"]),
            str(one["swaps"]),
            f"{one['success']:.3f}",
            f"{one['error']:.3f}",
            f"{1 / one['shot_s']:,.0f}" if one["shot_s"] else "-",
            str(one["group"]),
            f"{escape(like)} ({one['similarity'][like]:.2g})" if like else "-",
        )
    out.print(table)
    for one in shown:
        if one["noise_free"]:
            note(f"device '{one['device']}' is noise-free: its target gives no errors")


def _shown(config: FleetConfig, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return what there is to show of each device."""
    from pilotcut.backends.usable import is_noise_free
    from pilotcut.fleet.device_features import device_features
    from pilotcut.fleet.fleet import facts_of
    from pilotcut.fleet.similarity import groups

    facts, found = facts_of(jobs, config.kappa), []
    shared = groups(facts.alike, config.threshold)
    for k, job in enumerate(jobs):
        prepared = job.prepared
        alike = {o.device: float(facts.alike[k, i]) for i, o in enumerate(jobs) if i != k}
        found.append(
            {
                "device": job.device,
                "swaps": int(
                    device_features(prepared.compilation, prepared.device.target).swaps.sum()
                ),
                "success": prepared.success,
                "error": prepared.error,
                "noise_free": is_noise_free(prepared.device.target),
                "shot_s": prepared.shot_s,
                "group": next(n for n, group in enumerate(shared, start=1) if k in group),
                "most_like": max(alike, key=lambda device: alike[device], default=None),
                "similarity": alike,
            }
        )
    return found


@app.command()
def train(
    dataset: _Dataset,
    fleet: _Fleet,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="single, all-sharing, eqc, local-steps or arbiterq.", show_default="arbiterq"
        ),
    ] = None,
    model: _Model = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes of every device over its samples.", show_default="30"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples of a gradient.", show_default="16")
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(help="Of every circuit; 0 for exact values.", show_default="1024"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of plain gradient descent.", show_default="0.5")
    ] = None,
    kappa: _Kappa = None,
    threshold: _Threshold = None,
    combine: Annotated[
        str | None,
        typer.Option(
            help="arbiterq: mean or sum of own and neighbours' gradients.", show_default="mean"
        ),
    ] = None,
    local_steps: Annotated[
        int | None, typer.Option(help="local-steps: steps between averages.", show_default="5")
    ] = None,
    dealt: Annotated[
        bool, typer.Option("--dealt", help="Deal the samples to the devices, not all to each.")
    ] = False,
    qubits: _Qubits = None,
    layers: _Layers = None,
    max_samples: Annotated[
        int | None, typer.Option(help="At most so many samples.", show_default="1000")
    ] = None,
    drift: Annotated[
        float | None,
        typer.Option(help="How far simulated devices move with a calibration.", show_default="0"),
    ] = None,
    calibrate_every: Annotated[
        int | None,
        typer.Option(help="Epochs between two calibrations; 0 for none.", show_default="0"),
    ] = None,
    upkeep: Annotated[
        str | None,
        typer.Option(
            help="retune: models follow devices that move; continue; ignore.",
            show_default="retune",
        ),
    ] = None,
    service: Annotated[
        int | None,
        typer.Option(
            help="Epochs after the training in which only upkeep trains.", show_default="0"
        ),
    ] = None,
    retune_batches: Annotated[
        int | None,
        typer.Option(help="Gradients of a device in an epoch of service.", show_default="5"),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="law: draws from the exact law of the noise; damped: for large models; counts.",
            show_default="law",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same weights.", show_default="7")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the run's files go.")] = None,
    wait: _Wait = _WAIT_S,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run-dir.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on every device of a fleet, by one strategy."""
    given = {name: value for name, value in locals().items() if name not in _NO_SETTINGS}
    given |= {"fleet": str(fleet), "dealt": dealt or None}
    require("pilotcut fleet train", "train")
    from pilotcut.fleet.config import FleetConfig
    from pilotcut.fleet.run import FleetRun

    _check_wait(wait)
    if resume and run_dir is None:
        raise UserError(
            "--resume is given without --run-dir, expected the directory of the run to continue; "
            "add --run-dir"
        )
    config = FleetConfig.of(given) if not resume else None  # faults before anything is made
    with given_or_new(run_dir, Path("runs") / f"fleet-{Path(dataset).stem}") as path:
        run = FleetRun(path)
        if config is None:
            config = run.resumed(given)
        else:
            run.check_new()
        try:
            summary = _train(run, config, wait, resume)
        except KeyboardInterrupt:
            complain("interrupted", _advice(run, config))
            raise
    if as_json:
        say_json(summary)
    else:
        _print_training(summary)


def _advice(run: FleetRun, config: FleetConfig) -> str:
    if not run.config_file.exists():
        return "nothing was trained"
    command = ["pilotcut", "fleet", "train", config.dataset, "--fleet", config.fleet]
    return f"continue with: {shlex.join([*command, '--run-dir', str(run.path), '--resume'])}"


def _train(run: FleetRun, config: FleetConfig, wait: float, resume: bool) -> dict[str, Any]:
    from pilotcut.fleet.fleet import load_fleet
    from pilotcut.training.trainer_directory import make_directory

    load_fleet(config.fleet)  # faults come before anything is made
    make_directory(run.path)
    with locked(run.path), _on_pilots(config.fleet, run.path, wait) as on:
        return run.train(config, on, _tell(config), resume=resume)


@contextmanager
def _on_pilots(fleet: str, run_dir: Path | None, wait: float) -> Iterator[OnPilots]:
    """Start the pilots of a fleet, and wait for them."""
    from pilotcut.fleet.fleet import OnPilots
    from pilotcut.pilots import PilotManager

    with tasks_on(PilotManager.from_yaml(fleet, run_dir=run_dir)) as tasks:
        on = OnPilots(tasks)
        if late := on.gather(wait):
            note(f"begins without {', '.join(sorted(late))}, whose pilots may come later")
        yield on


def _tell(config: FleetConfig) -> Any:
    def tell(epoch: FleetEpoch) -> None:
        calibrated = [event for event in epoch.events if event.what == "was calibrated"]
        if calibrated:
            near = sum(event.what == "goes on" for event in epoch.events)
            note(
                f"epoch {epoch.epoch}: {counted(len(calibrated), 'device')} calibrated, {near} "
                f"go on from the model of another"
            )
        for event in epoch.events:
            if event.what in ("was calibrated", "goes on"):
                continue
            note(f"epoch {event.epoch}: device '{event.device}' {event.what}: {event.why}")
        if err.is_terminal or epoch.epoch in (0, config.epochs, config.last):
            err.print(
                f"epoch {epoch.epoch}/{config.last}: loss {epoch.test_loss:.4f}, "
                f"accuracy {epoch.accuracy:.1%}, {counted(len(epoch.online), 'device')}, "
                f"{epoch.modelled_s:.1f} s on the devices",
                style="dim",
                highlight=False,
            )

    return tell


def _print_training(summary: dict[str, Any]) -> None:
    out.print(
        f"{summary['dataset']}, model {summary['model']}, {summary['strategy']}: test accuracy "
        f"[bold]{summary['accuracy']:.1%}[/], loss {summary['loss']:.4f}, means over "
        f"{counted(len(summary['online']), 'device')}; {summary['circuits']:,} circuits, "
        f"{summary['modelled_s']:.1f} s on the devices",
        soft_wrap=True,
        highlight=False,
    )
    table = Table()
    table.add_column("device")
    table.add_column("test loss", justify="right")
    for device, loss in summary["losses"].items():
        table.add_row(escape(device), "away" if loss is None else f"{loss:.4f}")
    out.print(table)
    say(f"run directory: {summary['run_dir']}")


@app.command()
def infer(
    dataset: _Dataset,
    fleet: _Fleet,
    run_dir: Annotated[Path, typer.Option(help="A finished training, whose models are asked.")],
    strategy: Annotated[
        str, typer.Option(help="shot-oriented, batch, or both side by side.")
    ] = "both",
    shots: Annotated[int, typer.Option(help="Of every sample.")] = 128,
    seed: Annotated[int, typer.Option(help="Same seed, same values.")] = 7,
    wait: _Wait = _WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Classify the test samples with the models of a training on a fleet."""
    require("pilotcut fleet infer", "train")
    from pilotcut.fleet.fleet import jobs_of, load_fleet
    from pilotcut.fleet.inference_run import SCHEDULES, TrainedFleet
    from pilotcut.fleet.run import FleetRun, dataset_of

    _check_wait(wait)
    _check_inference(strategy, (*SCHEDULES, "both"), shots, seed)
    run = FleetRun(run_dir)
    config = run.config()
    if config.dataset != dataset:
        raise UserError(
            f"dataset is {dataset} and the models of '{run_dir}' learnt {config.dataset}, expected "
            f"the same; give {config.dataset}, or the --run-dir of another training"
        )
    jobs = jobs_of(
        load_fleet(fleet), config.model, config.qubits, config.engine, layers=config.layers
    )
    weights, data = run.weights(jobs), dataset_of(config)
    jobs = run.jobs_at_end(jobs, config)
    with _on_pilots(str(fleet), None, wait) as on:
        present = on.present()
        ready = TrainedFleet(jobs, weights, on.submit, [job.device in present for job in jobs])
        ways = {"shot-oriented": ready.shot_oriented, "batch": ready.batch_based}
        wanted = SCHEDULES if strategy == "both" else (strategy,)
        with err.status("classifying"):
            found = {name: _scored(ways[name](data.x_test, shots, seed), data) for name in wanted}
    for device, why in ready.lost.items():
        note(f"device '{device}' was left out, others ran its shots: {why}")
    if as_json:
        say_json(found)
    else:
        _print_inference(
            found, f"{counted(len(data.y_test), 'sample')} of {counted(shots, 'shot')}"
        )


def _check_wait(seconds: float) -> None:
    advice = f"leave it out for {_WAIT_S:g}"
    check(number_fault("wait", seconds, lambda s: 0 <= s < inf, "seconds from 0", advice))


def _check_inference(strategy: str, known: tuple[str, ...], shots: int, seed: int) -> None:
    check(
        choice_fault("strategy", strategy, known),
        whole_fault("shots", shots, 2, MOST_SHOTS),
        seed_fault(seed, 2**32 - 1),
    )


def _scored(result: Inference, data: Dataset) -> dict[str, Any]:
    from pilotcut.fleet.device_jobs import mean_loss

    return {
        "loss": mean_loss(result.values, data.y_test),
        "accuracy": float(((result.values > 0) == (data.y_test > 0)).mean()),
        "makespan_s": result.makespan_s,
        "values": result.values.tolist(),
    }


def _print_inference(found: dict[str, Any], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for name in ("schedule", "loss", "accuracy", "s on the devices"):
        table.add_column(name, justify="left" if name == "schedule" else "right")
    for name, one in found.items():
        table.add_row(
            name, f"{one['loss']:.4f}", f"{one['accuracy']:.1%}", f"{one['makespan_s']:.3f}"
        )
    out.print(table)
