"""Tokens of OpenQASM 2, which know the file and line they come from, and statements of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pilotcut.circuits.files.faults import FaultError

#: Letters of an angle, and brackets in brackets: Qiskit's parser calls itself for each.
_MOST_LETTERS, _MOST_DEPTH = 10_000, 100

_TOKEN = re.compile(
    r"""(?P<skip>\s+)
    |"[^"\n]*"
    |[^\W\d]\w*
    |(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?
    |->|==
    |.""",
    re.VERBOSE | re.DOTALL,
)
_BRACKET = re.compile(r"[()]")
_LONG_ANGLE = re.compile(rf"\([^()]{{{_MOST_LETTERS}}}")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*")

Tokens = Sequence["Token"]


class Token(NamedTuple):
    """A word of a program; `file` is None in the file that is read. Told apart by identity."""

    text: str
    line: int
    file: str | None = None

    def renamed(self, text: str) -> Token:
        """Return another word at the same place."""
        return self._replace(text=text)

    @property
    def is_name(self) -> bool:
        """Whether this could be the name of something."""
        return _NAME.fullmatch(self.text) is not None


def tokens_of(text: str, file: str | None = None) -> list[Token]:
    """Return the words of a program without comments.

    Raises
    ------
    FaultError
        Where an angle is too long, or brackets are too deep, for a parser that calls itself.
    """
    check_angles(text, file)
    found, line, place = [], 1, 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup is None:
            start = match.start()
            line += text.count("\n", place, start)
            place = start
            found.append(Token(match[0], line, file))
    return found


def decoded(content: bytes) -> str:
    """Return the text of a program, whose lines end as UNIX, Windows or an old Mac ends them.

    Raises
    ------
    UnicodeDecodeError
        If it is no text; the place is that in the content.
    """
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def line_at(content: bytes, place: int) -> int:
    """Return the number of the line in which a byte of a program stands."""
    before = content[:place]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1


def without_comments(text: str) -> str:
    """Return a program whose comments are spaces, so that all else stays in its line."""
    return _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def check_angles(text: str, file: str | None = None) -> None:
    """Refuse angles that are too long, or too deep, for a parser that calls itself."""
    depth = start = 0
    for match in _BRACKET.finditer(text):
        depth = max(0, depth + (1 if match[0] == "(" else -1))
        start = match.start() if depth == 1 and match[0] == "(" else start
        if depth > _MOST_DEPTH or (depth and match.start() - start > _MOST_LETTERS):
            raise fault_at(
                f"has an angle of more than {_MOST_DEPTH} brackets in brackets or {_MOST_LETTERS} "
                f"letters, expected a shorter one; write its value",
                Token("(", text.count("\n", 0, match.start()) + 1, file),
            )
    for match in _LONG_ANGLE.finditer(text):
        raise fault_at(
            f"has an angle of more than {_MOST_LETTERS} letters, expected a shorter one; write its "
            f"value",
            Token("(", text.count("\n", 0, match.start()) + 1, file),
        )


def fault_at(text: str, token: Token) -> FaultError:
    """Return a fault at a word, which may stand in a file that is included."""
    if token.file is None:
        return FaultError(text, token.line)
    return FaultError(f"includes {token.file}, whose line {token.line} {text}")


def text_of(tokens: Tokens) -> tuple[str, list[Token]]:
    """Return tokens as a program, and for each of its lines the first token.

    A line holds what stood in one line, so that a parser's line number leads back to it.
    """
    lines: list[list[Token]] = []
    for token in tokens:
        last = lines[-1][-1] if lines else None
        if last is None or (last.line, last.file) != (token.line, token.file):
            lines.append([])
        lines[-1].append(token)
    return "\n".join(" ".join(t.text for t in line) for line in lines), [line[0] for line in lines]


def statements(tokens: Tokens) -> Iterator[list[Token]]:
    """Yield statements with the ``;`` or the body in braces that ends them."""
    current: list[Token] = []
    depth = 0
    for token in tokens:
        current.append(token)
        depth += {"{": 1, "}": -1}.get(token.text, 0)
        if (token.text == ";" and depth == 0) or (token.text == "}" and depth <= 0):
            yield current
            current, depth = [], 0
    if current:
        yield current


@dataclass(frozen=True)
class Application:
    """A gate that is applied: its name's place among the tokens of its statement, and to what."""

    name: Token
    place: int
    params: list[list[Token]]
    arguments: list[list[Token]]


def application(statement: Tokens, start: int = 0) -> Application | None:
    """Return the gate that a statement applies, or None where it is no such statement."""
    if start >= len(statement) or not statement[start].is_name:
        return None
    rest = [t for t in statement[start + 1 :] if t.text != ";"]
    params: list[list[Token]] = []
    if rest and rest[0].text == "(":
        end = closing(rest)
        params, rest = _split(rest[1:end]), rest[end + 1 :]
    return Application(statement[start], start, params, _split(rest))


def closing(tokens: Tokens) -> int:
    """Return the place of the bracket that closes the first, or the end."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            return place
    return len(tokens)


def _split(tokens: Tokens) -> list[list[Token]]:
    """Return what stands between the commas that are in no brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]
