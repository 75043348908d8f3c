"""Imported code: whose a module is, and what a function imports only when it runs.

What a function imports in its body need not be there when it is submitted, and to import it here
could do anything. So its file is read, and the files of what that imports in turn, and they count
as a whole. Refuses to know what a digest is for.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import hashlib
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

#: An import in code: its level, the module, and names that are taken from it.
Import = tuple[int, str, tuple[str, ...]]


@cache
def is_installed(module: str | None) -> bool:
    """Return whether a module belongs to Python or to what is installed, and to nobody's script.

    Examples
    --------
    >>> is_installed("json"), is_installed("numpy.linalg"), is_installed("__main__")
    (True, True, False)
    """
    if module is None or module == "__main__":
        return False
    if _is_known(module):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return module in sys.stdlib_module_names if file is None else _is_in_an_environment(file)


def _is_known(module: str) -> bool:
    """Return whether nobody needs to look where a module is."""
    return module.partition(".")[0] in (*sys.builtin_module_names, builtins.__name__, "pilotcut")


@cache
def _is_in_an_environment(file: str) -> bool:
    if {"site-packages", "dist-packages"} & {*Path(file).parts}:
        return True
    return any(Path(file).is_relative_to(place) for place in _places())


@cache
def _places() -> tuple[str, ...]:
    wanted = ("stdlib", "platstdlib")
    return tuple({path for name in wanted if (path := sysconfig.get_path(name))})


def files_imported_by(fn: types.FunctionType) -> dict[str, str]:
    """Return the modules that a function imports in its body, and those that these import.

    Returns
    -------
    dict
        A digest of the file of each, by the module's name, of those that are not installed.
    """
    package = fn.__globals__.get("__package__") or ""
    return _files_of(imports_in(fn.__code__), package)


def files_of_module(module: types.ModuleType) -> dict[str, str]:
    """Return the same of a module: its own file, and those of what it imports."""
    return _files_of([(0, module.__name__, ())], "")


def _files_of(imports: Iterable[Import], package: str) -> dict[str, str]:
    found: dict[str, str] = {}
    front = [name for one in imports for name in _modules_of(*one, package)]
    while front:
        name = front.pop()
        if name not in found and (read := _read(name)) is not None:
            found[name], follow = read
            front += follow
    return found


@cache
def imports_in(code: types.CodeType) -> frozenset[Import]:
    """Return what code imports, inner functions included.

    Examples
    --------
    >>> sorted(imports_in(compile("import a.b; from ..c import d, e", "", "exec")))
    [(0, 'a.b', ()), (2, 'c', ('d', 'e'))]
    """
    found: set[Import] = set()
    before: list[Any] = [None, None]
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            level, names = before
            found.add((level or 0, step.argval, tuple(names or ())))
        if step.opname != "EXTENDED_ARG":
            before = [before[1], step.argval]
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return frozenset(found).union(*map(imports_in, inner))


def _modules_of(level: int, name: str, names: tuple[str, ...], package: str) -> Iterator[str]:
    """Yield the names of modules that an import may run, packages above it first."""
    with contextlib.suppress(ImportError):  # beyond the top
        whole = importlib.util.resolve_name("." * level + name, package)
        parts = whole.split(".")
        yield from (".".join(parts[: k + 1]) for k in range(len(parts)))
        yield from (f"{whole}.{inner}" for inner in names if inner != "*")


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]] | None:
    """Return a digest of a module's file and what that imports; None if it is not the user's.

    Once in a process, as Python imports a module once.
    """
    file = _file_of(module)
    if file is None or _is_in_an_environment(file):
        return None
    try:
        content = Path(file).read_bytes()
    except OSError:
        return None
    follow: list[str] = []
    if file.endswith(".py"):
        package = module if Path(file).name == "__init__.py" else module.rpartition(".")[0]
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            for one in imports_in(compile(content, file, "exec", dont_inherit=True)):
                follow += _modules_of(*one, package)
    return hashlib.blake2b(content, digest_size=24).hexdigest(), tuple(follow)


def _file_of(module: str) -> str | None:
    """Return where a module is, without importing it or a package above it."""
    if _is_known(module) or module.partition(".")[0] in sys.stdlib_module_names:
        return None
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for number in range(len(parts)):
        spec = _spec(".".join(parts[: number + 1]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec.origin if spec is not None and spec.has_location else None


def _spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        with contextlib.suppress(Exception):  # whatever a finder of somebody's raises
            if (spec := finder.find_spec(name, path)) is not None:
                return spec
    return None
