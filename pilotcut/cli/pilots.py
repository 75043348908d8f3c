"""Commands about pilots and tasks: `pilotcut pilots`, `tasks`, `run` and `status`."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import AsJson, Description
from pilotcut.cli.console import err, note, out, say_json
from pilotcut.cli.session import say_what_pilots_held, say_what_pilots_wait_for
from pilotcut.errors import UserError
from pilotcut.io.env_variables import whole_number
from pilotcut.io.new_directory import given_or_new

if TYPE_CHECKING:
    from pilotcut.pilots import PilotManager
    from pilotcut.pilots.description import PilotDescription

app = typer.Typer(help="Describe, start, watch and end pilots.", no_args_is_help=True)

tasks_app = typer.Typer(help="Look at tasks.", no_args_is_help=True)

_WATCH_S = 1.0


_RunDir = Annotated[
    Path | None, typer.Option(help="Where they were started; the latest under runs/ if left out.")
]


@app.command()
def show(
    file: Description,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the file itself, to begin one of your own.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a pilot description, and print what it asks for with all job scripts."""
    from pilotcut.pilots.description import file_of, load_descriptions

    described = load_descriptions(file)
    if as_yaml:
        if as_json:
            raise UserError("--yaml and --json are both given, expected one; leave one out")
        print(file_of(file).read_text(encoding="utf-8"), end="")
        return
    _print_notes(described)
    scripts = _scripts(described)
    if as_json:
        pilots = [pilot.model_dump(mode="json", exclude_unset=True) for pilot in described]
        jobs = [{"pilots": names, "script": script} for names, script in scripts]
        say_json({"pilots": pilots, "jobs": jobs})
        return
    table = Table()
    for name in ("pilot", "resource", "nodes", "workers", "threads", "gpus", "memory", "backend"):
        table.add_column(name)
    for pilot in described:
        table.add_row(*_cells(pilot))
    out.print(table)
    for names, script in scripts:
        said = escape("', '".join(names))
        out.print(f"\n[bold]job script of pilot{'s' if len(names) > 1 else ''} '{said}'[/]")
        print(script)  # as it is: rich would break its lines, and read brackets as markup


def _scripts(described: tuple[PilotDescription, ...]) -> list[tuple[list[str], str]]:
    """Return the job scripts of pilots on Slurm, each with the names of its pilots."""
    together: dict[str, list[PilotDescription]] = {}
    found = []
    for pilot in described:
        if pilot.hetjob is not None:
            together.setdefault(pilot.hetjob, []).append(pilot)
        elif pilot.resource == "slurm":
            for sized in pilot.in_sizes:
                found.append(_script([sized], is_rival=bool(pilot.sizes)))
    return [*found, *map(_script, together.values())]


def _cells(pilot: PilotDescription) -> list[str]:
    return [
        pilot.name
        + (f", {e.least} to {e.most} times" if (e := pilot.elastic) else "")
        + (f", for {', '.join(pilot.groups)} alone" if pilot.groups else ""),
        pilot.resource,
        " or ".join(str(sized.nodes) for sized in pilot.in_sizes),
        f"{pilot.ranks} ranks" if pilot.ranks > 1 else str(pilot.slots),
        str(pilot.threads_per_worker),
        str(pilot.gpus),
        pilot.memory_per_node or "-",
        f"{pilot.backend.kind} on {pilot.backend.device}"
        + (f" as {pilot.backend.qpu}" if pilot.backend.qpu else ""),
    ]


def _print_notes(described: tuple[PilotDescription, ...]) -> None:
    from pilotcut.pilots.description import notes

    for text in notes(described):
        note(text)


def _script(pilots: list[PilotDescription], *, is_rival: bool = False) -> tuple[list[str], str]:
    """Return the job script of a pilot, or of several that are components of one job."""
    from pilotcut.pilots.slurm.job_script import make_hetjob, make_job

    pilot, run_dir = pilots[0], Path("runs/TIME")
    where = (run_dir / "connection.json", run_dir / "logs")
    if len(pilots) > 1:
        job = make_hetjob([(one, one.name) for one in pilots], *where)
    else:
        job = make_job(pilot, pilot.name, *where, is_rival=is_rival)
    return [one.name for one in pilots], job.job_script().strip()


