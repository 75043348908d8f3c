"""Checks of where runs will be: room on the disk, who sees the file system, its clock."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pilotcut.cli.doctor.finding import ABSENT, UNSURE, WORKS, WRONG, Asked, Finding, in_a_line, run
from pilotcut.io.disk import free_in_words, has_room, why_unwritten
from pilotcut.pilots.description import PilotDescription

#: Clocks of a file server, of a node and of this machine may differ by so much.
_SKEW_S = 2.0
#: File systems that several machines see, and such as no other machine can.
_SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "panfs", "cifs", "9p")
_NEVER_SHARED = ("tmpfs", "ramfs")
#: How long a job that asks a node may wait, and run.
_QUEUED_S, _ASKED_S = 30, 60.0

_OTHER_DIR = "name another --run-dir"


def disk(asked: Asked) -> Finding:
    """Whether there is room, and may be written."""
    if asked.run_dir.exists() and not asked.run_dir.is_dir():
        return Finding("disk", WRONG, f"{asked.run_dir} is a file", _OTHER_DIR)
    place = asked.place
    if not has_room(place):
        said = f"{place} has {free_in_words(place)}"
        return Finding("disk", WRONG, said, f"make room, or {_OTHER_DIR}")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        said = f"{place} cannot be written ({why_unwritten(error, place)})"
        return Finding("disk", WRONG, said, _OTHER_DIR)
    return Finding("disk", WORKS, f"{place} has {free_in_words(place)}")


def file_system(asked: Asked) -> Finding:
    """Whether other nodes see it, as far as its kind tells."""
    mounts = Path("/proc/mounts")
    kind = file_system_of(asked.place.resolve(), mounts.read_text() if mounts.exists() else "")
    if kind.startswith(_SHARED) or kind.removeprefix("fuse.").startswith(_SHARED):
        return Finding("file system", WORKS, f"{kind}, which other nodes may see too")
    said = f"{kind}, which is this machine's"
    if not asked.on_slurm:
        fix = f"for pilots on other nodes {_OTHER_DIR} that they see"
        return Finding("file system", WORKS, said, fix if shutil.which("sbatch") else "")
    wrong = kind in _NEVER_SHARED
    fix = f"{_OTHER_DIR} that the nodes of pilot {asked.on_slurm[0].name!r} see"
    if not wrong and shutil.which("srun"):  # then a node is asked, which knows
        fix = f"nothing if 'node of' says below that it sees {asked.place}; else {fix}"
    return Finding("file system", WRONG if wrong else UNSURE, said, fix)


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


def clock(asked: Asked) -> Finding:
    """Whether times of files are this machine's."""
    try:
        with tempfile.NamedTemporaryFile(dir=asked.place) as file:
            file.write(b"0")
            file.flush()
            skew = os.stat(file.name).st_mtime - time.time()
    except OSError as error:
        return Finding("clock", ABSENT, f"no file to look at ({error.strerror})", "see disk")
    if abs(skew) > _SKEW_S:
        said = f"files are {_apart(skew)} this machine"
        return Finding("clock", WRONG, said, "have both set by NTP; run times would be wrong")
    return Finding("clock", WORKS, "files and this machine agree")


def _apart(skew_s: float) -> str:
    return f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'}"


# -- on nodes --------------------------------------------------------------------------


def nodes(asked: Asked) -> Iterator[Finding]:
    """Ask a node of each Slurm pilot, by a job of a second, whether it sees what runs write."""
    if shutil.which("srun") is None:
        return
    for pilot in asked.on_slurm:
        yield _node_of(pilot, asked.place)


def _node_of(pilot: PilotDescription, place: Path) -> Finding:
    from pilotcut.pilots.slurm.job_script import placement

    what, word = f"node of {pilot.name!r}", secrets.token_hex(8)
    try:
        with tempfile.NamedTemporaryFile("w", dir=place, suffix=".doctor") as file:
            file.write(word)
            file.flush()
            # The word is compared there: what srun itself says is in the same text.
            script = f'test "$(cat "$1")" = {word} && echo it is seen; echo at $(date +%s.%N)'
            code, said = run(
                *("srun", f"--immediate={_QUEUED_S}", "--job-name=pilotcut-doctor"),
                *("--nodes=1", "--ntasks=1", "--time=1", "--chdir=/"),
                *(f"--{name}={value}" for name, value in placement(pilot).items()),
                *("sh", "-c", script, "sh", file.name),
                timeout_s=_QUEUED_S + _ASKED_S,
            )
            now = time.time()
    except OSError as error:
        return Finding(what, UNSURE, f"no file to show it ({error.strerror})", "see disk")
    times = [line.split()[1] for line in said.splitlines() if line.startswith("at ")]
    if not times:
        fix = "try srun by hand, with the partition and the account of the pilot"
        if code and "mmediate" in said:
            said, fix = f"none was free within {_QUEUED_S} s", "try again when one is"
            return Finding(what, UNSURE, said, fix)
        return Finding(what, WRONG, f"srun failed: {in_a_line(said)}", fix)
    if "it is seen" not in said.splitlines():
        return Finding(what, WRONG, f"it does not see {place}", f"{_OTHER_DIR} that nodes see")
    skew = float(times[0]) - now
    if abs(skew) > _SKEW_S:
        said = f"its clock is {_apart(skew)} this machine's"
        return Finding(what, WRONG, said, "have both set by NTP; run times would be wrong")
    return Finding(what, WORKS, f"it sees {place}, and its clock is right")
