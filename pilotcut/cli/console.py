"""Output of commands: results to stdout, notes and complaints to stderr, a line each.

Texts are printed as they are, brackets included, and lines are not broken: others read them.
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape

out = Console()
err = Console(stderr=True)


def say(text: str) -> None:
    """Print a line of a result."""
    out.print(escape(text), soft_wrap=True, highlight=False)


def say_json(data: Any) -> None:
    """Print a result as one line of JSON."""
    print(json.dumps(data))


def note(text: str) -> None:
    """Tell what a user should know, and may pass over."""
    err.print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True, highlight=False)


def complain(what: str, text: str) -> None:
    """Tell what went wrong, under a word in red."""
    err.print(f"[bold red]{what}:[/] {escape(text)}", soft_wrap=True, highlight=False)
