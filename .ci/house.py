"""Rules of the house that no linter has: lengths, one public class a name, one test file a name.

    python .ci/house.py

prints what breaks them, a line each, and exits with 1 if anything does. The floors and circles
are import-linter's, see `.importlinter`.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

PACKAGE = Path(__file__).parents[1] / "pilotcut"
TESTS = Path(__file__).parents[1] / "tests"

#: Lines of a file, and of a function's body without its docstring.
MOST_LINES, MOST_BODY_LINES = 450, 50

#: Rooms of the package's top folder, and loose modules among them.
MOST_ROOMS, MOST_LOOSE = 18, 4

#: Files and functions (FILE:FUNCTION) that may be longer, each with the reason.
LONGER: dict[str, str] = {}


#: Name, syntax tree and number of lines of a file.
Module: TypeAlias = tuple[str, ast.Module, int]


def main() -> int:
    """Print all faults and return the exit status."""
    modules = list(_modules())
    faults = [*_rooms(), *_lengths(modules), *_namesakes(modules), *_test_files()]
    for fault in faults:
        print(fault)
    return bool(faults)


def _rooms() -> Iterator[str]:
    """Yield what is too much in the top folder."""
    loose = {path.name for path in PACKAGE.glob("*.py")}
    rooms = loose | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    for what, found, most in (("rooms", rooms, MOST_ROOMS), ("loose modules", loose, MOST_LOOSE)):
        if len(found) > most:
            yield f"pilotcut/ has {len(found)} {what}, expected at most {most}: {sorted(found)}"


def _lengths(modules: list[Module]) -> Iterator[str]:
    """Yield files and functions that are too long, and exceptions that are not needed."""
    unneeded = set(LONGER)
    for name, tree, lines in modules:
        long = {name: (lines, MOST_LINES)} if lines > MOST_LINES else {}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                body = function.body[1:] if ast.get_docstring(function) else function.body
                size = function.end_lineno - body[0].lineno + 1 if body else 0
                if size > MOST_BODY_LINES:
                    long[f"{name}:{function.name}"] = (size, MOST_BODY_LINES)
        for place, (found, most) in long.items():
            if place not in LONGER:
                yield f"{place} has {found} lines, expected at most {most}; split it by subject"
        unneeded -= set(long)
    for place in sorted(unneeded):
        yield f"{place} is excepted from the limits and within them; take it out of .ci/house.py"


def _namesakes(modules: list[Module]) -> Iterator[str]:
    """Yield names that several public classes have."""
    homes = defaultdict(list)
    for name, tree, _ in modules:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    for name, files in sorted(homes.items()):
        if len(files) > 1:
            yield f"class {name} stands in {' and '.join(files)}, expected one public class a name"


def _test_files() -> Iterator[str]:
    """Yield test files that one process of pytest takes for each other: both are a module NAME."""
    homes = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        if not (path.parent / "__init__.py").exists():
            homes[path.name].append(str(path.relative_to(TESTS)))
    for files in homes.values():
        if len(files) > 1:
            yield f"tests/ has {' and '.join(files)}, expected one name for each"


def _modules() -> Iterator[Module]:
    """Yield the name, the syntax tree and the number of lines of each file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield str(path.relative_to(PACKAGE.parent)), ast.parse(text), text.count("\n")


if __name__ == "__main__":
    sys.exit(main())
