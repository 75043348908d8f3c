"""Files of drawings: checks of a path, before anything is drawn, and writing a figure there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotcut.errors import DrawingError
from pilotcut.io.atomic import write_atomically
from pilotcut.io.disk import why_unwritten
from pilotcut.io.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What can be written, by suffix.
SUFFIXES = (".png", ".pdf", ".svg")


def check_path(path: str | Path) -> Path:
    """Return the path of a drawing, if one can be written there.

    Raises
    ------
    DrawingError
        If not; nothing is written yet.
    MissingExtraError
        If matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        found = f"suffix '{path.suffix}'" if path.suffix else "no suffix"
        raise DrawingError(
            f"drawing: {path} has {found}, expected one of {', '.join(SUFFIXES)}; choose one"
        )
    require("a drawing", "report")
    with _writing(path):
        if path.is_dir():
            raise DrawingError(f"drawing: {path} is a directory, expected a file; name one in it")
        if not path.parent.is_dir():
            raise DrawingError(
                f"drawing: {path} has no directory to lie in, expected that '{path.parent}' is "
                f"one; make it, or choose another path"
            )
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the file system says into a fault of the path."""
    try:
        yield
    except OSError as error:
        raise DrawingError(
            f"drawing: {path} cannot be written ({why_unwritten(error, path)}); choose another path"
        ) from None


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure of matplotlib, whole or not at all; `options` are those of `savefig`.

    Raises
    ------
    DrawingError
        If it cannot be written there.
    """
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), **options)
    with _writing(path):
        write_atomically(path, content.getvalue())
