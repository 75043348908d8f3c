"""What IBM's client can do beside running circuits, against its own classes and doubles of jobs."""

from types import SimpleNamespace
from typing import ClassVar

import pytest
import qiskit_ibm_runtime
from qiskit_ibm_runtime import SamplerV2, Session
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from pilotcut.backends import device_sessions, samplers
from pilotcut.backends.device_client import DeviceClient, QueueView, is_unknown, seconds_of
from pilotcut.backends.device_jobs import DeviceJobs, JobRequest, JobRules
from pilotcut.backends.device_sessions import RuntimeSessions, renewed
from pilotcut.errors import DeviceError
from pilotcut.pilots.description.qpu import QpuDescription

pytestmark = pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated")


def test_local_jobs_cannot_be_fetched_and_local_queues_are_empty():
    client = DeviceClient(SamplerV2(mode=FakeManilaV2()))
    assert client.fetch is None
    assert client.backend.name == "fake_manila"
    assert client.queue() in (None, QueueView(0, 0.0))


def test_a_backend_s_service_fetches_jobs_and_its_status_tells_the_queue():
    service = SimpleNamespace(job=lambda job_id: f"job {job_id}")
    backend = SimpleNamespace(
        target=None, service=service, max_circuits=75, max_shots=2000,
        status=lambda: SimpleNamespace(pending_jobs=7),
    )  # fmt: skip
    client = DeviceClient(SimpleNamespace(backend=lambda: backend))
    assert client.fetch("x") == "job x"
    assert client.queue() == QueueView(7, 21.0)
    assert client.limits() == (75, 2000)
    own = SimpleNamespace(backend=lambda: backend, pending_jobs=lambda: 2, max_shots=100)
    assert DeviceClient(own).queue() == QueueView(2, 6.0)
    assert DeviceClient(own).limits() == (75, 100)


@pytest.mark.parametrize(
    ("usage", "status", "expected"),
    [(3, "done", 3.0), (0, "pending", None), (0, "done", 0.0), (None, "done", None)],
)
def test_a_usage_that_is_not_known_yet_is_none(usage, status, expected):
    metrics = {"usage": {"status": status}}
    assert seconds_of(SimpleNamespace(usage=lambda: usage, metrics=lambda: metrics)) == expected


def test_a_job_that_the_service_does_not_know_is_told_from_trouble():
    assert is_unknown(qiskit_ibm_runtime.exceptions.RuntimeJobNotFound("no such job"))
    assert not is_unknown(qiskit_ibm_runtime.exceptions.IBMRuntimeError("no connection"))


class Remote:
    """A double of the client's `Session`, with a service that knows it."""

    open_ones: ClassVar[dict] = {}

    def __init__(self, backend=None, session_id="s1"):
        self.backend, self.session_id = backend, session_id
        self.open_ones.setdefault(session_id, True)

    @classmethod
    def from_id(cls, session_id, service):
        assert service == "the service"
        return cls(session_id=session_id)

    def status(self):
        return "In progress, accepting new jobs" if self.open_ones[self.session_id] else "Closed"

    def close(self):
        self.open_ones[self.session_id] = False


def test_double_has_the_methods_of_the_client_s_session():
    for name in ("from_id", "status", "close", "session_id"):
        assert hasattr(Session, name)


def test_a_session_is_opened_looked_at_and_closed_by_its_id(monkeypatch):
    monkeypatch.setattr(Remote, "open_ones", {})
    sessions = RuntimeSessions(
        SimpleNamespace(Session=Remote), SimpleNamespace(service="the service")
    )
    session = sessions.open()
    assert sessions.is_open(session)
    sessions.close(session)
    assert not sessions.is_open(session)


@pytest.mark.parametrize("access", ["session", "batch"])
def test_a_sampler_of_a_worker_takes_the_session_that_is_kept_for_its_pilot(monkeypatch, access):
    taken = []
    client = SimpleNamespace(
        **{access.capitalize(): Remote},
        SamplerV2=lambda mode, options: taken.append(mode) or SimpleNamespace(),
    )
    monkeypatch.setattr(samplers, "_imported", lambda *_: client)
    monkeypatch.setattr(
        samplers, "runtime_backend", lambda *_: SimpleNamespace(service="the service")
    )
    monkeypatch.setattr(samplers, "session_of", lambda pilot: f"of {pilot}")
    runtime = {"backend": "ibm_x", "sampler": "SamplerV2"}
    samplers.sampler_of("q", QpuDescription(runtime=runtime, access=access))
    assert [mode.session_id for mode in taken] == ["of q"]


@pytest.mark.parametrize("is_open", [False, True])
def test_another_session_is_asked_for_only_where_the_old_one_has_ended(monkeypatch, is_open):
    asked = []
    monkeypatch.setattr(
        device_sessions, "ask_for_another", lambda pilot, old: asked.append(old) or "s2"
    )
    monkeypatch.setattr(Remote, "open_ones", {"s1": is_open})
    qpu = QpuDescription(runtime={"backend": "ibm_x", "mode": "session"})
    assert renewed("q", qpu, SimpleNamespace(mode=Remote())) is not is_open
    assert asked == ([] if is_open else ["s1"])
    assert not renewed("q", QpuDescription(sampler="m:f"), SimpleNamespace())


def test_a_sampler_that_ends_the_process_is_named(monkeypatch):
    def leaves(*_, **__):
        raise SystemExit("no account")

    jobs = DeviceJobs("lab", JobRules(), lambda: None, lambda _: False)
    request = JobRequest(leaves, lambda: "", 1, 100)
    client = DeviceClient(object())
    with pytest.raises(DeviceError, match=r"^pilot 'lab': SystemExit no account$"):
        jobs.results(
            [request], client, lambda e: DeviceError(f"pilot 'lab': {type(e).__name__} {e}")
        )
