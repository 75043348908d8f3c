"""A remote service of quantum jobs for tests: a process on loopback, with a queue and accounts.

    python -m support.remote_device STATE_FILE

It writes its address into the file and lives as long as its stdin. Jobs come as pickles of PUBs,
from our own client alone (`support.remote_sampler`). Other users' jobs stand in its queue; it
limits what a job may hold, fails on demand, keeps sessions, and writes down what it has executed,
which is what is paid.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import qiskit.circuit  # before threads unpickle circuits, which would import it

assert qiskit

STARTED = time.monotonic()


@dataclass
class Job:
    """A job of ours, or of another user (without content)."""

    id: str
    payload: bytes = b""
    session: str | None = None
    device: str = "device"
    status: str = "QUEUED"
    result: bytes = b""
    error: str = ""
    seconds: float = 0.0
    asked: int = 0
    trouble: str = ""
    key: str = ""
    first: bool = False  # a device's first job


@dataclass
class Service:
    """State of the service; one lock guards all of it."""

    limits: dict = field(default_factory=dict)
    jobs: dict = field(default_factory=dict)
    queues: dict = field(default_factory=dict)
    sessions: dict = field(default_factory=dict)  # id: jobs left before it expires, -1 for closed
    troubles: deque = field(default_factory=deque)
    executed: list = field(default_factory=list)  # (job id, hash of each circuit and shots)
    events: list = field(default_factory=list)
    keys: dict = field(default_factory=dict)
    most_in_flight: int = 0
    hold: str = ""  # "queries": nothing of ours is executed but first jobs
    job_s: float = 0.0  # that other users' jobs take
    expires_after: int = 10**9
    lock: threading.Condition = field(default_factory=threading.Condition)
    count: int = 0

    def new_id(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    # -- what is asked ------------------------------------------------------------------

    def control(self, body: dict) -> dict:
        with self.lock:
            for name in ("limits", "hold", "job_s", "expires_after"):
                if name in body:
                    setattr(self, name, body[name])
            if "troubles" in body:
                self.troubles = deque(body["troubles"])
            for device, number in body.get("others", {}).items():
                queue = self.queues.setdefault(device, deque())
                others = [job for job in queue if not job.payload]
                for job in others[number:]:
                    queue.remove(job)
                for _ in range(number - len(others)):
                    queue.appendleft(Job(self.new_id("other"), device=device))
            self.lock.notify_all()
        return {}

    def account(self) -> dict:
        with self.lock:
            return {
                "executed": self.executed,
                "sessions": self.sessions,
                "events": self.events,
                "most_in_flight": self.most_in_flight,
                "jobs": {job.id: job.status for job in self.jobs.values()},
                "uptime_s": time.monotonic() - STARTED,
            }

    def submit(self, headers, payload: bytes) -> dict:
        device, session = headers["X-Device"], headers.get("X-Session")
        with self.lock:
            if (key := headers["X-Key"]) in self.keys:  # the same submission, sent again
                return {"id": self.keys[key]}
            trouble = self.troubles.popleft() if self.troubles else ""
            if trouble == "refused":
                return {"error": "ServiceError", "text": "503 come back later"}
            if session is not None and self.sessions.get(session, -1) <= 0:
                return {"error": "SessionClosed", "text": f"session {session} is closed"}
            if fault := self.fault_of(payload, device):
                return {"error": "LimitError", "text": fault}
            first = is_first(pickle.loads(payload))
            if first and trouble:  # troubles are for what follows
                self.troubles.appendleft(trouble)
                trouble = ""
            job = Job(self.new_id("job"), payload, session, device, "QUEUED", trouble=trouble)
            job.key, job.first = key, first
            self.keys[key] = job.id
            if session is not None:
                self.sessions[session] -= 1
            if trouble == "lost":
                return {"id": job.id}
            self.jobs[job.id] = job
            flying = [j for j in self.jobs.values() if j.status in ("QUEUED", "RUNNING")]
            self.most_in_flight = max(self.most_in_flight, len(flying))
            self.queues.setdefault(device, deque()).append(job)
            self.lock.notify_all()
            return {"id": job.id}

    def fault_of(self, payload: bytes, device: str) -> str:
        pubs = pickle.loads(payload)
        circuits = sum(np.atleast_2d(values).shape[0] for _, values, _ in pubs)
        shots = {shots for *_, shots in pubs}
        limits = self.limits
        if len(shots) > 1:
            return f"unequal shots {shots}"
        flying = [j for j in self.jobs.values() if j.status in ("QUEUED", "RUNNING")]
        found = {
            "circuits": circuits,
            "shots": max(shots),
            "executions": circuits * max(shots),
            "jobs": len([j for j in flying if j.device == device]) + 1,
        }
        return "; ".join(
            f"{found[name]} {name}, at most {most}"
            for name, most in limits.items()
            if found[name] > most
        )

    def status(self, job_id: str) -> dict:
        with self.lock:
            job = self.jobs.get(job_id)
            if job is None:
                return {"error": "JobNotFound", "text": f"no job {job_id}"}
            return {"status": job.status, "seconds": job.seconds}

    def cancel(self, job_id: str) -> dict:
        with self.lock:
            job = self.jobs.get(job_id)
            endless = job is not None and job.status == "RUNNING" and job.trouble == "endless"
            if endless or (job is not None and job.status == "QUEUED"):
                job.status = "CANCELLED"
                if not endless:
                    self.queues[job.device].remove(job)
                self.events.append(f"cancelled {job_id}")
            return {}

    def result(self, job_id: str) -> bytes | dict:
        with self.lock:
            job = self.jobs.get(job_id)
            if job is None:
                return {"error": "JobNotFound", "text": f"no job {job_id}"}
            self.lock.wait_for(lambda: job.status not in ("QUEUED", "RUNNING"), timeout=1.0)
            if job.status in ("QUEUED", "RUNNING"):
                return {"wait": True}
            if job.status != "DONE":
                return {"error": "JobFailed", "text": job.error or f"{job_id} is {job.status}"}
            job.asked += 1
            if job.trouble == "half" and job.asked == 1:
                return pickle.dumps(pickle.loads(job.result)[: len(pickle.loads(job.result)) // 2])
            if job.trouble == "broken" and job.asked == 1:
                return {"error": "ConnectionLost", "text": "the line broke"}
            return job.result

    def session(self, job_or_id: str, action: str) -> dict:
        with self.lock:
            if action == "open":
                new = self.new_id("session")
                self.sessions[new] = self.expires_after
                self.events.append(f"opened {new}")
                return {"id": new}
            if action == "close":
                self.sessions[job_or_id] = -1
                self.events.append(f"closed {job_or_id}")
            return {"open": self.sessions.get(job_or_id, -1) > 0}

    def queue(self, device: str) -> dict:
        with self.lock:
            waiting = len(self.queues.get(device, ()))
            return {"jobs": waiting, "wait_s": waiting * self.job_s}

    # -- the machine ---------------------------------------------------------------------

    def serve(self) -> None:
        while True:
            with self.lock:
                self.lock.wait_for(self._next, timeout=1.0)
                job = self._next()
                if job is None:
                    continue
                self.queues[job.device].remove(job)
                job.status = "RUNNING"
            if job.trouble == "endless":
                continue
            if not job.payload:
                time.sleep(self.job_s)
                continue
            self._execute(job)

    def _next(self):
        for queue in self.queues.values():
            for job in queue:
                if not job.payload:
                    if self.job_s >= 10.0:  # such a user's job holds the device up
                        break
                    return job
                if job.trouble == "stuck" or (self.hold and not job.first):
                    continue
                return job
        return None

    def _execute(self, job: Job) -> None:
        if job.trouble == "failed":
            with self.lock:
                job.status, job.error = "ERROR", "calibration in progress"
                self.lock.notify_all()
            return
        pubs = pickle.loads(job.payload)
        found = sampled(pubs)
        seconds = sum(np.atleast_2d(v).shape[0] * shots for _, v, shots in pubs) * 1e-4
        with self.lock:
            job.result, job.seconds, job.status = pickle.dumps(found), seconds, "DONE"
            self.executed.append((job.id, content_of(job.payload), job.first))
            self.lock.notify_all()


def is_first(pubs) -> bool:
    """Whether it is a device's first job, which each process pays."""
    return all(circuit.cregs[0].name == "first" for circuit, *_ in pubs)


