"""OpenQASM 2 as tokens that know the file and line they come from, and as statements of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    |"[^"\n]*"
    |[^\W\d]\w*
    |(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?
    |->|==
    |.""",
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[^\W\d]\w*")

Tokens = Sequence["Token"]


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a program; `file` is None in the file that is read."""

    text: str
    line: int
    file: str | None = None

    def renamed(self, text: str) -> Token:
        """Return another word at the same place."""
        return replace(self, text=text)

    @property
    def is_name(self) -> bool:
        """Whether this could be the name of something."""
        return _NAME.fullmatch(self.text) is not None


def tokens_of(text: str, file: str | None = None) -> list[Token]:
    """Return the words of a program, without comments."""
    found, line = [], 1
    for match in _TOKEN.finditer(text):
        if match["skip"] is None:
            found.append(Token(match[0], line, file))
        line += match[0].count("\n")
    return found


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
