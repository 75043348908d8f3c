"""Command `pilotcut reconstruct`: a stored query, in one process or on several MPI ranks."""

from __future__ import annotations

import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from pilotcut.cli.arguments import AsJson
from pilotcut.cli.console import err, out, say, say_json
from pilotcut.errors import PilotError, SharedFaultError, TaskError, UserError
from pilotcut.options import counted
from pilotcut.pilots.mpi import world

#: Rows of a table that are shown.
_SHOWN = 20


def reconstruct(
    run_dir: Annotated[Path, typer.Argument(help="A run's directory, or that of its store.")],
    query: Annotated[
        int | None, typer.Option(help="Number of the batch.", show_default="the last")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a stored query together; under mpiexec or srun by all ranks.

    What is missing or torn in the store is measured first. A store holds pickled objects: read
    only stores of your own.
    """
    comm = _communicator()
    if comm is None:
        _reconstruct(run_dir, query, as_json, None)
        return
    try:
        _reconstruct(run_dir, query, as_json, comm)
    except SharedFaultError:
        if comm.rank == 0:
            raise
        raise typer.Exit(2) from None
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        comm.Abort(1)  # the others would wait for this rank for ever


def _communicator() -> Any:
    """Return the world of ranks that this process is one of, None if it is alone."""
    if not world.is_one_of_several():
        return None
    try:
        world.prepare()
        from mpi4py import MPI

        world.check(MPI.COMM_WORLD)
    except TaskError as error:
        raise PilotError(str(error)) from None
    except (ImportError, RuntimeError) as error:  # no mpi4py, or no MPI library for it
        raise PilotError(
            f"this is one of several MPI ranks, but MPI cannot be used here ({error}); install "
            f"it with: pip install 'pilotcut[mpi]' (or mpi4py with the system's MPI: apt install "
            f"mpich), or run without mpiexec"
        ) from error
    return MPI.COMM_WORLD


def _reconstruct(run_dir: Path, number: int | None, as_json: bool, comm: Any) -> None:
    from pilotcut.execution import query_store

    number, query = _loaded(run_dir, number) if comm is None else _agreed(run_dir, number, comm)
    started = perf_counter()
    with err.status("contracting") if comm is None or comm.rank == 0 else nullcontext():
        found = query_store.reconstruct(query, comm)
    if found is None:
        return
    summary = _summary(query, number, *found) | {
        "ranks": 1 if comm is None else comm.size,
        "seconds": perf_counter() - started,
    }
    if as_json:
        say_json(summary)
    else:
        _print(summary)


def _loaded(run_dir: Path, number: int | None) -> tuple[int, Any]:
    from pilotcut.execution import query_store

    root = _root(run_dir)
    if number is None:
        number = query_store.numbers(root)[-1]
    return number, query_store.load(root, number)


def _agreed(run_dir: Path, number: int | None, comm: Any) -> tuple[int, Any]:
    """Return the query that rank 0 finds, on all ranks; a mistake of one is one of all.

    Another machine may not see the directory, and a run that goes on adds queries meanwhile.
    """
    found, fault = None, None
    for turn in (comm.rank == 0, comm.rank > 0):
        if turn:
            try:
                number, found = _loaded(run_dir, number)
            except UserError as error:
                fault = f"{error} (rank {comm.rank})" if comm.rank else str(error)
        number = comm.bcast(number)
    fault = next((one for one in comm.allgather(fault) if one), None)
    if fault or number is None:
        raise SharedFaultError(fault or "there is no query")
    return number, found


def _root(run_dir: Path) -> Path:
    from pilotcut.execution import query_store

    for root in (run_dir / query_store.FOLDER, run_dir):
        if query_store.numbers(root):
            return root
    raise UserError(
        f"run_dir is {run_dir}, expected the directory of a run that keeps its tensors; start one "
        f"with: pilotcut train --store, or CutEstimator(store=DIRECTORY)"
    )


def _summary(query: Any, number: int, values: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    asked = query.query.coefficients is not None
    labels = query.query.contraction.plan.terms.to_labels()
    return {
        "query": number,
        "observables": [f"observable {k}" for k in range(values.shape[1])] if asked else labels,
        "values": values.tolist(),
        "stds": errors.tolist(),
        "blocks": len(query.query.units),
    }


def _print(summary: dict[str, Any]) -> None:
    table = Table(title=f"query {summary['query']}", title_justify="left")
    for name in ("parameter set", "observable", "value", "std"):
        table.add_column(name, justify="left" if name == "observable" else "right")
    rows = [
        (str(row), label, f"{value:.6f}", f"{std:.6f}")
        for row, (values, stds) in enumerate(zip(summary["values"], summary["stds"], strict=True))
        for label, value, std in zip(summary["observables"], values, stds, strict=True)
    ]
    for cells in rows[:_SHOWN]:
        table.add_row(*cells)
    out.print(table)
    if len(rows) > _SHOWN:
        out.print(f"... and {len(rows) - _SHOWN} more; all of them with --json")
    say(
        f"{counted(summary['blocks'], 'block')}, {counted(summary['ranks'], 'rank')}, "
        f"{summary['seconds']:.2f} s"
    )
