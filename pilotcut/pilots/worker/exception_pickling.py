"""Pickling of exceptions: as themselves where that can be, in words where it cannot.

Pickle makes an exception anew by calling its class with `args`, which fails, or makes another
one, wherever a class takes something else. So what was packed is read again at once, compared
with the original, and made without its class's `__init__` if need be. Causes, contexts, notes
and the parts of groups, which pickle leaves out, are packed one by one. Nothing here trusts an
exception: its `__str__`, `__repr__` and `__reduce__` may raise whatever they like.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle

from pilotcut.errors import TaskError
from pilotcut.pilots.worker.exception_text import (
    MOST_LINE,
    MOST_TRACEBACK,
    add_note,
    notes_of,
    own_attribute,
    set_notes,
    shortened,
    why_unreadable,
    words_of,
)

#: Most bytes of an exception that travels as itself.
MOST_BYTES = 2**26
#: Most exceptions that travel with one: causes, contexts and parts of groups, and how deep.
_MOST_OTHERS, _MOST_DEPTH = 64, 16
_PLAIN = (str, bytes, int, float, complex, bool, type(None))
#: Py_TPFLAGS_HEAPTYPE of CPython: classes made by a class statement have it, Python's own do not.
_HEAP_TYPE = 1 << 9


@dataclass(frozen=True)
class PackedError:
    """An exception on its way.

    Attributes
    ----------
    words
        Its type and message.
    made_of
        A pickle of it, or None where there is none that reads back as the same.
    parts
        The exceptions of a group, which `made_of` then lacks.
    why
        Why it has to be told in words, if that is known.
    """

    words: str
    made_of: bytes | None
    why: str = ""
    parts: tuple[PackedError, ...] = ()
    cause: PackedError | None = None
    context: PackedError | None = None
    suppresses_context: bool = False
    notes: tuple[str, ...] = ()


# -- packing ---------------------------------------------------------------------------


def pack_error(error: BaseException) -> PackedError:
    """Return an exception ready to be pickled; never raises."""
    return _packed(error, {}, 0)


def _packed(error: BaseException, seen: dict[int, BaseException], depth: int) -> PackedError:
    seen[id(error)] = error  # kept, and so is its id

    def other(of: BaseException | None) -> PackedError | None:
        if of is None or id(of) in seen or len(seen) > _MOST_OTHERS or depth > _MOST_DEPTH:
            return None
        return _packed(of, seen, depth + 1)

    parts: tuple[PackedError, ...] = ()
    made_of: bytes | None
    if why := why_unreadable(error):
        made_of = None
    elif issubclass(type(error), BaseExceptionGroup):
        assert isinstance(error, BaseExceptionGroup)
        found = [other(part) for part in error.exceptions]
        parts = tuple(
            PackedError(words_of(part), None) if packed is None else packed
            for part, packed in zip(error.exceptions, found, strict=True)
        )
        made_of, why = _pickled((type(error), error.message, _state(error)), lambda _: True)
    else:
        made_of, why = _pickled_error(error)
    return PackedError(
        words=words_of(error),
        made_of=made_of,
        why=why,
        parts=parts,
        cause=other(own_attribute(error, "__cause__")),
        context=other(own_attribute(error, "__context__")),
        suppresses_context=own_attribute(error, "__suppress_context__"),
        notes=tuple(shortened(text, MOST_TRACEBACK) for text in notes_of(error)[:_MOST_OTHERS]),
    )


def _pickled_error(error: BaseException) -> tuple[bytes | None, str]:
    """Return a pickle that reads as the same exception, or None and why there is none."""
    try:
        same = _sameness(error)
    except BaseException as reason:
        return None, words_of(reason, MOST_LINE)
    blob, why = _pickled(error, lambda back: _sameness(back) == same)
    if blob is None:
        blob, _ = _pickled(_Anew(error), lambda back: _sameness(back) == same)
    if blob is None:  # its own __reduce__ may leave something out on purpose
        alike = (type(error), words_of(error))
        blob, _ = _pickled(error, lambda back: (type(back), words_of(back)) == alike)
    return blob, why if blob is None else ""


def _pickled(what: Any, is_right: Callable[[Any], bool]) -> tuple[bytes | None, str]:
    why = "it reads as something else where it arrives"
    for dumps in (pickle.dumps, cloudpickle.dumps):  # the latter for classes of __main__
        try:
            blob: bytes = dumps(what, protocol=5)
            if len(blob) > MOST_BYTES:
                return None, f"it has {len(blob)} bytes, more than {MOST_BYTES}"
            if is_right(pickle.loads(blob)):
                return blob, ""
        except BaseException as error:
            why = words_of(error, MOST_LINE)
    return None, why


def _sameness(error: BaseException) -> tuple[Any, ...]:
    """Return what an exception and its copy have in common."""
    state = _state(error)
    return (
        type(error),
        [_seen(value) for value in BaseException.args.__get__(error)],  # type: ignore[attr-defined]
        {name: _seen(value) for name, value in state.items()},
    )


def _seen(value: Any) -> Any:
    """Return what two equal values have in common; of those not ours to compare, the type."""
    # By repr, since NaN is not equal to itself, and True is equal to 1.
    return repr(value) if type(value) in _PLAIN else type(value)


def _state(error: BaseException) -> dict[str, Any]:
    return dict(own_attribute(error, "__dict__"))


class _Anew:
    """Pickles as an exception that is made without its class's `__init__`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        args = BaseException.args.__get__(error)  # type: ignore[attr-defined]
        return _anew, (type(error), args, _state(error), dict(_fields(error)))


