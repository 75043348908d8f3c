"""Command line: its commands, each in a file of its own, and what it says of mistakes.

Results go to stdout, everything else to stderr. A mistake of the user's is one line and exit
code 2, never a traceback. Commands import what they need as they run: `pilotcut --help` needs
neither Qiskit nor torch nor dask.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pilotcut import __version__
from pilotcut.cli import (
    calibrate,
    doctor,
    fleet,
    motif,
    pilots,
    plan,
    recommend,
    reconstruct,
    report,
    study,
    train,
)
from pilotcut.cli.console import complain, note, say
from pilotcut.errors import LongCallWarning, ManyJobsWarning, PilotError, TaskError, UserError

app = typer.Typer(
    name="pilotcut",
    help="Train quantum neural networks whose circuits are too big for one device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(train.train)
app.add_typer(pilots.app, name="pilots")
app.add_typer(pilots.tasks_app, name="tasks")
app.add_typer(fleet.app, name="fleet")
app.command()(pilots.run)
app.command()(calibrate.calibrate)
app.command()(recommend.recommend)
app.command()(reconstruct.reconstruct)
app.command()(plan.plan)
app.command()(study.study)
app.command()(motif.motif)
app.command()(report.report)
app.command()(doctor.doctor)
app.command("status")(pilots.status_of_run)


_FAILED, _MISUSED, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143

#: Whether SIGTERM came, which else looks like Ctrl-C.
_terminated = threading.Event()

# The parent of every complaint about a command line; where it lives has changed with typer.
_UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line; the entry point of the package."""
    code = _run()
    if code == _INTERRUPTED and _terminated.is_set():
        code = _TERMINATED
    if code in (_INTERRUPTED, _TERMINATED):
        # A thread that is in the middle of a simulation cannot be stopped, and a normal exit
        # would wait for it. All files are closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _terminate(*_: object) -> None:
    """End as by Ctrl-C, so that pilots that wait leave the queue too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another one would interrupt the ending
    _terminated.set()
    raise KeyboardInterrupt


def _run() -> int:
    """Return the exit code; mistakes and warnings of ours become lines on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = _noted
        return _run_app()


def _noted(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
    """Show a warning: ours as a note, any other as Python does."""
    if issubclass(category, (LongCallWarning, ManyJobsWarning)):
        note(str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *where[:2]))


def _run_app() -> int:
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        # Not standalone: typer would draw a box around its complaints, and break long ones.
        return int(app(prog_name="pilotcut", standalone_mode=False) or 0)
    except UserError as error:
        return _failed("error", error.faults, _MISUSED)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which has shown the help
            return _MISUSED
        return _failed("error", [_usage_fault(error)], _MISUSED)
    except (PilotError, TaskError) as error:
        return _failed("failed", [str(error)], _FAILED)
    except OSError as error:
        return _failed("failed", [str(error)], _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _usage_fault(error: Any) -> str:
    path = error.ctx.command_path if error.ctx else "pilotcut"
    text = " ".join(error.format_message().split())
    if text.endswith("?"):
        return f"{text} See '{path} --help'"
    return f"{text.rstrip('.')}; see '{path} --help'"


def _failed(what: str, faults: Sequence[str], code: int) -> int:
    for fault in faults:
        complain(what, fault)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"pilotcut {__version__}")
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
        if not os.environ.get(name, "").strip():
            os.environ[name] = "1"


if __name__ == "__main__":
    main()