def content_of(payload: bytes) -> str:
    found = hashlib.sha256()
    for circuit, values, shots in pickle.loads(payload):
        steps = [
            (s.name, [circuit.find_bit(b).index for b in (*s.qubits, *s.clbits)], str(s.params))
            for s in circuit.data
        ]
        found.update(repr((steps, np.asarray(values).tolist(), shots)).encode())
    return found.hexdigest()[:16]


def sampled(pubs) -> list[dict[str, tuple[np.ndarray, int]]]:
    """Return packed bits of each PUB's registers."""
    return [_on_one_qubit(*pub) or _by_aer(*pub) for pub in pubs]


def _on_one_qubit(circuit, values, shots):
    """Return the same of a circuit with one gate after the other and one measurement at its end.

    Aer takes 2 ms for each, which is what most of the tests' circuits are.
    """
    *gates, last = circuit.data
    used = {qubit for step in circuit.data for qubit in step.qubits}
    if len(used) != 1 or last.name != "measure" or circuit.num_clbits != 1:
        return None
    if any(step.clbits for step in gates):
        return None
    rng = np.random.default_rng()
    shape = (len(values),) if circuit.parameters else ()
    ones = []
    for row in np.atleast_2d(values):
        state = np.array([1.0, 0.0])
        bound = circuit.assign_parameters(row) if circuit.parameters else circuit
        for step in bound.data[:-1]:
            state = step.operation.to_matrix() @ state
        ones.append(rng.random(shots) < abs(state[1]) ** 2)
    bits = np.array(ones, dtype=np.uint8).reshape(*shape, shots, 1)
    return {circuit.cregs[0].name: (bits, 1)}


def _by_aer(circuit, values, shots):
    from qiskit_aer.primitives import SamplerV2

    bound = (circuit, values if circuit.parameters else None, shots)
    (result,) = SamplerV2().run([bound]).result()
    return {name: (bits.array, bits.num_bits) for name, bits in result.data.items()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    service = Service()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action, _, what = self.path.strip("/").partition("/")
        service = self.service
        answers = {
            "control": lambda: service.control(json.loads(body)),
            "account": service.account,
            "submit": lambda: service.submit(self.headers, body),
            "status": lambda: service.status(what),
            "cancel": lambda: service.cancel(what),
            "result": lambda: service.result(what),
            "queue": lambda: service.queue(what),
            "open": lambda: service.session(what, "open"),
            "close": lambda: service.session(what, "close"),
            "session": lambda: service.session(what, "look"),
        }
        found = answers[action]()
        content = found if isinstance(found, bytes) else b"J" + json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    for work in (server.serve_forever, Handler.service.serve):
        threading.Thread(target=work, daemon=True).start()
    path = Path(sys.argv[1])
    path.with_suffix(".partial").write_text(str(server.server_address[1]))
    path.with_suffix(".partial").rename(path)
    sys.stdin.read()


if __name__ == "__main__":
    main()
