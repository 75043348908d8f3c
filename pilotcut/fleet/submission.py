"""Submission of work to the devices of a fleet, and the results to come.

Where work runs is a function that is handed in: on pilots (`pilotcut.fleet.fleet.OnPilots`), or in
this process, which is `here`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.fleet.device_jobs import GarbageError


class PendingResult(Protocol):
    """Result to come."""

    def result(self) -> Any:
        """Wait for it, and return it or raise."""
        ...


#: Starts a function of a job on the pilot of a device: (device, function, *arguments).
Submit = Callable[..., PendingResult]


def submitted(
    submit: Submit, device: str, fn: Callable[..., Any], *arguments: Any
) -> PendingResult:
    """Start a device's work; what goes wrong even then is raised by the result.

    So that a device which cannot even be asked is lost in the one way in which devices are lost.
    """
    try:
        return submit(device, fn, *arguments)
    except Exception as error:
        return _Failed(error)


@dataclass(frozen=True)
class Done:
    """Result that is there."""

    value: Any

    def result(self) -> Any:
        """Return it."""
        return self.value


@dataclass(frozen=True)
class _Failed:
    error: Exception

    def result(self) -> Any:
        raise self.error


def here(device: str, fn: Callable[..., Any], *arguments: Any) -> PendingResult:
    """Do the work of any device in this process, at once."""
    return Done(fn(*arguments))


def one_line(error: Exception) -> str:
    """Return what has failed, without the lines of a traceback."""
    (first, *_) = str(error).splitlines() or [""]
    if isinstance(error, (PilotError, TaskError, UserError, GarbageError)):
        return first
    return f"{type(error).__name__}: {first}"
