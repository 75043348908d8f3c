"""QPY: one circuit, read within bounds of memory and time.

Qiskit's reader believes what a file says of itself; so a child process reads it first.
"""

from __future__ import annotations

import faulthandler
import io
import os
import re
import resource
import struct
import warnings
from pathlib import Path

from qiskit import __version__ as qiskit_version
from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.exceptions import MissingOptionalLibraryError

from pilotcut.circuits.files.faults import FaultError, brief, faults
from pilotcut.options import counted

#: What a file may take to read, beside what its size explains.
_SPARE_BYTES, _SPARE_SECONDS = 2**30, 15


def read(content: bytes) -> QuantumCircuit:
    """Return the circuit in the bytes of a file.

    Raises
    ------
    FaultError
        For whatever is wrong with it.
    """
    version = _checked_version(content)
    if not _is_harmless(content):
        raise FaultError(
            "cannot be read as QPY within bounds of memory and time; it is damaged, or its gates "
            "are made of too many others; write it again"
        )
    with warnings.catch_warnings(), faults(f"cannot be read as QPY version {version}"):
        warnings.simplefilter("ignore")  # of a newer Qiskit, whose gates may not be known here
        try:
            (circuit,) = qpy.load(io.BytesIO(content))
        except Exception as error:
            if version <= 12 and "symengine" in f"{brief(error)} {getattr(error, '_libname', '')}":
                raise FaultError(_needs_symengine(version, content, error)) from None
            lost = re.search(r"(\w+)\.__init__\(\) missing", str(error))
            if lost:
                raise FaultError(
                    f"has a {lost[1]}, of which QPY keeps too little to make it again; decompose "
                    f"the circuit before qpy.dump"
                ) from None
            raise
        return circuit


def _checked_version(content: bytes) -> int:
    if content[:6] != b"QISKIT" or len(content) < 18:
        raise FaultError(
            "is not a QPY file (it does not begin with a whole QPY header), expected what "
            "qiskit.qpy.dump writes; write it again, or rename OpenQASM to .qasm"
        )
    version, *wrote = content[6:10]
    newest = qpy.common.QPY_VERSION
    if version > newest:
        raise FaultError(
            f"is of QPY version {version}, written by Qiskit {'.'.join(map(str, wrote))}, expected "
            f"at most {newest}, as Qiskit {qiskit_version} reads; upgrade Qiskit, or write the "
            f"file again with qiskit.qpy.dump(..., version={newest})"
        )
    (count,) = struct.unpack("!Q", content[10:18])
    if count != 1:
        raise FaultError(
            f"holds {counted(count, 'circuit')}, expected exactly one; write each to a file of its "
            "own"
        )
    return version


def _needs_symengine(version: int, content: bytes, error: Exception) -> str:
    """Return what to do about a file whose angles another package has written."""
    missing = isinstance(error, (MissingOptionalLibraryError, ImportError))
    state = "is not installed" if missing else f"cannot read them ({brief(error)})"
    return (
        f"is of QPY version {version}, written by Qiskit {'.'.join(map(str, content[7:10]))}, "
        f"whose expressions of parameters need the package symengine (below 0.14), which {state}; "
        f"pip install 'symengine<0.14', or write the file again with Qiskit 1.3 or newer"
    )


def _is_harmless(content: bytes) -> bool:
    """Say whether a child process of bounded memory and time gets to the end of a QPY file.

    Qiskit believes the counts in a file, would make 2^32 qubits of four damaged bytes, and where
    memory ends, Rust ends the process. Ordinary exceptions come again when we read it ourselves.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that we have threads: the child does not use them
        child = os.fork()
    if child == 0:
        # Not sys.exit: handlers and buffers of the parent are not the child's to run and to write.
        os._exit(_read_bounded(content))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _read_bounded(content: bytes) -> int:
    """Read a QPY file in this process, which ends afterwards; return its exit code."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Rust says there where it failed
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # The limit counts all that the process has mapped, and a fork has mapped what we have.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _SPARE_BYTES + 100 * len(content)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        # Of CPU time and not of the clock: a busy machine is no damaged file.
        seconds = _SPARE_SECONDS + len(content) // 10**5 + int(sum(os.times()[:2]))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        qpy.load(io.BytesIO(content))
    except Exception as error:
        return int("memory" in f"{type(error).__name__} {error}".lower())
    except BaseException:  # a panic
        return 1
    return 0
