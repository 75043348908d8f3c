"""Exceptions, by whose doing they are.

A `UserError` is a mistake that the user can mend: its text is one line (or one
line per fault) that says where, what was found, what was expected and the next
move. The command line prints it and exits with 2; nothing above ever shows a
traceback for it. `TaskError` and `PilotError` are what happened on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """Mistake of the user's, with a line for each fault.

    Parameters
    ----------
    faults
        One line, or several when a description has several faults at once.
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class MissingExtraError(UserError, ModuleNotFoundError):
    """Package that is not installed, and the extra of pilotcut that brings it.

    Also an ImportError, as those expect who can do without.

    Parameters
    ----------
    faults
        One line.
    name
        The package, as it is imported.
    """

    def __init__(self, faults: str | Sequence[str], *, name: str | None = None) -> None:
        super().__init__(faults)
        self.name = name


class DescriptionError(UserError):
    """Pilot description that cannot be read or does not make sense."""


class CircuitFileError(UserError):
    """File that holds no circuit that can be cut."""


class DrawingError(UserError):
    """Drawing that cannot be written where it is wanted."""


class DeviceError(UserError):
    """Device that returns nothing, or what cannot be the results of its circuits."""


class QueueWaitError(DeviceError):
    """Jobs that stood in a device's queue for too long, and have been cancelled, all of them."""


class UsageError(UserError):
    """Seconds of devices that are used up, or would be by the next batch."""


class CutError(UserError):
    """Circuit that cannot be cut as asked."""


class ObservableError(UserError):
    """Observable that does not fit its circuit or is not a real sum of Paulis."""


class ParameterValueError(UserError):
    """Parameter values that are missing, of the wrong shape or not finite."""


class DataError(UserError):
    """Data set that is unknown, missing or unreadable."""


class RunDirectoryError(UserError):
    """Run directory that cannot be used as asked."""


class SharedFaultError(UserError):
    """Mistake that all MPI ranks know of, so that none waits for another."""


class LongCallWarning(UserWarning):
    """Call that is predicted to take minutes or more, said before it starts."""


class ManyJobsWarning(UserWarning):
    """Limits of a device that make very many jobs of what could be few."""


class TaskError(RuntimeError):
    """Task that failed for good; the worker's traceback, if there is one, is a note of it."""


class PilotError(RuntimeError):
    """Pilot that could not be started, or was lost and could not be replaced."""


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise an error of ours as itself where a library between has put its own around it.

    Qiskit Machine Learning says "Estimator job failed" of whatever goes wrong in a backward pass.
    """
    try:
        yield
    except Exception as error:
        inner = error.__cause__
        while inner is not None and not isinstance(inner, (UserError, TaskError, PilotError)):
            inner = inner.__cause__
        if inner is None or isinstance(error, (UserError, TaskError, PilotError)):
            raise
        raise inner from inner.__cause__
