"""Files that an OpenQASM 2 program includes, put in their place word by word.

Qiskit's parser finds files as well; what is wrong with one would then be said without its name,
and a library beside the program could not leave out what the program defines itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pilotcut.circuits.files.qasm2.program import Qasm2Program
from pilotcut.circuits.files.qasm2.tokens import (
    Token,
    Tokens,
    decoded,
    fault_at,
    statements,
    tokens_of,
    without_comments,
)

#: What a program may include: files, and bytes of a file.
_MOST_FILES, _MOST_BYTES = 1000, 10**7

#: Includes that need no file.
QELIB, HQSLIBS = "qelib1.inc", ("hqslib1.inc", "hqslib1_dev.inc")
LIBRARIES = (QELIB, *HQSLIBS)


def with_includes(
    program: Qasm2Program, tokens: Tokens, chain: tuple[Path, ...]
) -> Iterator[Token]:
    """Yield the words with those of the files that they include."""
    for statement in statements(tokens):
        name = _include_name(statement)
        path = None if name is None else path_of(name, chain)
        if path is not None:
            yield from with_includes(
                program, _content(program, path, statement[0], chain), (*chain, path)
            )
        elif name in LIBRARIES:
            if not program.libraries:
                yield from (t.renamed(f'"{QELIB}"') if '"' in t.text else t for t in statement)
            program.libraries.add(name)
        else:  # where the file is missing, Qiskit says so
            yield from statement


def _include_name(statement: Tokens) -> str | None:
    texts = [token.text for token in statement]
    if len(texts) == 3 and texts[0] == "include" and texts[1].startswith('"'):
        return texts[1][1:-1]
    return None


def path_of(name: str, chain: tuple[Path, ...]) -> Path | None:
    """Return the file of a name: beside those that include it, or where we are."""
    places = [chain[-1].parent, chain[0].parent]
    for place in places if name in LIBRARIES else [*places, Path()]:
        try:
            if (place / name).is_file():
                return (place / name).resolve()
        except (OSError, ValueError):  # too long, or a null character
            continue
    return None


def _content(
    program: Qasm2Program, path: Path, token: Token, chain: tuple[Path, ...]
) -> list[Token]:
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


def drop_redefined(program: Qasm2Program) -> None:
    """Leave out of a library beside the file what the file defines itself."""
    here = {_defined(s) for s in statements(program.tokens) if s[0].file is None}
    kept = (
        statement
        for statement in statements(program.tokens)
        if statement[0].file not in LIBRARIES or _defined(statement) not in here - {None}
    )
    program.tokens = [token for statement in kept for token in statement]


def _defined(statement: Tokens) -> str | None:
    return statement[1].text if statement[0].text == "gate" and len(statement) > 1 else None
