"""OpenQASM 2: what must be known around a program before Qiskit's parser can read it.

Owns includes, the version line, the meaning of gates without a definition, registers that are
called like gates, and how large all that may become. The grammar is Qiskit's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from qiskit import qasm2
from qiskit.circuit import Instruction, QuantumCircuit

from pilotcut.circuits.files import defined_gates, gate_names
from pilotcut.circuits.files.faults import (
    FaultError,
    check_bits,
    check_steps,
    faults,
    listed,
    located,
)
from pilotcut.circuits.files.tokens import (
    Application,
    Token,
    Tokens,
    application,
    check_angles,
    closing,
    decoded,
    fault_at,
    statements,
    text_of,
    tokens_of,
    without_comments,
)

#: What a program may have with all that it includes: files, bytes of a file, and words.
_MOST_FILES, _MOST_BYTES, _MOST_TOKENS = 1000, 10**7, 10**7

#: Includes that need no file.
_QELIB, _HQSLIB = "qelib1.inc", ("hqslib1.inc", "hqslib1_dev.inc")
_LIBRARIES = (_QELIB, *_HQSLIB)

#: Gates that Qiskit itself knows: at once, or only as soon as qelib1.inc is included.
_LEGACY = {one.name: one for one in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if one.name != "u0"}
_IN_QELIB = frozenset(name for name, one in _LEGACY.items() if not one.builtin) - {"delay"}

#: A phase of the whole state is nobody's business where gates have no controls.
_UP_TO_PHASE = {
    name: gate_names.Known(name, 0, 1, gate_names.STANDARD[of].base_class)
    for name, of in (("v", "sx"), ("vdg", "sxdg"), ("vi", "sxdg"))
}

#: How many angles the gates take that fit any number of qubits.
_ANGLES = {
    "diag": lambda n: 2**n - 1,
    "mpry": lambda n: 2 ** (n - 1),
    "mprz": lambda n: 2 ** (n - 1),
}

#: Put before names with a capital, and what has one in the language itself.
_CAPITAL, _BUILTIN = "named_", ("OPENQASM", "U", "CX")

_INCLUDE = re.compile(r"\binclude\s*(\S[^;]*?)\s*;")
_DEFINITION = re.compile(r"\b(?:gate|opaque)\b")

_NO_GATES = frozenset(("OPENQASM", "include", "barrier", "measure", "reset"))


@dataclass
class _Program:
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
    program = _Program(tell, has_version, is_qibo)
    if _is_plain(text, path, program):
        with suppress(Exception):  # what Qiskit cannot read, it may with what is known here
            return _loaded(text, path.parent, _LEGACY.values())
    program.tokens = list(_included(program, tokens_of(text), (path.resolve(),)))
    if len(program.tokens) > _MOST_TOKENS:
        raise FaultError(f"has more than {_MOST_TOKENS} words with what it includes; write less")
    _drop_redefined(program)
    _survey(program)
    _find_meanings(program)
    _declare(program)
    _rename_registers(program)
    _lower(program)
    return _parsed(program, path.parent)


def _is_plain(text: str, path: Path, program: _Program) -> bool:
    """Whether Qiskit alone reads a program right, if it does: without definitions and includes."""
    check_angles(text)
    includes = set(_INCLUDE.findall(text))
    return (
        program.has_version
        and not program.is_qibo
        and includes <= {f'"{_QELIB}"'}
        and _path_of(_QELIB, (path.resolve(),)) is None
        and not _DEFINITION.search(text)
    )


# -- includes --------------------------------------------------------------------------


def _included(program: _Program, tokens: Tokens, chain: tuple[Path, ...]) -> Iterator[Token]:
    """Yield the words with those of the files that they include."""
    for statement in statements(tokens):
        name = _include_name(statement)
        path = None if name is None else _path_of(name, chain)
        if path is not None:
            yield from _included(
                program, _content(program, path, statement[0], chain), (*chain, path)
            )
        elif name in _LIBRARIES:
            if not program.libraries:
                yield from (t.renamed(f'"{_QELIB}"') if '"' in t.text else t for t in statement)
            program.libraries.add(name)
        else:  # where the file is missing, Qiskit says so
            yield from statement


def _include_name(statement: Tokens) -> str | None:
    texts = [token.text for token in statement]
    if len(texts) == 3 and texts[0] == "include" and texts[1].startswith('"'):
        return texts[1][1:-1]
    return None


def _path_of(name: str, chain: tuple[Path, ...]) -> Path | None:
    """Return the file of a name: beside those that include it, or where we are."""
    places = [chain[-1].parent, chain[0].parent]
    for place in places if name in _LIBRARIES else [*places, Path()]:
        try:
            if (place / name).is_file():
                return (place / name).resolve()
        except (OSError, ValueError):  # too long, or a null character
            continue
    return None


def _content(program: _Program, path: Path, token: Token, chain: tuple[Path, ...]) -> list[Token]:
    if path in chain:
        ring = " → ".join(one.name for one in (*chain[chain.index(path) :], path))
        raise fault_at(
            f"is included by itself ({ring}), expected no ring; remove an include", token
        )
    program.files += 1
    if program.files > _MOST_FILES:
        raise fault_at(f"includes more than {_MOST_FILES} files; include each of them once", token)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise fault_at(f"includes more than {_MOST_BYTES} bytes; write a smaller file", token)
        tokens = tokens_of(without_comments(decoded(path.read_bytes())), path.name)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text file"
        raise fault_at(f"cannot be read ({reason}); check the file '{path.name}'", token) from None
    return tokens[3:] if tokens and tokens[0].text == "OPENQASM" else tokens


def _drop_redefined(program: _Program) -> None:
    """Leave out of a library beside the file what the file defines itself."""
    here = {_defined(s) for s in statements(program.tokens) if s[0].file is None}
    kept = (
        statement
        for statement in statements(program.tokens)
        if statement[0].file not in _LIBRARIES or _defined(statement) not in here - {None}
    )
    program.tokens = [token for statement in kept for token in statement]


def _defined(statement: Tokens) -> str | None:
    return statement[1].text if statement[0].text == "gate" and len(statement) > 1 else None


# -- what a program uses ---------------------------------------------------------------


def _survey(program: _Program) -> None:
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
            _note_use(program, _applied(statement))
    total = sum(program.registers.values())
    check_bits(total, f"registers of {total} bits")


def _applied(statement: Tokens) -> Application | None:
    """Return the gate that a statement applies, whatever its condition."""
    if statement[0].text in _NO_GATES:
        return None
    start = 1 + closing(statement[1:]) + 1 if statement[0].text == "if" else 0
    found = application(statement, start)
    return None if found is None or found.name.text in _NO_GATES else found


def _note_use(program: _Program, used: Application | None) -> None:
    if used is not None:
        program.uses.setdefault(used.name.text, []).append(used)


def _survey_gate(program: _Program, statement: Tokens) -> None:
    name = statement[1]
    body = [k for k, token in enumerate(statement) if token.text == "{"]
    steps = 0
    for inner in statements(statement[body[0] + 1 : -1]) if body else ():
        used = _applied(inner)
        _note_use(program, used)
        steps += program.steps.get(used.name.text, 1) if used is not None else 0
    if steps > 1:
        check_steps(steps, name.text, name.line if name.file is None else None)
    program.own.add(name.text)
    program.steps[name.text] = steps


# -- what gates mean -------------------------------------------------------------------


def _find_meanings(program: _Program) -> None:
    """Choose a meaning for every gate that is used and not defined."""
    program.custom = {
        name: _LEGACY[name] for name in (*_IN_QELIB, "delay") if name not in program.own
    }
    known: dict[str, gate_names.Known] = {**gate_names.COMMON, **_UP_TO_PHASE}
    if program.libraries & set(_HQSLIB):
        known |= gate_names.HQSLIB
    if program.is_qibo:
        known |= gate_names.QIBO
    for name, uses in program.uses.items():
        if name in program.own:
            continue
        if name in _LEGACY and not (program.is_qibo and name in gate_names.QIBO):
            program.custom[name] = _LEGACY[name]
        elif name in known:
            _add_known(program, known[name], uses)
        elif name in gate_names.AMBIGUOUS:
            raise fault_at(
                f"uses '{name}' without a definition, and writers mean different gates by it "
                f"({gate_names.AMBIGUOUS[name]}); define it in the file, as in "
                f"'gate {name} … {{ … }}', or have the writer decompose it",
                uses[0].name,
            )


def _add_known(program: _Program, known: gate_names.Known, uses: list[Application]) -> None:
    if known.note:
        program.tell(f"'{known.name}' is read as BQSKit's, {known.note}")
    sizes = {(len(use.params), len(use.arguments)) for use in uses}
    if known.num_params is not None and known.num_qubits is not None:
        sizes = {(known.num_params, known.num_qubits)}
    renamed: dict[int, Token] = {}
    for params, qubits in sorted(sizes):
        name = known.name if len(sizes) == 1 else f"{known.name}_{params}_{qubits}"
        _check_angles_of(known, params, qubits, uses)
        program.custom[name] = qasm2.CustomInstruction(
            name, params, qubits, _builder(known, qubits), builtin=name not in _IN_QELIB
        )
        renamed |= {
            id(use.name): use.name.renamed(name)
            for use in uses
            if (len(use.params), len(use.arguments)) == (params, qubits)
        }
    if len(sizes) > 1:
        program.replace(renamed)


def _builder(known: gate_names.Known, num_qubits: int) -> Callable[..., Instruction]:
    return lambda *params: known.gate(num_qubits, *params)


def _check_angles_of(
    known: gate_names.Known, params: int, qubits: int, uses: list[Application]
) -> None:
    if known.num_qubits is not None:
        return
    wanted = known.num_params if known.num_params is not None else _ANGLES[known.name](qubits)
    if params != wanted or not qubits:
        raise fault_at(
            f"gives '{known.name}' on {qubits} qubits {params} angles, expected {wanted}; give "
            f"as many",
            uses[0].name,
        )


# -- what a program leaves out ---------------------------------------------------------


def _declare(program: _Program) -> None:
    """Add the version, the include and the registers that a program needs and lacks."""
    first = program.tokens[0]
    head: list[str] = []
    if not program.has_version:
        head += ["OPENQASM 2.0 ;"]
        program.tell("has no version and is read as OpenQASM 2")
        missing = sorted((_IN_QELIB - program.own) & set(program.uses))
        if missing and not program.libraries:
            head += [f'include "{_QELIB}" ;']
            program.libraries.add(_QELIB)
            program.tell(f"includes no gates; {listed(missing)} are read as those of {_QELIB}")
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


def _undeclared(program: _Program) -> dict[str, tuple[str, int]]:
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


def _rename_registers(program: _Program) -> None:
    """Rename registers that are called like a gate of a library, which Qiskit cannot have."""
    taken = {name for name, one in program.custom.items() if one.builtin}
    taken |= _IN_QELIB if program.libraries else set()
    clashes = taken & set(program.registers)
    if not clashes:
        return
    words = {token.text for token in program.tokens} | taken
    new = {name: next(n for n in _names_like(name) if n not in words) for name in clashes}
    changed: dict[int, Token] = {}
    for statement in statements(program.tokens):
        if statement[0].text in ("gate", "opaque"):
            continue
        used = _applied(statement)
        changed |= {
            id(token): token.renamed(new[token.text])
            for token in statement
            if token.text in new and (used is None or token is not used.name)
        }
    program.replace(changed)


def _lower(program: _Program) -> None:
    """Put a word before names with a capital, which Qiskit knows for none but ``U`` and ``CX``."""
    program.custom = {
        _lowered(name): replace(one, name=_lowered(name)) for name, one in program.custom.items()
    }
    program.tokens = [
        token.renamed(_lowered(token.text)) if token.text[0].isupper() else token
        for token in program.tokens
    ]


def _lowered(name: str) -> str:
    return _CAPITAL + name if name[0].isupper() and name not in _BUILTIN else name


def _names_like(name: str) -> Iterator[str]:
    while True:
        name += "_"
        yield name


# -- parsing ---------------------------------------------------------------------------


def _parsed(program: _Program, folder: Path) -> QuantumCircuit:
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
            raise FaultError(str(found).replace(_CAPITAL, "")) from None
        raise fault_at(
            str(found).replace(_CAPITAL, ""), origins[min(found.line, len(origins)) - 1]
        ) from None


def _loaded(text: str, folder: Path, custom: Iterable[qasm2.CustomInstruction]) -> QuantumCircuit:
    return qasm2.loads(
        text,
        include_path=(folder, "."),
        custom_instructions=custom,
        custom_classical=qasm2.LEGACY_CUSTOM_CLASSICAL,
    )
