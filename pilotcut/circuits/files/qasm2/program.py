"""An OpenQASM 2 program as words, with a survey of the gates and registers that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qiskit import qasm2

from pilotcut.circuits.files.faults import check_bits, check_steps
from pilotcut.circuits.files.qasm2.tokens import (
    Application,
    Token,
    Tokens,
    application,
    closing,
    statements,
)
from pilotcut.options import counted

_NO_GATES = frozenset(("OPENQASM", "include", "barrier", "measure", "reset"))


@dataclass
class Qasm2Program:
    """A program as words, and what is found out about it."""

    tell: Callable[[str], object]
    has_version: bool
    is_qibo: bool
    tokens: list[Token] = field(default_factory=list)
    files: int = 0
    libraries: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    uses: dict[str, list[Application]] = field(default_factory=dict)
    custom: dict[str, qasm2.CustomInstruction] = field(default_factory=dict)

    def replace(self, new: Mapping[int, Token]) -> None:
        """Replace the words of some identities."""
        self.tokens = [new.get(id(token), token) for token in self.tokens]


def survey(program: Qasm2Program) -> None:
    """Find gates that are defined and used, how large they are, and the registers."""
    for statement in statements(program.tokens):
        kind = statement[0].text
        if kind == "gate" and len(statement) > 1:
            _survey_gate(program, statement)
        elif kind in ("qreg", "creg") and len(statement) > 3 and statement[3].text.isdecimal():
            size = int(statement[3].text)
            check_bits(
                size, " ".join(t.text for t in statement[:2]) + f"[{size}]", statement[0].line
            )
            program.registers[statement[1].text] = size
        elif kind != "opaque":
            _note_use(program, applied(statement))
    total = sum(program.registers.values())
    check_bits(total, f"registers of {counted(total, 'bit')}")


def applied(statement: Tokens) -> Application | None:
    """Return the gate that a statement applies, whatever its condition."""
    if statement[0].text in _NO_GATES:
        return None
    start = 1 + closing(statement[1:]) + 1 if statement[0].text == "if" else 0
    found = application(statement, start)
    return None if found is None or found.name.text in _NO_GATES else found


def _note_use(program: Qasm2Program, used: Application | None) -> None:
    if used is not None:
        program.uses.setdefault(used.name.text, []).append(used)


def _survey_gate(program: Qasm2Program, statement: Tokens) -> None:
    name = statement[1]
    body = [k for k, token in enumerate(statement) if token.text == "{"]
    steps = 0
    for inner in statements(statement[body[0] + 1 : -1]) if body else ():
        used = applied(inner)
        _note_use(program, used)
        steps += program.steps.get(used.name.text, 1) if used is not None else 0
    if steps > 1:
        check_steps(steps, name.text, name.line if name.file is None else None)
    program.own.add(name.text)
    program.steps[name.text] = steps