def _anew(
    kind: type[BaseException],
    args: tuple[Any, ...],
    state: dict[str, Any],
    fields: dict[str, Any],
) -> BaseException:
    """Return an exception of `kind` with all that it held, without asking its `__init__`."""
    # `__new__` of a class of Python's own, since that of a user's class may take anything.
    own: Any = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP_TYPE)
    try:
        error: BaseException = own.__new__(kind, *args)
    except TypeError:
        error = own.__new__(kind)
    BaseException.args.__set__(error, args)  # type: ignore[attr-defined]
    for base in kind.__mro__:
        for name in fields.keys() & vars(base).keys():
            try:
                vars(base)[name].__set__(error, fields[name])
            except (AttributeError, TypeError):  # it can only be read
                continue
    error.__dict__.update(state)
    return error


def _fields(error: BaseException) -> Iterator[tuple[str, Any]]:
    """Yield what an exception holds beside `args` and `__dict__`, such as `errno` and slots."""
    for base in type(error).__mro__:
        if base in (BaseException, object):
            continue
        for name, found in vars(base).items():
            is_field = isinstance(found, types.MemberDescriptorType | types.GetSetDescriptorType)
            # Python itself never pickles the object that lacks an attribute.
            if not is_field or name.startswith("__") or (base is AttributeError and name == "obj"):
                continue
            try:
                value = found.__get__(error)
            except AttributeError:
                continue
            # None of Python's own is what was never given: OSError would tell of a second file.
            if value is not None or base.__flags__ & _HEAP_TYPE:
                yield name, value


# -- unpacking -------------------------------------------------------------------------


def unpack_error(packed: PackedError) -> BaseException:
    """Return the exception, or a `TaskError` that tells of it; never raises."""
    error, why = _made(packed)
    if error is None:
        error = TaskError(packed.words)
        for text in (*packed.notes, f"The exception itself could not travel: {why}"):
            add_note(error, text)
    elif packed.notes and not notes_of(error):
        set_notes(error, [*packed.notes])
    for name, other in (("__cause__", packed.cause), ("__context__", packed.context)):
        if other is not None:  # an exception may forbid to be changed, but not this way
            vars(BaseException)[name].__set__(error, unpack_error(other))
    vars(BaseException)["__suppress_context__"].__set__(error, packed.suppresses_context)
    return error


def _made(packed: PackedError) -> tuple[BaseException | None, str]:
    if packed.made_of is None:
        return None, packed.why
    try:
        made = pickle.loads(packed.made_of)
        if packed.parts:
            kind, message, state = made
            made = BaseExceptionGroup.__new__(kind, message, [*map(unpack_error, packed.parts)])
            made.__dict__.update(state)
    except BaseException as error:  # a module that is not here, say
        return None, words_of(error, MOST_LINE)
    if not isinstance(made, BaseException):
        return None, "it reads as something else here"
    return made, ""
