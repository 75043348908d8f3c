"""Checks of the cluster: Slurm, munge, MPI."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping

from pilotcut.cli.doctor.finding import ABSENT, WORKS, WRONG, Asked, Finding, in_a_line, run
from pilotcut.errors import TaskError
from pilotcut.io.extras import has
from pilotcut.options import counted


def slurm(asked: Asked) -> Finding:
    """Whether Slurm's commands answer."""
    if shutil.which("sbatch") is None:
        if asked.on_slurm:
            said = f"no sbatch here, and pilot {asked.on_slurm[0].name!r} is resource slurm"
            return Finding("Slurm", WRONG, said, "load its module, or go to the login node")
        return Finding("Slurm", ABSENT, "no sbatch here", "resource: local works without it")
    code, said = run("squeue", "--noheader", f"--user={os.geteuid()}")
    if code:
        fix = "try squeue by hand; ask the site"
        return Finding("Slurm", WRONG, f"squeue failed: {in_a_line(said)}", fix)
    return Finding(
        "Slurm", WORKS, f"squeue answers; {counted(len(said.splitlines()), 'job')} of yours"
    )


def munge(_: Asked) -> Finding:
    """Whether a credential can be made and read, by the socket that Slurm uses."""
    if shutil.which("munge") is None or shutil.which("unmunge") is None:
        return Finding("munge", ABSENT, "no munge here")
    config = run("scontrol", "show", "config")[1]
    if _set_to("AuthType", config) not in (None, "auth/munge"):
        return Finding("munge", ABSENT, f"Slurm here uses {_set_to('AuthType', config)}")
    socket = re.search(r"socket=([^,\s]+)", _set_to("AuthInfo", config) or "")
    option = f"--socket={shlex.quote(socket[1])}" if socket else ""
    code, said = run("sh", "-c", f"munge {option} -n | unmunge {option}")
    if code:
        return Finding("munge", WRONG, in_a_line(said), "start munged, with the key of the cluster")
    return Finding("munge", WORKS, "a credential was made and read")


def _set_to(name: str, config: str) -> str | None:
    found = re.search(rf"^{name}\s*=\s*(.*)$", config, re.M)
    return found[1].strip() if found else None


def mpi(asked: Asked) -> Finding:
    """Whether two ranks are one world here, and what would start them in jobs suits."""
    if not has("mpi"):
        fix = "pip install 'pilotcut[mpi]' for ranks and pilotcut reconstruct"
        return Finding("MPI", ABSENT, "no mpi4py here", fix)
    from pilotcut.pilots.mpi.launch import run_ranks
    from pilotcut.pilots.mpi.library import libraries
    from pilotcut.pilots.mpi.starters import start_of_ranks
    from pilotcut.pilots.worker.payload import Call, pack_call

    names = [str(library.name) for library in libraries()]
    if not names:
        return Finding("MPI", WRONG, "mpi4py finds no MPI library", "pip install mpich")
    try:
        if shutil.which("srun"):
            for environ in _environments(asked):
                start_of_ranks(True, environ)
        size = run_ranks(pack_call(Call(_world_size)), 2)
    except TaskError as error:
        said, _, fix = in_a_line(str(error), 600).partition("; ")
        return Finding("MPI", WRONG, said, fix or "pip install mpich beside mpi4py")
    return Finding("MPI", WORKS, f"mpi4py finds {', '.join(names)}; {size} ranks are one world")


def _environments(asked: Asked) -> list[Mapping[str, str]]:
    """Return what ranks are started with in jobs: as pilots ask for them, or as it is here."""
    ranked = [pilot for pilot in asked.on_slurm if pilot.ranks > 1]
    return [os.environ | pilot.mpi_environment for pilot in ranked] or [os.environ]


def _world_size() -> int:
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.Get_size())
