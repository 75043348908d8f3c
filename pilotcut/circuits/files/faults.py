"""Faults of circuit files, each one line: found, expected, the next step, and where.

Qiskit's parsers raise anything for a broken file; here it becomes a `FaultError`. Bounds of what a
file may hold stand here too, as all languages share them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pilotcut.errors import CutError

#: Registers that are larger are taken for a slip of the pen: they would not fit in memory.
MOST_BITS = 10**5

#: Gates that one gate of a file may be made of, all definitions opened.
MOST_STEPS = 2 * 10**5

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class FaultError(Exception):
    """Fault of a file; the line, from 1, where one is to blame."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


@contextmanager
def faults(what: str) -> Iterator[None]:
    """Turn whatever Qiskit's parsers raise for a broken file into a fault."""
    try:
        yield
    except FaultError:
        raise
    except CutError as error:
        raise FaultError(str(error)) from None
    except BaseException as error:
        # A panic of Rust code is no Exception; all else of that kind is not ours to stop.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, RecursionError):
            raise FaultError("is nested too deeply to be read; write it shallower") from None
        raise FaultError(f"{what} ({brief(error)}); check it, or write it again") from None


def brief(error: BaseException) -> str:
    """Return an exception in one short line."""
    text = _ESCAPES.sub("", str(getattr(error, "message", "") or error))
    inner = re.search(r"Backtrace.*?Error: ([^\n]+)", text, re.DOTALL)  # Rust's, over many lines
    text = shortened(" ".join((inner[1] if inner else text).split()), 200)
    known = type(error).__module__.startswith(("qiskit", "openqasm3"))
    return text if known and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` letters, and a sign where some are left out."""
    return text if len(text) <= most else text[:most] + " …"


def quoted(text: str) -> str:
    """Return the first line of a text in quotes, shortened."""
    first = text.splitlines()[0].strip() if text.strip() else ""
    return repr(first if len(first) <= 40 else first[:40] + "…") if first else "nothing"


def listed(items: list[str], most: int = 6) -> str:
    """Return the first items, and how many more there are."""
    more = f", … {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def located(fault: FaultError, pattern: str) -> FaultError:
    """Return the fault with the line number that stands in its text."""
    found = re.search(pattern, str(fault))
    if found is None:
        return fault
    return FaultError(str(fault).replace(found[0], ""), int(found[1]))


def check_bits(count: int, found: str, line: int | None = None) -> None:
    """Refuse more bits than any memory holds."""
    if count > MOST_BITS:
        raise FaultError(
            f"found '{found}', expected registers of at most {MOST_BITS} bits; declare what the "
            f"circuit needs",
            line,
        )


def check_steps(count: int, name: str, line: int | None = None) -> None:
    """Refuse a gate whose definitions double, and so on, until no memory holds them."""
    if count > MOST_STEPS:
        raise FaultError(
            f"gate '{name}' is made of {amount(count)} gates when its definitions are opened, "
            f"expected at most {MOST_STEPS}; write a smaller gate",
            line,
        )


def amount(count: int) -> str:
    """Return a whole number that a line has room for."""
    return str(count) if count < 10**12 else f"about 10^{len(str(count)) - 1}"
