"""Syntax tree of an OpenQASM 3 program, and where in the file a fault is.

The parser is openqasm3's, over ANTLR: its complaints go to stderr or sit in an exception behind
the exception, and deep nesting would take it for ever.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import openqasm3
from openqasm3 import ast

from pilotcut.circuits.files.faults import FaultError, faults, located, quoted, shortened

#: Brackets in brackets, and operators of a statement: the parser calls itself for each.
_MOST_DEPTH, _MOST_OPERATORS, _OPERATORS = 50, 1000, "-+*/%^&|~!<>@"
_MARKS = re.compile(rf"[()\[\]{{}};{re.escape(_OPERATORS)}]")

INVALID = "is not valid OpenQASM 3, or more of it than Qiskit reads"


def parsed(text: str) -> ast.Program:
    """Return the syntax tree of a program without comments.

    Raises
    ------
    FaultError
        If it is none, or nested too deeply to be parsed.
    """
    _check_depth(text)
    complaints = io.StringIO()
    try:
        with redirect_stderr(complaints), faults("is not valid OpenQASM 3"):
            return openqasm3.parse(text)
    except FaultError as fault:
        complaint = re.search(r"line (\d+):\d+ (.*)", complaints.getvalue())
        if complaint:
            raise FaultError(_no_qasm3(shortened(complaint[2], 200)), int(complaint[1])) from None
        token = _offending_token(fault.__context__)
        if token is not None:
            raise FaultError(_no_qasm3(f"unexpected {quoted(token.text)}"), token.line) from None
        raise located(fault, r"L(\d+):C\d+: ") from None


def _check_depth(text: str) -> None:
    """Refuse what the parser, which calls itself, would take for ever to read, or never."""
    depth = operators = 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        depth += (mark in "([{") - (mark in ")]}")
        operators = 0 if mark in ";{}" else operators + (mark in _OPERATORS)
        if depth > _MOST_DEPTH or operators > _MOST_OPERATORS:
            raise FaultError(
                f"has more than {_MOST_DEPTH} brackets in brackets, or {_MOST_OPERATORS} operators "
                f"in a statement, expected fewer; write it shorter",
                text.count("\n", 0, match.start()) + 1,
            )


def _no_qasm3(why: str) -> str:
    return f"is not valid OpenQASM 3 ({why}); check it, or write it again"


def _offending_token(error: BaseException | None) -> Any:
    """Return the token at which ANTLR gave up: it is in the exception behind the exception."""
    for behind in (error, getattr(error, "__cause__", None)):
        for one in (behind, *getattr(behind, "args", ())):
            token = getattr(one, "offendingToken", None)
            if token is not None:
                return token
    return None


def line_of(node: ast.QASMNode) -> int | None:
    """Return the line in which a node starts, if it is known."""
    return node.span.start_line if node.span else None


@contextmanager
def placed(statement: ast.QASMNode) -> Iterator[None]:
    """Turn what the importer raises into a fault with a line; often it does not say where."""
    try:
        with faults(INVALID):
            yield
    except FaultError as fault:
        if fault.line is not None:
            raise
        found = located(fault, r"(?<=\()(\d+),\d+: ")  # "4,0: gate 'foo' is not defined."
        raise FaultError(str(found), found.line or line_of(statement)) from None
