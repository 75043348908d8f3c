"""Identity of work: a digest of a function and its arguments, the same in every process.

Of functions that are not installed, the code counts and whatever of theirs it names: functions,
classes and values of their modules, and the files of what they import when they run. What is
installed counts by its name. Where two things cannot be told to be equal, they are not. Refuses to
know what the digest is for.
"""

from __future__ import annotations

import contextlib
import copyreg
import dis
import hashlib
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from pilotcut.pilots.worker.exception_text import words_of
from pilotcut.tasks.imported_code import files_imported_by, files_of_module, is_installed
from pilotcut.tasks.shared import Shared

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_CODE = (
    "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags",
    "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_exceptiontable",
)  # fmt: skip


class IncomparableError(Exception):
    """A value of which nobody can tell whether another is equal to it; the message says which."""


def work_of(
    fn: Callable[..., Any] | Sequence[str],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    ranks: int = 1,
    after: Iterable[str] = (),
    shared: dict[str, bytes] | None = None,
) -> str:
    """Return a digest of what a task computes.

    Parameters
    ----------
    fn, args, kwargs, ranks
        Of the task.
    after
        Digests of tasks that it runs after.
    shared
        Digests of shared objects, by key, which are kept in it from call to call.

    Raises
    ------
    IncomparableError
        If it holds something that cannot be compared.

    Examples
    --------
    >>> work_of(max, [1, 2], {}) == work_of(max, [1, 2], {})
    True
    >>> work_of(max, [1, 2], {}) == work_of(max, [1, 2.0], {})
    False
    """
    digests = _Digests({} if shared is None else shared)
    try:
        parts = [digests.of(fn), digests.of(tuple(args))]
        parts += [digests.of((name, kwargs[name])) for name in sorted(kwargs)]
        parts += [digests.of(ranks), digests.of(sorted(after))]
    except RecursionError:
        raise IncomparableError("it is nested too deeply") from None
    return _joined(b"work", parts).hex()


class _Digests:
    """Digests of values, each computed once."""

    def __init__(self, shared: dict[str, bytes]) -> None:
        self._shared = shared
        # With the value, so that no other gets its id.
        self._known: dict[tuple[int, bool], tuple[bytes, Any]] = {}
        self._open: dict[int, int] = {}
        # Whether what cannot be compared counts by its class: a lock beside what a function names.
        self._is_lenient = False

    def of(self, value: Any) -> bytes:
        """Return the digest of a value."""
        if type(value) in _PLAIN:
            text = value if isinstance(value, bytes) else repr(value).encode("utf-8", "replace")
            return _joined(type(value).__name__.encode(), [text])
        number = id(value)
        if number in self._open:  # it holds itself
            return _joined(b"above", [str(len(self._open) - self._open[number]).encode()])
        known = (number, self._is_lenient)
        if known not in self._known:
            self._open[number] = len(self._open)
            try:
                self._known[known] = (self._of(value), value)
            finally:
                del self._open[number]
        return self._known[known][0]

    def _of(self, value: Any) -> bytes:
        kind = type(value)
        if kind in (list, tuple):
            return _joined(kind.__name__.encode(), map(self.of, value))
        if kind is dict:
            return _joined(b"dict", (self.of(part) for item in value.items() for part in item))
        if kind in (set, frozenset):  # their order is another one in each process
            return _joined(kind.__name__.encode(), sorted(map(self.of, value)))
        if kind is np.ndarray and not value.dtype.hasobject:
            head = repr((value.dtype.descr, value.shape)).encode()
            content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            return _joined(b"array", [head, content.data])
        if kind is Shared:
            if value.key not in self._shared:
                self._shared[value.key] = self.of(value.get())
            return self._shared[value.key]
        if isinstance(value, types.ModuleType):
            files = () if is_installed(value.__name__) else sorted(files_of_module(value).items())
            return _joined(b"module", [value.__name__.encode(), self.of(tuple(files))])
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return _code(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.MethodType):
            return _joined(b"method", [self.of(value.__func__), self.of(value.__self__)])
        if (parts := _read(value)) is not None:
            return _joined(b"read", [self.of(parts)])
        return self._leniently(value) if self._is_lenient else self._object(value)

    # -- code --------------------------------------------------------------------------

    def _function(self, fn: types.FunctionType) -> bytes:
        held = [*map(_held, fn.__closure__ or ())]
        if is_installed(fn.__module__):  # it may hold functions that are not, as singledispatch's
            return _joined(b"installed", [_named(fn), *map(self._named_value, _functions_in(held))])
        parts = [fn.__code__, fn.__defaults__, fn.__kwdefaults__, held]
        named = [self._named_value(value) for value in _values_named(fn)]
        files = self.of(tuple(sorted(files_imported_by(fn).items())))
        return _joined(b"function", [*map(self.of, parts), *named, files])

    def _named_value(self, value: Any) -> bytes:
        """Return the digest of a value of the module; what has none in it counts by its class."""
        before, self._is_lenient = self._is_lenient, True
        try:
            return self.of(value)
        finally:
            self._is_lenient = before

    def _class(self, cls: type) -> bytes:
        if is_installed(cls.__module__):
            return _named(cls)
        parts = [cls.__qualname__.encode(), *map(self.of, cls.__bases__)]
        for name, value in sorted(vars(cls).items()):
            if name not in _OF_EVERY_CLASS:
                parts += [name.encode(), self._named_value(value)]
        return _joined(b"class", parts)

    # -- anything else, as pickle takes it apart ---------------------------------------------

    def _leniently(self, value: Any) -> bytes:
        """Return the digest of an object of which some parts may have none.

        Of an object of a user's class the others count, and of one that is installed, which may
        hold what differs from run to run, none do.
        """
        is_of_user = not is_installed(type(value).__module__)
        self._is_lenient = is_of_user
        try:
            return self._object(value)
        except IncomparableError:
            self._is_lenient = True
            parts = [type(value), *_wrapped_by(value)]
            parts += [getattr(value, "__dict__", None)] if is_of_user else []
            return _joined(b"kind", map(self.of, parts))
        finally:
            self._is_lenient = True

    def _object(self, value: Any) -> bytes:
        try:
            taken = copyreg.dispatch_table.get(type(value))
            parts = taken(value) if taken is not None else value.__reduce_ex__(4)
        except Exception as error:
            raise IncomparableError(f"a {type(value).__qualname__}: {words_of(error)}") from error
        if isinstance(parts, str):
            module = getattr(value, "__module__", "") or ""
            inner = () if is_installed(module) else map(self._named_value, _wrapped_by(value))
            return _joined(b"global", [module.encode(), parts.encode(), *inner])
        make, args, *rest = parts
        state, items, pairs = (*rest, None, None, None)[:3]
        found = [self.of(type(value)), self.of(make), self.of(args), self.of(state)]
        found += [self.of(item) for item in items or ()]
        found += [self.of(part) for pair in pairs or () for part in pair]
        return _joined(b"object", found)


