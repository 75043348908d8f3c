"""Reading of an OpenQASM 2 program: by Qiskit alone where that is right, else rewritten first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from qiskit import qasm2
from qiskit.circuit import QuantumCircuit

from pilotcut.circuits.files import defined_gates
from pilotcut.circuits.files.faults import FaultError, faults, located
from pilotcut.circuits.files.qasm2.includes import QELIB, drop_redefined, path_of, with_includes
from pilotcut.circuits.files.qasm2.meanings import LEGACY, find_meanings
from pilotcut.circuits.files.qasm2.program import Qasm2Program, survey
from pilotcut.circuits.files.qasm2.rewriting import (
    CAPITAL,
    declare_missing,
    lower_names,
    rename_registers,
)
from pilotcut.circuits.files.qasm2.tokens import check_angles, fault_at, text_of, tokens_of

#: Words that a program may have with all that it includes.
_MOST_TOKENS = 10**7

_INCLUDE = re.compile(r"\binclude\s*(\S[^;]*?)\s*;")
_DEFINITION = re.compile(r"\b(?:gate|opaque)\b")


def read(
    text: str,
    path: Path,
    tell: Callable[[str], object],
    *,
    has_version: bool = True,
    is_qibo: bool = False,
) -> QuantumCircuit:
    """Return the circuit of a program without comments.

    Parameters
    ----------
    text, path
        The program; what it includes is looked for beside its path.
    tell
        Called with what is read in other words than those of the file.
    has_version
        Whether the program begins with its version.
    is_qibo
        Whether Qibo wrote it, some of whose gates differ from those of others.

    Raises
    ------
    FaultError
        For whatever is wrong with it.
    """
    program = Qasm2Program(tell, has_version, is_qibo)
    if _is_plain(text, path, program):
        with suppress(Exception):  # what Qiskit cannot read, it may with what is known here
            return _loaded(text, path.parent, LEGACY.values())
    program.tokens = list(with_includes(program, tokens_of(text), (path.resolve(),)))
    if len(program.tokens) > _MOST_TOKENS:
        raise FaultError(f"has more than {_MOST_TOKENS} words with what it includes; write less")
    drop_redefined(program)
    survey(program)
    find_meanings(program)
    declare_missing(program)
    rename_registers(program)
    lower_names(program)
    return _parsed(program, path.parent)


def _is_plain(text: str, path: Path, program: Qasm2Program) -> bool:
    """Whether Qiskit alone reads a program right, if it does: without definitions and includes."""
    check_angles(text)
    includes = set(_INCLUDE.findall(text))
    return (
        program.has_version
        and not program.is_qibo
        and includes <= {f'"{QELIB}"'}
        and path_of(QELIB, (path.resolve(),)) is None
        and not _DEFINITION.search(text)
    )


def _parsed(program: Qasm2Program, folder: Path) -> QuantumCircuit:
    text, origins = text_of(program.tokens)
    try:
        with faults("is not valid OpenQASM 2"):
            return defined_gates.with_shared_definitions(
                _loaded(text, folder, program.custom.values())
            )
    except FaultError as fault:
        # Qiskit says: "<input>:4,0: 'foo' is not defined in this scope"
        found = located(fault, r"<input>:(\d+),\d+: ")
        if found.line is None or not origins:
            raise FaultError(str(found).replace(CAPITAL, "")) from None
        raise fault_at(
            str(found).replace(CAPITAL, ""), origins[min(found.line, len(origins)) - 1]
        ) from None


def _loaded(text: str, folder: Path, custom: Iterable[qasm2.CustomInstruction]) -> QuantumCircuit:
    return qasm2.loads(
        text,
        include_path=(folder, "."),
        custom_instructions=custom,
        custom_classical=qasm2.LEGACY_CUSTOM_CLASSICAL,
    )
