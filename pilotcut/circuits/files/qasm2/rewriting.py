"""Rewriting of an OpenQASM 2 program for Qiskit's parser: what it lacks, names it may not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pilotcut.circuits.files.faults import check_bits, listed
from pilotcut.circuits.files.qasm2.includes import QELIB
from pilotcut.circuits.files.qasm2.meanings import IN_QELIB
from pilotcut.circuits.files.qasm2.program import Qasm2Program, applied
from pilotcut.circuits.files.qasm2.tokens import Token, statements

#: Put before names with a capital, and what has one in the language itself.
CAPITAL, _BUILTIN = "named_", ("OPENQASM", "U", "CX")


def declare_missing(program: Qasm2Program) -> None:
    """Add the version, the include and the registers that a program needs and lacks."""
    first = program.tokens[0]
    head: list[str] = []
    if not program.has_version:
        head += ["OPENQASM 2.0 ;"]
        program.tell("has no version and is read as OpenQASM 2")
        missing = sorted((IN_QELIB - program.own) & set(program.uses))
        if missing and not program.libraries:
            head += [f'include "{QELIB}" ;']
            program.libraries.add(QELIB)
            program.tell(f"includes no gates; {listed(missing)} are read as those of {QELIB}")
    if not program.has_version and not program.registers:
        found = _undeclared(program)
        head += [f"{kind} {name} [ {size} ] ;" for name, (kind, size) in found.items()]
        program.registers |= {name: size for name, (_, size) in found.items()}
        if found:
            sizes = listed([f"{name}[{size}]" for name, (_, size) in found.items()])
            program.tell(f"declares no registers; {sizes} are as large as the bits that it uses")
    place = 0 if not program.has_version else 3
    words = [Token(text, first.line, first.file) for text in " ".join(head).split()]
    program.tokens[place:place] = words


def _undeclared(program: Qasm2Program) -> dict[str, tuple[str, int]]:
    """Return registers with their kind and size, as the bits in use let them be."""
    found: dict[str, tuple[str, int]] = {}
    for statement in statements(program.tokens):
        if statement[0].text in ("gate", "opaque"):
            continue
        texts = [token.text for token in statement]
        arrow = texts.index("->") if "->" in texts else len(texts)
        for place, (name, bracket, index) in enumerate(
            zip(texts, texts[1:], texts[2:], strict=False)
        ):
            if bracket == "[" and index.isdecimal():
                check_bits(int(index) + 1, f"{name}[{index}]", statement[0].line)
                size = max(int(index) + 1, found.get(name, ("", 0))[1])
                found[name] = ("creg" if place > arrow else "qreg", size)
    return found


def rename_registers(program: Qasm2Program) -> None:
    """Rename registers that are called like a gate of a library, which Qiskit cannot have."""
    taken = {name for name, one in program.custom.items() if one.builtin}
    taken |= IN_QELIB if program.libraries else set()
    clashes = taken & set(program.registers)
    if not clashes:
        return
    words = {token.text for token in program.tokens} | taken
    new = {name: next(n for n in _names_like(name) if n not in words) for name in clashes}
    changed: dict[int, Token] = {}
    for statement in statements(program.tokens):
        if statement[0].text in ("gate", "opaque"):
            continue
        used = applied(statement)
        changed |= {
            id(token): token.renamed(new[token.text])
            for token in statement
            if token.text in new and (used is None or token is not used.name)
        }
    program.replace(changed)


def lower_names(program: Qasm2Program) -> None:
    """Put a word before names with a capital, which Qiskit knows for none but ``U`` and ``CX``."""
    program.custom = {
        _lowered(name): replace(one, name=_lowered(name)) for name, one in program.custom.items()
    }
    program.tokens = [
        token.renamed(_lowered(token.text)) if token.text[0].isupper() else token
        for token in program.tokens
    ]


def _lowered(name: str) -> str:
    return CAPITAL + name if name[0].isupper() and name not in _BUILTIN else name


def _names_like(name: str) -> Iterator[str]:
    while True:
        name += "_"
        yield name
