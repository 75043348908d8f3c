"""The commands of a fleet of QPUs: `pilotcut fleet show`, `train` and `infer`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pilotcut.alone import alone_in
from pilotcut.errors import UserError
from pilotcut.training.config import choice_fault

if TYPE_CHECKING:
    from pilotcut.fleet.config import FleetConfig
    from pilotcut.fleet.fleet import OnPilots
    from pilotcut.fleet.infer import Inference
    from pilotcut.fleet.run import FleetRun
    from pilotcut.fleet.trainer import Epoch

app = typer.Typer(help="Train and infer on a fleet of unlike QPUs.", no_args_is_help=True)

_out = Console()
_err = Console(stderr=True)

_Dataset = Annotated[str, typer.Argument(help="iris, wine or digits.")]
_Fleet = Annotated[Path, typer.Option(help="Pilot description with a QPU on every pilot.")]
_Model = Annotated[str | None, typer.Option(help="crz, crx or crz-all.", show_default="crx")]
_Kappa = Annotated[
    float | None, typer.Option(help="κ of the similarity exp(−κ·dist).", show_default="20000")
]
_Threshold = Annotated[
    float | None,
    typer.Option(help="Least similarity of devices that share.", show_default="0.01"),
]


@app.command()
def show(
    dataset: _Dataset,
    fleet: _Fleet,
    model: _Model = None,
    kappa: _Kappa = None,
    threshold: _Threshold = None,
) -> None:
    """Show what the devices are to a model: SWAPs, success, speed, and who is like whom."""
    from pilotcut.fleet.behaviour import behaviour
    from pilotcut.fleet.config import FleetConfig
    from pilotcut.fleet.fleet import facts_of, jobs_of, load_fleet
    from pilotcut.fleet.sharing import groups

    given = {"dataset": dataset, "fleet": str(fleet), "model": model, "kappa": kappa}
    config = FleetConfig.of(given | {"threshold": threshold})
    jobs = jobs_of(load_fleet(fleet), config.model, config.qubits, config.engine)
    facts = facts_of(jobs, config.kappa)
    group_of = {
        device: number
        for number, group in enumerate(groups(facts.alike, config.threshold), start=1)
        for device in group
    }
    table = Table()
    for name in ("device", "SWAPs", "success", "shots/s", "group", "most like"):
        table.add_column(name, justify="left" if name in ("device", "most like") else "right")
    for k, job in enumerate(jobs):
        prepared = job.prepared
        swaps = behaviour(prepared.compilation, prepared.device.target).swaps.sum()
        others = facts.alike[k].copy()
        others[k] = -1.0
        nearest = int(others.argmax())
        like = f"{jobs[nearest].device} ({others[nearest]:.2g})" if len(jobs) > 1 else "-"
        table.add_row(
            escape(job.device),
            str(swaps),
            f"{prepared.success:.3f}",
            f"{1 / prepared.shot_s:,.0f}" if prepared.shot_s else "-",
            str(group_of[k]),
            escape(like),
        )
    _out.print(table)


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
    engine: Annotated[
        str | None,
        typer.Option(
            help="law: draws from the exact law of the noise; counts: circuits.",
            show_default="law",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same weights.", show_default="7")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where the run's files go.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run-dir.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Train a model on every device of a fleet, by one strategy."""
    from pilotcut.fleet.config import FleetConfig
    from pilotcut.fleet.run import FleetRun

    given = {
        "dataset": dataset,
        "fleet": str(fleet),
        "strategy": strategy,
        "model": model,
        "epochs": epochs,
        "batch_size": batch_size,
        "shots": shots,
        "learning_rate": learning_rate,
        "kappa": kappa,
        "threshold": threshold,
        "combine": combine,
        "local_steps": local_steps,
        "dealt": dealt or None,
        "engine": engine,
        "seed": seed,
    }
    if resume and run_dir is None:
        raise UserError(
            "--resume is given without --run-dir, expected the directory of the run to continue; "
            "add --run-dir"
        )
    run = FleetRun(run_dir or Path("runs") / f"fleet-{dataset}-{datetime.now():%Y%m%d-%H%M%S}")
    if not resume:
        run.check_new()
    config = run.resumed(given) if resume else FleetConfig.of(given)
    try:
        summary = _train(run, config, resume)
    except KeyboardInterrupt:
        again = ["pilotcut", "fleet", "train", config.dataset, "--fleet", config.fleet]
        command = shlex.join([*again, "--run-dir", str(run.path), "--resume"])
        _err.print(f"[bold red]interrupted:[/] continue with: {escape(command)}", soft_wrap=True)
        raise
    if as_json:
        print(json.dumps(summary))
    else:
        _print_training(summary)


