"""Extras: packages that not all of pilotcut needs, and what is said where one is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from pilotcut.errors import MissingExtraError

#: Packages of each extra of setup.cfg that something of ours cannot do without, by import name.
EXTRAS: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "train": ("torch", "sklearn", "qiskit_machine_learning"),
    "report": ("bokeh", "jinja2", "matplotlib"),
    "slurm": ("dask_jobqueue",),
    "mpi": ("mpi4py",),
    "tensorboard": ("torch", "tensorboard"),
    "ibm": ("qiskit_ibm_runtime",),
    "addon": ("qiskit_addon_cutting",),
}

#: What packages are called where they are installed from.
_PROJECTS = {"sklearn": "scikit-learn", "jinja2": "Jinja2"}


def has(*extras: str) -> bool:
    """Return whether all that some extras bring is installed."""
    return not any(_lacking(extra) for extra in extras)


def require(what: str, *extras: str) -> None:
    """Return if what some extras bring is installed; nothing is imported.

    Parameters
    ----------
    what
        Who needs it, as the user named it: a command, a class, a mode.
    extras
        Of `EXTRAS`.

    Raises
    ------
    MissingExtraError
        With one line: what is lacking, and what installs it.
    """
    wanted = [extra for extra in extras if _lacking(extra)]
    if not wanted:
        return
    lacking = list(dict.fromkeys(name for extra in wanted for name in _lacking(extra)))
    names = [_PROJECTS.get(name, name.replace("_", "-")) for name in lacking]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    raise MissingExtraError(
        f"{what} needs {listed}, which {'is' if len(names) == 1 else 'are'} not installed; "
        f"pip install 'pilotcut[{','.join(wanted)}]'",
        name=lacking[0],
    )


def _lacking(extra: str) -> list[str]:
    return [name for name in EXTRAS[extra] if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # finders of others may refuse, and modules have no spec
        return False
