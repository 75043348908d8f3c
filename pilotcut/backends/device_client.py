"""What a vendor's client can do beside running circuits: fetch a job, tell its queue and limits.

Each is optional, and asked for by the name that Qiskit's own clients have for it. A sampler of a
user's may have the same methods, see docs/qpus.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qiskit.providers import BackendV2

#: Predicted seconds of a job ahead of ours, where only their number is told.
JOB_S = 3.0

#: How jobs end that have no result, in the words of all clients.
FAILED = frozenset({"ERROR", "FAILED", "CANCELLED", "CANCELED"})
QUEUED = frozenset({"INITIALIZING", "QUEUED", "VALIDATING", "PENDING"})
RUNNING = frozenset({"RUNNING", "PROCESSING"})


@dataclass(frozen=True)
class QueueView:
    """A device's queue as its client tells it.

    Parameters
    ----------
    jobs
        Jobs that wait.
    wait_s
        Seconds that a new one is predicted to wait.
    """

    jobs: int
    wait_s: float


class DeviceClient:
    """What is known of a device beside results.

    Parameters
    ----------
    opened
        The sampler or the backend.
    """

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    @property
    def backend(self) -> Any:
        """The backend behind it, None where it shows none."""
        if isinstance(self._opened, BackendV2):
            return self._opened
        found = getattr(self._opened, "backend", None)
        return found() if callable(found) and not hasattr(found, "target") else found

    @property
    def fetch(self) -> Callable[[str], Any] | None:
        """What returns a job by its id; None if jobs cannot be fetched again."""
        own = getattr(self._opened, "job", None)
        if callable(own):
            return own
        # IBM's: their local jobs have a service that keeps none.
        service = getattr(self.backend, "service", None)
        found = getattr(service, "job", None)
        return found if callable(found) else None

    def limits(self) -> tuple[int | None, int | None]:
        """Return the most circuits and the most shots of a job, where the client tells them."""
        places = (self._opened, self.backend)
        return _told(places, "max_circuits"), _told(places, "max_shots")

    def queue(self) -> QueueView | None:
        """Return the queue, None where nothing tells it."""
        pending = getattr(self._opened, "pending_jobs", None)
        try:
            if callable(pending):
                jobs = pending()
            else:
                status = getattr(self.backend, "status", None)
                jobs = getattr(status(), "pending_jobs", None) if callable(status) else None
            if jobs is None:
                return None
            predicted = getattr(self._opened, "predicted_wait_s", None)
            wait_s = predicted() if callable(predicted) else None
            return QueueView(int(jobs), float(jobs * JOB_S if wait_s is None else wait_s))
        except Exception:  # a queue that cannot be read is no reason not to try
            return None


def _told(places: tuple[Any, ...], name: str) -> int | None:
    for place in places:
        found = getattr(place, name, None)
        if isinstance(found, int) and found > 0:
            return found
    return None


def status_of(job: Any) -> str:
    """Return a job's status in capital letters, "" if it does not tell."""
    try:
        status = job.status()
    except Exception:
        return ""
    return str(getattr(status, "name", status)).upper()


def job_id_of(job: Any) -> str | None:
    """Return a job's id, None if it has none."""
    try:
        found = job.job_id()
    except Exception:
        return None
    return found if isinstance(found, str) and found else None


def seconds_of(job: Any) -> float | None:
    """Return the seconds of the device that a job says it has taken, None if it does not."""
    usage = getattr(job, "usage", None)
    try:
        found = usage() if callable(usage) else None
        metrics = getattr(job, "metrics", None)
        if found == 0 and callable(metrics) and _is_pending(metrics()):
            return None
        return None if found is None else float(found)
    except Exception:  # what it cost is no reason to lose a result
        return None


def _is_pending(metrics: Mapping[str, Any]) -> bool:
    """Return whether a usage of 0 is one that is not known yet, as IBM's jobs have it."""
    return bool(metrics.get("usage", {}).get("status", "pending") == "pending")


def is_unknown(error: BaseException) -> bool:
    """Return whether an exception says that the service knows no such job."""
    return isinstance(error, LookupError) or "NotFound" in type(error).__name__
