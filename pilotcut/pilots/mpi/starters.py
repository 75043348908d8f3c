"""Starters of ranks: which launcher starts which library, and which is taken where none is named.

    python -m pilotcut.pilots.mpi.starters RANKS

prints the arguments of `env` that start so many ranks here, a word a line: for job scripts.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pilotcut.errors import TaskError
from pilotcut.pilots.mpi.library import (
    ABI_VARIABLE,
    FILE_VARIABLE,
    MPI_VARIABLE,
    NAMES,
    WHEELS,
    Library,
    libraries,
)

#: Names another launcher with its options, such as ``srun --mpi=pmix``; ``-n RANKS`` is added.
LAUNCHER_VARIABLE = "PILOTCUT_MPI_LAUNCHER"

#: What launchers speak with ranks, and how that is called. `hydra` is of MPICH and Intel MPI.
_WORDS = {
    "hydra": "mpiexec of MPICH or Intel MPI",
    "prte": "mpiexec of Open MPI",
    "pmi2": "srun --mpi=pmi2",
    "pmix": "srun --mpi=pmix",
    "slurm": "srun without MPI",
}
_VERSIONS = (
    ("hydra", re.compile(r"HYDRA|Intel\(R\) MPI")),
    ("prte", re.compile("open ?mpi|openrte|prte", re.I)),
)
_PLUGIN = re.compile(r"--mpi[= ](\S+)")
_ASK_S = 10.0
#: Open MPI refuses root, and more ranks than cores; and it would bind the ranks of each launcher to
#: the same first cores.
_OPEN_MPI = ("--oversubscribe", "--bind-to", "none")
#: Keep mpiexec from the nodes of a job that we happen to be in; Intel MPI asks its list alone.
_ON_THIS_MACHINE = {"HYDRA_LAUNCHER": "fork", "HYDRA_RMK": "user"} | {
    f"{family}_MCA_{part}": "^slurm" for family in ("OMPI", "PRTE") for part in ("plm", "ras")
}
_NODES_OF_JOB = ("SLURM_NODELIST", "SLURM_JOB_NODELIST")
_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@dataclass(frozen=True)
class RankStart:
    """How ranks are started.

    Attributes
    ----------
    command
        The launcher with its options, without the number of ranks.
    env
        Variables that it and the ranks need.
    """

    command: tuple[str, ...]
    env: dict[str, str]

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with these variables, and without what would hide them."""
        hidden = {ABI_VARIABLE} & environ.keys() if FILE_VARIABLE in self.env else set()
        return {name: value for name, value in environ.items() if name not in hidden} | self.env

    @property
    def is_srun(self) -> bool:
        """Whether the launcher is Slurm's."""
        return Path(self.command[0]).name == "srun"


def start_of_ranks(
    in_job: bool, environ: Mapping[str, str] = os.environ, *, runs_mpi4py: bool = True
) -> RankStart:
    """Return how ranks are started here: by the named launcher, by srun in a job, or by mpiexec.

    Parameters
    ----------
    in_job
        Whether they may be started by Slurm.
    environ
        Where launcher and library are named.
    runs_mpi4py
        Whether the ranks take the library that mpi4py takes; that of other programs is theirs, and
        only a launcher's name tells.

    Raises
    ------
    TaskError
        If nothing here starts ranks, or the library does not suit the launcher.
    """
    wanted = environ.get(MPI_VARIABLE, "auto")
    named = _named(environ)
    speech = _speech(tuple(named)) if named and runs_mpi4py else None
    library = choose(wanted, speech, environ)
    in_slurm = in_job and shutil.which("srun") is not None
    if named:
        if shutil.which(named[0]) is None:
            raise TaskError(
                f"launcher is {named[0]!r}, which is not here; load its module (setup:), give its "
                f"whole path, or leave it out"
            )
        command = named
    elif in_slurm:
        command = _srun(library)
    else:
        command = _mpiexec(library)
    env = library.environment() if library is not None else {}
    if os.geteuid() == 0:
        env |= _AS_ROOT
    if library is not None and library.name == "intel":
        env |= {"I_MPI_PIN": environ.get("I_MPI_PIN", "off")}  # as Open MPI's --bind-to
    return RankStart(tuple(command), env)