#: Modules that know what values of a package are made of, by the package: pickles of these hold
#: what is another one in each process, such as numbers of circuits.
_READERS = {"qiskit": "pilotcut.circuits.comparing"}

_FROM_THE_MODULE = ("LOAD_GLOBAL", "LOAD_NAME")
_OF_EVERY_CLASS = frozenset({
    "__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__",
    "__orig_bases__", "__parameters__", "__pydantic_core_schema__", "__pydantic_validator__",
    "__pydantic_serializer__",
})  # fmt: skip


def _joined(kind: bytes, parts: Iterable[bytes | memoryview]) -> bytes:
    """Return the digest of several parts, each with its length, so that none runs into another."""
    found = hashlib.blake2b(kind + b"\0", digest_size=24)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.digest()


@cache
def _code(code: types.CodeType) -> bytes:
    digests = _Digests({})
    # Of constants alone: their types count, since 1 and 1.0 are equal.
    return _joined(b"code", [digests.of(getattr(code, part)) for part in (*_CODE, "co_consts")])


def _named(value: Any) -> bytes:
    return _joined(b"named", [str(value.__module__).encode(), value.__qualname__.encode()])


def _read(value: Any) -> Any | None:
    """Return what a value is made of, None where pickle may take it apart."""
    # Classes that Qiskit makes of gates without parameters have no module.
    modules = (cls.__module__ for cls in type(value).__mro__)
    package = next(filter(None, modules), "").partition(".")[0]
    if package == "torch" and isinstance(value, (torch := sys.modules["torch"]).Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        kind = type(value).__qualname__
        return kind, str(value.dtype), tuple(value.shape), value.requires_grad, content
    if package == "numba" and hasattr(value, "py_func"):
        # Its pickle has a number that each process draws; what it has compiled is no part of it.
        return type(value).__qualname__, value.py_func, value.targetoptions, value.locals
    if package not in _READERS:
        return None
    return import_module(_READERS[package]).parts_of(value)


def _wrapped_by(value: Any) -> Iterator[Any]:
    """Yield the functions that properties, methods of classes and decorators have in them."""
    for name in ("__func__", "func", "fget", "fset", "__wrapped__"):
        with contextlib.suppress(Exception):  # whatever a property of the user's raises
            if callable(inner := getattr(value, name, None)):
                yield inner


def _functions_in(value: Any) -> Iterator[Any]:
    """Yield the functions and classes in lists, tuples and dicts that are not installed."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _functions_in(item)
    elif isinstance(value, (dict, types.MappingProxyType)):
        for pair in value.items():
            yield from _functions_in(pair)
    elif isinstance(value, (types.FunctionType, type)) and not is_installed(value.__module__):
        yield value


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _values_named(fn: types.FunctionType) -> Iterator[Any]:
    """Yield what a function names of its module, and of modules of the same author."""
    of_module, of_others = _names_in(fn.__code__)
    for name in of_module:
        if name in fn.__globals__:
            yield from _with_parts(fn.__globals__[name], of_others, {fn.__module__})


def _with_parts(value: Any, names: Sequence[str], seen: set[str | None]) -> Iterator[Any]:
    """Yield a value, or of a module that is not installed what has one of some names there."""
    if not isinstance(value, types.ModuleType) or is_installed(value.__name__):
        yield value
    elif value.__name__ not in seen:
        seen.add(value.__name__)
        for name in names:
            if hasattr(value, name):
                yield from _with_parts(getattr(value, name), names, seen)


@cache
def _names_in(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that code takes from its module, and those from other things."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in _FROM_THE_MODULE}
    names, others = found, set(code.co_names) - found
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner, of_others = _names_in(constant)
            names, others = names | {*inner}, others | {*of_others}
    return tuple(sorted(names)), tuple(sorted(others))
