"""What it takes to join a manager, and how those who joined end; see also test_remote_pilots."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.security import Security

from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.worker.connection import Connection
from pilotcut.tasks import TaskManager

PATIENCE_S = 60


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Return a running manager with one local worker."""
    run_dir = tmp_path_factory.mktemp("host") / "run"
    description = PilotDescription(name="local", resource="local")
    with PilotManager([description], run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        yield SimpleNamespace(
            pilots=pilots,
            tasks=tasks,
            run_dir=run_dir,
            connection=Connection.read(pilots.connection_file),
            processes=[],
        )


def is_refused(address, security=None):
    try:
        Client(address, security=security, timeout=2, set_as_default=False).close()
    except OSError:
        return True
    return False


def attach(connection_file, *options):
    command = [sys.executable, "-m", "pilotcut.cli", "pilots", "attach"]
    return subprocess.Popen(
        [*command, "--connection", str(connection_file), *map(str, options)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )


@contextmanager
def attached(host, connection_file, *options):
    """Attach a pilot, and yield it once the manager uses it."""
    known = {pilot.name for pilot in host.pilots.pilots}
    process = attach(connection_file, *options)
    host.processes.append(process)
    try:
        limit = time.monotonic() + PATIENCE_S
        while not (new := [p for p in host.pilots.pilots if p.name not in known]):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < limit
            time.sleep(0.05)
        yield new[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def test_the_key_is_in_one_file_and_on_no_command_line(host):
    key = host.connection.key.splitlines()[1]
    files = [path for path in host.run_dir.rglob("*") if path.is_file()]
    assert [p for p in files if key in p.read_text()] == [host.pilots.connection_file]
    lines = [entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert not any(key.encode() in read_if_there(line) for line in lines)
    assert key not in repr(host.connection)


def read_if_there(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_whoever_shows_no_certificate_is_refused(host):
    # Not with dask's client, which would refuse to try.
    context = ssl.create_default_context(cadata=host.connection.certificate)
    context.check_hostname = False
    where = parse_host_port(parse_address(host.connection.address)[1])

    def listen():
        with (
            socket.create_connection(where, timeout=5) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            return encrypted.recv(1)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        listen()


def test_a_client_that_trusts_us_but_has_another_certificate_is_refused(host):
    other = Connection.fresh()
    stranger = Security(
        require_encryption=True,
        tls_ca_file=host.connection.certificate,
        tls_client_cert=other.certificate,
        tls_client_key=other.key,
    )
    assert is_refused(host.connection.address, stranger)


def test_workers_that_are_attached_have_the_threads_asked_for(host):
    options = ["--name", "broad", "--workers", "1", "--threads", "2"]
    with attached(host, host.pilots.connection_file, *options) as pilot:
        future = host.tasks.submit_task(os.getenv, "OMP_NUM_THREADS", pilot=pilot.name)
        assert future.result(PATIENCE_S) == "2"


def test_a_manager_that_is_gone_is_told_in_one_line(host, tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")  # not 30 s
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    host.connection.at(f"tls://127.0.0.1:{port}").write(tmp_path / "connection.json")
    process = attach(tmp_path / "connection.json")
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    told = err.splitlines()[-1]  # behind what dask's nanny says
    assert told.startswith("failed: the manager ")
    assert "cannot be joined" in told
    assert "Traceback" not in err


def test_workers_end_with_their_manager(host):  # the last test: it ends the manager of all
    with attached(host, host.pilots.connection_file, "--workers", "1") as pilot:
        process = host.processes[-1]
        assert pilot.name == f"process-{process.pid}"
        host.tasks.close()
        host.pilots.close()
        assert process.wait(20) == 0
    assert not host.pilots.connection_file.exists()
