"""Command `pilotcut doctor`: what works here of that which pilotcut may need, and how it is mended.

What is absent is no fault: whoever has no cluster needs no Slurm.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pilotcut.cli.arguments import AsJson
from pilotcut.cli.console import out
from pilotcut.io.disk import free_in_words, has_room, why_unwritten
from pilotcut.options import counted

_COMMAND_S = 10.0
#: Clocks of a file server and of this machine may differ by so much.
_SKEW_S = 2.0
#: File systems that several machines see.
_SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "panfs", "cifs", "9p")

_OK, _ABSENT, _WRONG = "works", "absent", "wrong"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes
    ----------
    what
        The thing.
    state
        ``works``, ``absent`` or ``wrong``.
    said
        What was seen.
    fix
        What to do about it, if there is something.
    """

    what: str
    state: str
    said: str
    fix: str = ""


def doctor(
    run_dir: Annotated[
        Path, typer.Option(help="Where runs will be, on a file system that all nodes share.")
    ] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say what works here, and how to mend what does not; exit code 1 if something is wrong."""
    checks: dict[str, Callable[[], Finding]] = {
        "Python": _python,
        "Aer": _aer,
        "TLS": _tls,
        "Slurm": _slurm,
        "munge": _munge,
        "MPI": _mpi,
        "disk": lambda: _disk(run_dir),
        "file system": lambda: _file_system(run_dir),
        "clock": lambda: _clock(run_dir),
        "calibration": _calibration,
    }
    findings = [_checked(what, check) for what, check in checks.items()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings)
    raise typer.Exit(any(finding.state == _WRONG for finding in findings))


def _checked(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever a broken installation raises is a finding
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Finding(what, _WRONG, reason, "install pilotcut and what it needs anew")


def _print(findings: list[Finding]) -> None:
    table = Table()
    for name in ("what", "state", "seen", "to do"):
        table.add_column(name, overflow="fold")
    for one in findings:
        table.add_row(*(escape(text) for text in (one.what, one.state, one.said, one.fix)))
    out.print(table)


def _python() -> Finding:
    from pilotcut.pilots.worker import versions

    found = versions.installed()
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    return Finding("Python", _OK, f"{said} on {platform.machine()}")


def _aer() -> Finding:
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    counts = AerSimulator(seed_simulator=1).run(circuit, shots=100).result().get_counts()
    if set(counts) != {"00", "11"}:
        return Finding("Aer", _WRONG, f"a Bell pair gave {counts}", "install qiskit-aer anew")
    devices = ", ".join(AerSimulator().available_devices())
    return Finding("Aer", _OK, f"a Bell pair is right, on {devices}")


def _tls() -> Finding:
    from pilotcut.pilots.worker.connection import Connection

    Connection.fresh().security().get_connection_args("client")
    return Finding("TLS", _OK, "a certificate for a run was made")


def _slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding("Slurm", _ABSENT, "no sbatch here", "resource: local works without it")
    code, said = _run("squeue", "--noheader", f"--user={os.geteuid()}")
    if code:
        return Finding(
            "Slurm", _WRONG, f"squeue failed: {said}", "try squeue by hand; ask the site"
        )
    return Finding(
        "Slurm", _OK, f"squeue answers; {counted(len(said.splitlines()), 'job')} of yours"
    )


def _munge() -> Finding:
    if shutil.which("munge") is None or shutil.which("unmunge") is None:
        return Finding("munge", _ABSENT, "no munge here")
    code, said = _run("sh", "-c", "munge -n | unmunge")
    if code:
        return Finding("munge", _WRONG, said[:200], "start munged, with the key of the cluster")
    return Finding("munge", _OK, "a credential was made and read")


def _mpi() -> Finding:
    if importlib.util.find_spec("mpi4py") is None:
        fix = "pip install 'pilotcut[mpi]' for ranks and pilotcut reconstruct"
        return Finding("MPI", _ABSENT, "no mpi4py here", fix)
    from pilotcut.pilots.mpi.library import libraries

    names = [str(library.name) for library in libraries()]
    if not names:
        return Finding("MPI", _WRONG, "mpi4py finds no MPI library", "pip install mpich")
    return Finding("MPI", _OK, f"mpi4py finds {', '.join(names)}")


def _disk(run_dir: Path) -> Finding:
    if run_dir.exists() and not run_dir.is_dir():
        return Finding("disk", _WRONG, f"{run_dir} is a file", "name another --run-dir")
    place = _existing(run_dir)
    if not has_room(place):
        said = f"{place} has {free_in_words(place)}"
        return Finding("disk", _WRONG, said, "make room, or name another --run-dir")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        said = f"{place} cannot be written ({why_unwritten(error, place)})"
        return Finding("disk", _WRONG, said, "name another --run-dir")
    return Finding("disk", _OK, f"{place} has {free_in_words(place)}")


def _file_system(run_dir: Path) -> Finding:
    mounts = Path("/proc/mounts")
    kind = file_system_of(
        _existing(run_dir).resolve(), mounts.read_text() if mounts.exists() else ""
    )
    if kind.startswith(_SHARED) or kind.removeprefix("fuse.").startswith(_SHARED):
        return Finding("file system", _OK, f"{kind}, which other nodes may see too")
    fix = (
        "for pilots on other nodes name a --run-dir that they see" if shutil.which("sbatch") else ""
    )
    return Finding("file system", _OK, f"{kind}, which is this machine's", fix)


def file_system_of(path: Path, mounts: str) -> str:
    r"""Return the kind of file system that a path is on, by lines of /proc/mounts.

    Examples
    --------
    >>> mounts = "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0"
    >>> file_system_of(Path("/home/me"), mounts), file_system_of(Path("/homes"), mounts)
    ('nfs4', 'ext4')
    """
    best, kind = -1, "an unknown file system"
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) > 2 and path.is_relative_to(parts[1]) and len(parts[1]) > best:
            best, kind = len(parts[1]), parts[2]
    return kind


def _clock(run_dir: Path) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(run_dir)) as file:
            file.write(b"0")
            file.flush()
            skew = os.stat(file.name).st_mtime - time.time()
    except OSError as error:
        return Finding("clock", _ABSENT, f"no file to look at ({error.strerror})", "see disk")
    if abs(skew) > _SKEW_S:
        said = f"files are {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine"
        return Finding("clock", _WRONG, said, "have both set by NTP; run times would be wrong")
    return Finding("clock", _OK, "files and this machine agree")


def _calibration() -> Finding:
    from pilotcut.perfmodel.calibration_files import directory

    count = len(list(directory().glob("*.json")))
    if not count:
        fix = "pilotcut calibrate, a minute; --cuts auto and recommend then know this machine"
        return Finding("calibration", _ABSENT, f"none in {directory()}", fix)
    return Finding("calibration", _OK, f"{count} in {directory()}")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.is_dir())


def _run(*command: str) -> tuple[int, str]:
    """Return how a command ended, and what it said in one text."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_S,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, " ".join(str(error).split())
    return done.returncode, done.stdout.strip()
