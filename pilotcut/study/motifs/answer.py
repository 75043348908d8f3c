"""What a motif has found, and which motifs there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pilotcut.io.extras import require
from pilotcut.options import check, choice_fault
from pilotcut.pilots.description import PilotDescription

#: Motif by name: its module, what it is called in the literature, and the extras that it needs.
MOTIFS = {
    "circuits": ("circuit_execution", "B.1 circuit execution", ()),
    "statevector": ("state_vector", "B.2 distributed state vector", ("torch",)),
    "cutting": ("circuit_cutting", "B.3 circuit cutting", ("torch",)),
    "mitigation": ("mitigation", "B.4 error mitigation", ("torch",)),
    "pipeline": ("pipeline", "C.1 multistage pipeline", ("train",)),
    "variational": ("variational", "C.2 sequential variational algorithms", ("torch",)),
    "curve": ("energy_curve", "C.3 synchronous parallel variational algorithms", ("train",)),
    "ensemble": ("ensemble", "C.4 asynchronous parallel variational algorithms", ("train",)),
    "generative": ("generative", "C.5 generative quantum eigensolver", ("torch",)),
}
SIZES = ("small", "large")


@dataclass(frozen=True)
class Answer:
    """What a motif has found.

    Parameters
    ----------
    sentence
        What was found, with its numbers.
    right
        Whether it is what it has to be.
    measures
        Numbers and names behind the sentence; JSON values.
    """

    sentence: str
    right: bool
    measures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Motif:
    """A mini-app.

    Parameters
    ----------
    name, title
        Its name here, and in the literature.
    right
        What its answer has to be.
    run
        Runs it: ``run(tasks, **sizes[size])`` returns an `Answer`.
    sizes
        Arguments of `run`, for each of `SIZES`.
    pilots
        What it runs on where nobody says; () for a worker on each core of this machine.
    """

    name: str
    title: str
    right: str
    run: Callable[..., Answer]
    sizes: Mapping[str, Mapping[str, Any]]
    pilots: tuple[PilotDescription, ...] = ()


def motif(name: str) -> Motif:
    """Return the motif of that name.

    Raises
    ------
    UserError
        If there is none.
    MissingExtraError
        If what it needs is not installed.
    """
    check(choice_fault("motif", name, MOTIFS))
    module, title, extras = MOTIFS[name]
    require(f"motif '{name}'", *extras)
    app = import_module(f"pilotcut.study.motifs.{module}")
    sizes = {"small": app.SMALL, "large": app.LARGE}
    return Motif(name, title, app.RIGHT, app.run, sizes, getattr(app, "PILOTS", ()))
