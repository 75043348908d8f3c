"""Text of exceptions: message, traceback and notes of an exception that may be hostile.

Nothing here trusts an exception: its `__str__`, `__repr__`, `__getattribute__` and even the
class of its message may be a user's, and raise whatever they like, `SystemExit` included. So
what `BaseException` holds is read through its own descriptors, which no subclass overrides.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from pilotcut.pilots.description.credentials import without_credentials

#: Most letters of an exception told in words, of a traceback, and of a line in a log.
MOST_WORDS, MOST_TRACEBACK, MOST_LINE = 10_000, 60_000, 1_000


def words_of(error: BaseException, most: int = MOST_WORDS) -> str:
    """Return an exception's type and message, on as many lines as it has.

    Examples
    --------
    >>> words_of(KeyError("width")), words_of(KeyboardInterrupt())
    ("KeyError: 'width'", 'KeyboardInterrupt')
    """
    kind = _said(lambda: type(error).__qualname__, "an exception")
    message = _said(lambda: str(error), "its message cannot be told: __str__ fails")
    return shortened(without_credentials(f"{kind}: {message}" if message else kind), most)


def repr_of(error: BaseException) -> str:
    """Return `repr(error)`, or its type and message where that fails."""
    return shortened(_said(lambda: repr(error), "") or words_of(error), MOST_WORDS)


def traceback_of(error: BaseException) -> str:
    """Return the traceback as Python prints it, without the middle of a very long one."""
    try:
        text = "".join(traceback.format_exception(error))
        return shortened(without_credentials(text), MOST_TRACEBACK)
    except BaseException:
        frames = _said(
            lambda: "".join(traceback.format_tb(own_attribute(error, "__traceback__"))), ""
        )
        return f"Traceback (most recent call last):\n{frames}{words_of(error)}\n"


def shortened(text: str, most: int) -> str:
    """Return a text without its middle if it is longer than `most` letters.

    Examples
    --------
    >>> shortened("abcdefgh", 4)
    'ab ... (4 letters left out) ... gh'
    """
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} letters left out) ... {text[-half:]}"


def add_note(error: BaseException, text: str) -> None:
    """Add a note, also to an exception that forbids changes."""
    try:
        BaseException.add_note(error, text)
    except BaseException:  # of a frozen dataclass, where __notes__ is no list, or of its own
        set_notes(error, [*notes_of(error), text])


def why_unreadable(error: BaseException) -> str:
    """Return why Python itself cannot read an exception, or nothing if it can.

    What catches, prints or logs such a one fails in its turn.
    """
    try:
        for name in ("__class__", "__dict__", "__cause__", "__context__", "__traceback__"):
            getattr(error, name)
        getattr(error, "__notes__", None)
    except BaseException as reason:
        return f"its attributes cannot be read: {words_of(reason, MOST_LINE)}"
    return ""


def own_attribute(error: BaseException, name: str) -> Any:
    """Return an attribute that all exceptions have, without asking the exception."""
    return vars(BaseException)[name].__get__(error)


def _said(say: Callable[[], Any], otherwise: str) -> str:
    try:
        text = say()
    except BaseException:  # one of the user's own may be SystemExit
        return otherwise
    return str.__str__(text) if isinstance(text, str) else otherwise


def notes_of(error: BaseException) -> list[str]:
    """Return the notes of an exception that are texts."""
    try:
        found = own_attribute(error, "__dict__").get("__notes__", ())
        return [str.__str__(text) for text in found if isinstance(text, str)]
    except BaseException:
        return []


def set_notes(error: BaseException, notes: list[str]) -> None:
    """Give an exception these notes, where that is possible at all."""
    try:
        own_attribute(error, "__dict__")["__notes__"] = notes
    except BaseException:
        return
