"""Sessions of devices, in the words of each client: opened, looked at, closed, attached to.

Knows qiskit-ibm-runtime's `Session`, and of other samplers the methods that docs/qpus.md names.
Who keeps a session open is `pilotcut.pilots.worker.sessions`'s affair.
"""

from __future__ import annotations

from typing import Any, Protocol

from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.pilots.worker.sessions import ask_for_another, session_of

#: What a sampler needs for sessions of its own.
METHODS = ("open_session", "close_session", "session_is_open", "attach_session")


#: What `Session.status` of qiskit-ibm-runtime says of one that takes jobs.
TAKING_JOBS = (None, "Pending", "In progress, accepting new jobs")


class SessionClient(Protocol):
    """Opens and closes sessions of one device."""

    def open(self) -> str:
        """Return the id of a new session."""
        ...

    def is_open(self, session: str) -> bool:
        """Return whether a session takes jobs."""
        ...

    def close(self, session: str) -> None:
        """Close a session."""
        ...


class SamplerSessions:
    """Sessions of a sampler with the methods that docs/qpus.md names."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def open(self) -> str:
        """Return the id of a new session."""
        return str(self._sampler.open_session())

    def is_open(self, session: str) -> bool:
        """Return whether a session takes jobs."""
        return bool(self._sampler.session_is_open(session))

    def close(self, session: str) -> None:
        """Close a session."""
        self._sampler.close_session(session)


class RuntimeSessions:
    """Sessions of qiskit-ibm-runtime, or its batches: `kind` is the name of the class."""

    def __init__(self, client: Any, backend: Any, kind: str = "Session") -> None:
        self._client, self._backend, self._kind = client, backend, kind

    def open(self) -> str:
        """Return the id of a new session."""
        return str(getattr(self._client, self._kind)(backend=self._backend).session_id)

    def is_open(self, session: str) -> bool:
        """Return whether a session takes jobs."""
        status = self._client.Session.from_id(session, self._backend.service).status()
        return status in TAKING_JOBS

    def close(self, session: str) -> None:
        """Close a session."""
        self._client.Session.from_id(session, self._backend.service).close()


def attach(pilot: str, sampler: Any) -> None:
    """Attach a sampler to the session that is kept for its pilot, if one is."""
    session = session_of(pilot)
    if session is not None and callable(getattr(sampler, "attach_session", None)):
        sampler.attach_session(session)
        sampler.pilotcut_session = session


def renewed(pilot: str, qpu: QpuDescription, sampler: Any) -> bool:
    """Return whether another session stands in the place of a sampler's, which has ended."""
    if qpu.way not in ("session", "batch"):
        return False
    mode = getattr(sampler, "mode", None)
    old = getattr(sampler, "pilotcut_session", None) or getattr(mode, "session_id", None)
    if old is None:
        return False
    look = getattr(sampler, "session_is_open", None)
    try:
        is_open = look(old) if callable(look) else mode.status() in TAKING_JOBS  # type: ignore[union-attr]
    except Exception:  # then it is not the session that is the trouble
        return False
    return not is_open and ask_for_another(pilot, old) is not None