@app.command()
def up(
    file: Description,
    run_dir: Annotated[Path | None, typer.Option(help="Where their files go.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start pilots that stay until `pilots down`."""
    from pilotcut.pilots import daemon
    from pilotcut.pilots.description import file_of

    _lendable(file)  # faults before anything is written
    with given_or_new(run_dir, Path("runs") / "pilots") as place:
        where = place.resolve()
        with err.status("starting pilots"):
            daemon.up(where, file_of(file).resolve())
        _print_pilots(where, as_json)
        if as_json:
            return
        connection = where / "connection.json"
        out.print(f"use them:  export PILOTCUT_CONNECTION={connection}", soft_wrap=True)
        out.print(f"           pilotcut train ... --pilots {connection}", soft_wrap=True)
        out.print(f"end them:  pilotcut pilots down --run-dir {where}", soft_wrap=True)


@app.command()
def status(run_dir: _RunDir = None, as_json: AsJson = False) -> None:
    """Print where each pilot stands."""
    _print_pilots(run_dir or _latest(), as_json)


@app.command()
def down(run_dir: _RunDir = None, as_json: AsJson = False) -> None:
    """End the pilots that `pilots up` has started, with their jobs."""
    from pilotcut.pilots import daemon

    where = run_dir or _latest()
    with err.status("ending pilots"):
        daemon.down(where)
    _print_pilots(where, as_json)


@app.command()
def attach(
    connection: Annotated[Path, typer.Option(help="The connection file of the manager to join.")],
    name: Annotated[str | None, typer.Option(help="What the pilot is called there.")] = None,
    workers: Annotated[int | None, typer.Option(help="Workers on this node.", min=1)] = None,
    threads: Annotated[int, typer.Option(help="Threads of each worker.", min=1)] = 1,
    gpus: Annotated[int | None, typer.Option(help="GPUs of this node to use.", min=0)] = None,
    device: Annotated[str, typer.Option(help="CPU or GPU.")] = "CPU",
    allow_version_mismatch: Annotated[
        bool, typer.Option("--allow-version-mismatch", help="Join also with other versions.")
    ] = False,
) -> None:
    """Start workers here that join a running manager, until it ends or this is stopped."""
    from pilotcut.pilots.agent import main as agent
    from pilotcut.pilots.worker.connection import Connection

    Connection.read(connection)  # a wrong file is a line, and no log of a job
    here = _this_node(name, workers, threads, gpus, device, allow_version_mismatch)
    agent.serve_node(here, connection)


def _this_node(
    name: str | None,
    workers: int | None,
    threads: int,
    gpus: int | None,
    device: str,
    allow_version_mismatch: bool,
) -> PilotDescription:
    """Return the description of the pilot on this node, from what is given and what is here."""
    from pydantic import ValidationError

    from pilotcut.pilots.description import BackendDescription, PilotDescription

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = gpus if gpus is not None else len([g for g in visible.split(",") if g])
    cores = whole_number("SLURM_CPUS_ON_NODE", len(os.sched_getaffinity(0)), least=1)
    job = os.environ.get("SLURM_JOB_ID")
    called = name or (f"job-{job}" if job else f"process-{os.getpid()}")
    each = workers or max(1, cores // threads)
    try:
        return PilotDescription(
            name=called,
            resource="allocation",
            cores_per_node=each * threads,
            workers_per_node=each,
            threads_per_worker=threads,
            gpus_per_node=count,
            backend=BackendDescription(device=device),  # type: ignore[arg-type]
            allow_version_mismatch=allow_version_mismatch,
        )
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))} is {e['input']!r}" for e in error.errors()]
        raise UserError(
            [f"{fault}, expected what a pilot description takes" for fault in faults]
        ) from None


def run(
    file: Description,
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    run_dir: Annotated[Path | None, typer.Option(help="Where the pilots' files go.")] = None,
) -> None:
    """Start pilots, run a command that uses them, and end them.

    A script gets them with PilotManager.from_environment().
    """
    from pilotcut.pilots import PilotManager

    described = _lendable(file)
    if shutil.which(command[0]) is None:  # before pilots are asked for, which may take long
        raise _not_run(command, os.strerror(errno.ENOENT))
    with given_or_new(run_dir, Path("runs") / "pilots") as where:
        manager = PilotManager(described, run_dir=where.resolve())
        say_what_pilots_wait_for(manager)
        _run_with(manager, command)


def _run_with(manager: PilotManager, command: list[str]) -> None:
    """Run a command on the pilots of a manager, and exit as it did."""
    from pilotcut.pilots.manager import CONNECTION_VARIABLE

    with manager:
        environment = os.environ | {CONNECTION_VARIABLE: str(manager.connection_file)}
        try:
            done = subprocess.run(command, env=environment)
        except OSError as error:
            raise _not_run(command, str(error.strerror)) from None
    say_what_pilots_held(manager)
    sys.stdout.flush()
    raise typer.Exit(done.returncode)


def _not_run(command: list[str], why: str) -> UserError:
    return UserError(
        f"command is '{command[0]}', which cannot be run ({why}); expected a program, such as: "
        f"-- python my_training.py"
    )


def _lendable(file: Path) -> tuple[PilotDescription, ...]:
    """Return the described pilots, which another process can use, and print what to know."""
    from pilotcut.pilots.description import load_descriptions
    from pilotcut.pilots.needed_extras import check_extras

    described = load_descriptions(file)
    for pilot in described:
        check_extras(pilot)
    _print_notes(described)
    if any(pilot.resource == "inprocess" for pilot in described):
        raise UserError(
            f"{file}: resource inprocess cannot be lent to another process, expected local, slurm "
            f"or allocation"
        )
    return described


def status_of_run(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    watch: Annotated[bool, typer.Option("--watch", help="Until it is over, or Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a run stands: its pilots, tasks, training and latest events."""
    from pilotcut.report.run_follower import follow, status_of

    if as_json and watch:
        raise UserError("--watch and --json are both given, expected one; JSON is said once")
    if as_json:
        say_json(status_of(run_dir).to_dict())
    elif watch:
        follow(run_dir, _WATCH_S)
    else:
        out.print(status_of(run_dir).render(), soft_wrap=True)


@tasks_app.command("explain")
def explain(
    run_dir: Annotated[Path, typer.Argument(help="The run directory of the pilots.")],
    task: Annotated[str | None, typer.Argument(help="Only this task, or this group.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say why tasks wait; of one, or of a group, what it waits for and what waits for it."""
    from pilotcut.report.task_explained import explained

    lines = explained(run_dir, task)
    if as_json:
        say_json({"task": task, "lines": lines})
        return
    for line in lines:
        out.print(escape(line), soft_wrap=True)


@tasks_app.callback()
def _tasks() -> None:
    """Keep `explain` a command of its own name."""


def _latest() -> Path:
    from pilotcut.pilots import daemon

    found = sorted(Path("runs").glob(f"*/{daemon.FILE_NAME}"))
    alive = [path.parent for path in found if daemon.is_up(path.parent)]
    if len(alive) != 1:
        what = "no pilots are up" if not alive else f"{len(alive)} sets of pilots are up"
        raise UserError(
            f"{what} under {Path('runs').resolve()}, expected one; name it: --run-dir DIR"
        )
    return alive[0]


def _print_pilots(run_dir: Path, as_json: bool) -> None:
    from pilotcut.pilots import registry

    entries = registry.read(run_dir / registry.FILE_NAME)
    if not entries:
        raise UserError(f"{run_dir} lists no pilots, expected a run directory of pilots")
    if as_json:
        connection = str(run_dir / "connection.json")
        pilots = registry.as_data(entries)
        say_json({"run_dir": str(run_dir), "connection": connection, "pilots": pilots})
        return
    from pilotcut.report.status import pilots_table

    out.print(pilots_table(entries))