def _named(environ: Mapping[str, str]) -> list[str]:
    text = environ.get(LAUNCHER_VARIABLE, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TaskError(
            f"{LAUNCHER_VARIABLE} is {text!r}, expected a command with its options ({error})"
        ) from None


def on_this_machine(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which mpiexec starts ranks on this machine, also inside a job."""
    own = {name: value for name, value in environ.items() if name not in _NODES_OF_JOB}
    return own | _ON_THIS_MACHINE


def choose(wanted: str, speech: str | None, environ: Mapping[str, str]) -> Library | None:
    """Return the library that is wanted, with `auto` the first that suits the launcher.

    Parameters
    ----------
    wanted
        `auto`, or a name of `NAMES`.
    speech
        What the launcher speaks, None if that is open or unknown.

    Returns
    -------
    Library | None
        None if none is found, which need not mean that the loader finds none.

    Raises
    ------
    TaskError
        If it is not there, or does not suit the launcher.
    """
    if wanted not in ("auto", *NAMES):
        raise TaskError(
            f"{MPI_VARIABLE} is {wanted!r}, expected auto, mpich, openmpi or intel; unset it"
        )
    wished = None
    for one in libraries(environ):
        if wanted in ("auto", one.name):
            if speech is None or suits(one, speech):
                return one
            wished = wished or one
    if wished is not None:
        raise TaskError(misfit(wished, str(speech)))
    if wanted != "auto":
        there = ", ".join(one.words for one in libraries(environ)) or "none"
        raise TaskError(
            f"mpi is {wanted}, but of MPI's libraries {sys.executable} finds {there}; install it "
            f"with: pip install {WHEELS[wanted]} (or load its module), or say mpi: auto"
        )
    return None


def suits(library: Library, speech: str) -> bool:
    """Return whether a launcher of that speech makes one world of the library's ranks."""
    # Seen with MPICH 5.0.2, Open MPI 4.1.4 and 5.0.11, Intel MPI 2021.18 and Slurm 22.05.8; see
    # benchmarks/mpi_matrix.py.
    if speech == "hydra":
        return library.name != "openmpi"
    if speech == "prte":
        return library.name == "openmpi" or (library.name == "mpich" and library.speaks_pmix)
    if speech == "slurm":  # builds of the others with Slurm's own library are seen at start
        return library.name != "openmpi" or library.speaks_pmi2
    return library.speaks_pmix if speech == "pmix" else library.speaks_pmi2


def misfit(library: Library, speech: str) -> str:
    """Return in words that a launcher does not start the library, and what does."""
    plugin = "pmix" if library.name == "openmpi" else "pmi2"
    own = _beside(library) or f"the mpiexec of {NAMES[library.name]}"
    other = "mpich" if library.name == "openmpi" else "openmpi"
    return (
        f"{_WORDS[speech]} does not start ranks of {library.words}, each would be alone or fail; "
        f"start them with: {own}, or in a job srun --mpi={plugin} "
        f"(launcher:, {LAUNCHER_VARIABLE}), or take another library (mpi: {other}, {MPI_VARIABLE})"
    )


def speech_around(environ: Mapping[str, str]) -> str | None:
    """Return what the launcher that started this process speaks, None if that is not to be seen."""
    if "OMPI_COMM_WORLD_SIZE" in environ:
        return "prte"
    if "PMIX_RANK" in environ:
        return "pmix" if "SLURM_STEP_NUM_TASKS" in environ else None
    if not any(name.startswith(("PMI_", "PMIX_", "PALS_")) for name in environ):
        return "slurm" if environ.get("SLURM_STEP_NUM_TASKS", "1") != "1" else None
    if "PMI_RANK" not in environ or "PMI_FD" not in environ:
        return None
    return "hydra" if "MPI_LOCALNRANKS" in environ else "pmi2"


def _speech(command: tuple[str, ...]) -> str | None:
    """Return what a launcher speaks, None for one that we do not know."""
    if Path(command[0]).name == "srun":
        plugin = _PLUGIN.search(" ".join(command))
        kind = plugin[1] if plugin else os.environ.get("SLURM_MPI_TYPE", "")
        return {"pmi2": "pmi2", "none": "slurm"}.get(kind, "pmix" if "pmix" in kind else None)
    if Path(command[0]).name.split(".")[0] not in ("mpiexec", "mpirun", "prterun", "orterun"):
        return None  # whatever it is, it need not understand --version
    said = _ask(command[0], "--version")
    return next((speech for speech, words in _VERSIONS if words.search(said)), None)


@functools.lru_cache
def _ask(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            env=os.environ | _AS_ROOT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f"{done.stdout}\n{done.stderr}"


def _srun(library: Library | None) -> list[str]:
    wanted = "pmix" if library is not None and library.name == "openmpi" else "pmi2"
    said = _ask("srun", "--mpi=list")
    if wanted in said.split() or "plugin" not in said:  # without an answer it is tried
        return ["srun", "--overlap", f"--mpi={wanted}"]
    if library is not None and library.name == "openmpi":
        raise TaskError(
            f"srun here starts no ranks of {library.words}, for it has no plugin pmix; name "
            f"another launcher (launcher:, {LAUNCHER_VARIABLE}), or another library (mpi: mpich)"
        )
    return ["srun", "--overlap"]  # the site's own way; a world that is wrong is seen at start


def _mpiexec(library: Library | None) -> list[str]:
    own = _beside(library) if library is not None else None
    speech = "prte" if library is not None and library.name == "openmpi" else "hydra"
    family = "openmpi" if speech == "prte" else "mpich"
    ours = str(Path(sys.executable).with_name("mpiexec"))
    for name in filter(None, (own, ours, f"mpiexec.{family}", "mpiexec", "mpiexec.hydra")):
        path = shutil.which(name)
        spoken = _speech((path,)) if path else None
        if path and (library is None or name == own or spoken in (speech, None)):
            return [path, *(_OPEN_MPI if "prte" in (spoken, speech) else ())]
    what = f" for ranks of {library.words}" if library is not None else " to start several ranks"
    raise TaskError(
        f"there is no mpiexec here, expected one{what}; install it with: pip install mpi4py mpich"
    )


def _beside(library: Library) -> str | None:
    """Return the launcher that was installed with a library, as pip and most builds do."""
    path = library.path.parent.parent / "bin" / "mpiexec"
    is_own = library.path.parent.name in ("lib", "lib64", "release")
    return str(path) if is_own and path.exists() and str(path) != "/usr/bin/mpiexec" else None


def _main(argv: list[str]) -> None:
    try:
        start = start_of_ranks("SLURM_JOB_ID" in os.environ)
    except TaskError as error:
        sys.exit(f"pilotcut: {error}")
    options = ("--export=ALL", "--kill-on-bad-exit=1") if start.is_srun else ()
    hidden = [*os.environ.keys() - start.environment(os.environ).keys()]
    words = [f"--unset={name}" for name in hidden]
    words += [f"{name}={value}" for name, value in start.env.items()]
    print("\n".join([*words, *start.command, *options, "-n", argv[0]]))


if __name__ == "__main__":
    _main(sys.argv[1:])
