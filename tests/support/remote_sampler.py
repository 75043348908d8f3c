"""Client of the remote service for tests, and a fixture's way to start it.

`remote(port, device)` is a factory for `qpu: {sampler: "support.remote_sampler:remote"}`.
"""

import http.client
import json
import pickle
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from qiskit.primitives import BaseSamplerV2, BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.providers.fake_provider import GenericBackendV2

NATIVE = ["rz", "sx", "x", "cz"]


class Remote:
    """The service, seen from outside."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._own = threading.local()  # a connection answers one thread

    def ask(self, path: str, body: bytes = b"", headers=None):
        """Return what it answers: bytes, or a mapping without an error."""
        for last in (False, True):
            try:
                if getattr(self._own, "line", None) is None:
                    self._own.line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                self._own.line.request("POST", f"/{path}", body, headers or {})
                content = self._own.line.getresponse().read()
                break
            except (http.client.HTTPException, OSError):
                self._own.line = None
                if last:
                    raise
        if not content.startswith(b"J"):
            return content
        found = json.loads(content[1:])
        if "error" in found:
            raise {"JobNotFound": JobNotFoundError}.get(found["error"], RemoteError)(found["text"])
        return found

    def control(self, **wishes) -> None:
        """Tell it how to behave."""
        self.ask("control", json.dumps(wishes).encode())

    def account(self) -> dict:
        """Return what it has executed, and more."""
        return self.ask("account")

    def paid(self) -> list[str]:
        """Return the contents of jobs that were executed, first jobs of processes apart."""
        return [content for _, content, first in self.account()["executed"] if not first]


class RemoteError(Exception):
    """The service refuses."""


class JobNotFoundError(RemoteError):
    """It knows no such job."""


class RemoteJob:
    """A job at the service."""

    def __init__(self, remote: Remote, job_id: str) -> None:
        self._remote, self._id = remote, job_id

    def job_id(self) -> str:
        return self._id

    def status(self) -> str:
        return self._remote.ask(f"status/{self._id}")["status"]

    def usage(self) -> float:
        return self._remote.ask(f"status/{self._id}")["seconds"]

    def cancel(self) -> None:
        self._remote.ask(f"cancel/{self._id}")

    def result(self) -> PrimitiveResult:
        while isinstance(found := self._remote.ask(f"result/{self._id}"), dict):
            pass
        results = []
        for one in pickle.loads(found):
            bits = {name: BitArray(array, number) for name, (array, number) in one.items()}
            shape = next(iter(bits.values())).shape
            results.append(SamplerPubResult(DataBin(**bits, shape=shape)))
        return PrimitiveResult(results)


class RemoteSampler(BaseSamplerV2):
    """A sampler whose jobs the service runs."""

    def __init__(self, port: int, device: str = "device") -> None:
        self._remote, self._device, self._session = Remote(port), device, None
        self.backend = GenericBackendV2(2, basis_gates=NATIVE, noise_info=False, seed=1)

    def run(self, pubs, *, shots=None):
        content = [
            (circuit, np.zeros((1, 0)) if values is None else values, own or shots)
            for circuit, values, own in pubs
        ]
        headers = {"X-Device": self._device, "X-Key": uuid.uuid4().hex}
        if self._session is not None:
            headers["X-Session"] = self._session
        found = self._remote.ask("submit", pickle.dumps(content), headers)
        return RemoteJob(self._remote, found["id"])

    # What docs/qpus.md says that a sampler may have.

    def job(self, job_id: str) -> RemoteJob:
        job = RemoteJob(self._remote, job_id)
        job.status()  # raises, if there is none
        return job

    def pending_jobs(self) -> int:
        return self._remote.ask(f"queue/{self._device}")["jobs"]

    def predicted_wait_s(self) -> float:
        return self._remote.ask(f"queue/{self._device}")["wait_s"]

    def open_session(self) -> str:
        return self._remote.ask("open")["id"]

    def close_session(self, session: str) -> None:
        self._remote.ask(f"close/{session}")

    def session_is_open(self, session: str) -> bool:
        return self._remote.ask(f"session/{session}")["open"]

    def attach_session(self, session: str) -> None:
        self._session = session


def remote(port: int, device: str = "device") -> RemoteSampler:
    return RemoteSampler(port, device)


def without_jobs(port: int) -> BaseSamplerV2:
    """Return a sampler whose jobs cannot be fetched."""
    sampler = RemoteSampler(port)
    sampler.job = None
    return sampler


class SilentJob(RemoteJob):
    """A job that does not tell its usage."""

    usage = None


def without_usage(port: int) -> BaseSamplerV2:
    """Return a sampler whose jobs do not tell their usage."""
    sampler = RemoteSampler(port)
    run = sampler.run
    sampler.run = lambda pubs, shots=None: SilentJob(
        sampler._remote, run(pubs, shots=shots).job_id()
    )
    return sampler


def without_sessions(port: int) -> BaseSamplerV2:
    """Return a sampler that knows no sessions."""
    sampler = RemoteSampler(port)
    sampler.open_session = None
    return sampler


@contextmanager
def serving(directory: Path):
    """Start the service and yield it; it ends with the block."""
    file = directory / "service.port"
    command = [sys.executable, "-m", "support.remote_device", str(file)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE)
    try:
        limit = time.monotonic() + 60
        while not file.exists():
            assert process.poll() is None, "the service has ended"
            assert time.monotonic() < limit, "the service does not start"
            time.sleep(0.02)
        yield Remote(int(file.read_text()))
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def description(remote: Remote, name: str = "lab", device: str = "device", **qpu) -> dict:
    """Return a pilot whose device is the service's."""
    fields = {
        "sampler": "support.remote_sampler:remote",
        "options": {"port": remote.port, "device": device},
    }
    return {"name": name, "resource": "inprocess", "backend": {"qpu": {**fields, **qpu}}}