def _train(run: FleetRun, config: FleetConfig, resume: bool) -> dict[str, Any]:
    from pilotcut.fleet.fleet import load_fleet

    load_fleet(config.fleet)  # faults come before anything is made
    run.path.mkdir(parents=True, exist_ok=True)
    with alone_in(run.path), _on_pilots(config.fleet, run.path) as on:
        return run.train(config, on, _tell(config), resume=resume)


@contextmanager
def _on_pilots(fleet: str, run_dir: Path | None) -> Iterator[OnPilots]:
    """Start the pilots of a fleet."""
    from pilotcut.fleet.fleet import OnPilots
    from pilotcut.pilots import PilotManager
    from pilotcut.tasks import TaskManager

    with (
        PilotManager.from_yaml(fleet, run_dir=run_dir) as manager,
        TaskManager(manager) as tasks,
    ):
        yield OnPilots(tasks)


def _tell(config: FleetConfig) -> Any:
    def tell(epoch: Epoch) -> None:
        import numpy as np

        for event in epoch.events:
            text = escape(f"epoch {event.epoch}: device '{event.device}' {event.what}: {event.why}")
            _err.print(f"[yellow]note:[/] {text}", soft_wrap=True, highlight=False)
        if _err.is_terminal or epoch.number in (0, config.epochs):
            _err.print(
                f"epoch {epoch.number}/{config.epochs}: loss {np.nanmean(epoch.losses):.4f}, "
                f"accuracy {np.nanmean(epoch.accuracies):.1%}, {len(epoch.online)} devices, "
                f"{epoch.modelled_s:.1f} s on the devices",
                style="dim",
                highlight=False,
            )

    return tell


def _print_training(summary: dict[str, Any]) -> None:
    if "loss" not in summary:
        _out.print("nothing was left to train")
        return
    _out.print(
        f"{summary['dataset']}, model {summary['model']}, {summary['strategy']}: test accuracy "
        f"[bold]{summary['accuracy']:.1%}[/], loss {summary['loss']:.4f}, means over "
        f"{len(summary['online'])} devices; {summary['circuits']:,} circuits, "
        f"{summary['modelled_s']:.1f} s on the devices",
        soft_wrap=True,
        highlight=False,
    )
    table = Table()
    table.add_column("device")
    table.add_column("test loss", justify="right")
    for device, loss in summary["losses"].items():
        table.add_row(escape(device), "away" if loss is None else f"{loss:.4f}")
    _out.print(table)
    _out.print(f"run directory: {escape(summary['run_dir'])}", soft_wrap=True, highlight=False)


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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Classify the test samples with the models of a training on a fleet."""
    import numpy as np

    from pilotcut.fleet.fleet import jobs_of, load_fleet
    from pilotcut.fleet.infer import SCHEDULES, Fleet
    from pilotcut.fleet.run import FleetRun, dataset_of
    from pilotcut.fleet.work import mean_loss

    if strategy not in (*SCHEDULES, "both"):
        raise UserError(choice_fault("strategy", strategy, (*SCHEDULES, "both")))
    if shots < 2:
        raise UserError(f"shots is {shots}, expected a whole number from 2 up")
    run = FleetRun(run_dir)
    config = run.config()
    if config.dataset != dataset:
        raise UserError(
            f"dataset is {dataset} and the models of '{run_dir}' learnt {config.dataset}, expected "
            f"the same"
        )
    jobs = jobs_of(load_fleet(fleet), config.model, config.qubits, config.engine)
    weights, data = run.weights(jobs), dataset_of(config)
    found: dict[str, Any] = {}
    with _on_pilots(str(fleet), None) as on:
        present = on.present()
        ready = Fleet(jobs, weights, on.submit, [job.device in present for job in jobs])
        ways = {"shot-oriented": ready.shot_oriented, "batch": ready.batch_based}
        for name in SCHEDULES if strategy == "both" else (strategy,):
            result: Inference = ways[name](data.x_test, shots, seed)
            found[name] = {
                "loss": mean_loss(result.values, data.y_test),
                "accuracy": float(np.mean((result.values > 0) == (data.y_test > 0))),
                "makespan_s": result.makespan_s,
                "values": result.values.tolist(),
            }
    if as_json:
        print(json.dumps(found))
        return
    table = Table(title=f"{len(data.y_test)} samples of {shots} shots", title_justify="left")
    for name in ("schedule", "loss", "accuracy", "s on the devices"):
        table.add_column(name, justify="left" if name == "schedule" else "right")
    for name, one in found.items():
        table.add_row(
            name, f"{one['loss']:.4f}", f"{one['accuracy']:.1%}", f"{one['makespan_s']:.3f}"
        )
    _out.print(table)
