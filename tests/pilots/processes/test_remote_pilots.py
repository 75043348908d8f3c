"""Pilots that other processes use: run, up and down, attach, and who is kept out."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import time

import pytest

from pilotcut import PilotManager, TaskManager, UserError
from pilotcut.errors import PilotError
from pilotcut.pilots import daemon, registry
from pilotcut.pilots import external as attached_pilots
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.manager import RemoteManager
from pilotcut.pilots.pilot import PilotState
from pilotcut.pilots.worker.connection import Connection

LAPTOP = "pilots: [{name: laptop, resource: local, cores_per_node: 1}]\n"

SCRIPT = """
import os
from pilotcut import PilotManager, TaskManager

if __name__ == "__main__":
    with PilotManager.from_environment() as pilots, TaskManager(pilots) as tasks:
        print([p.name for p in pilots.pilots], tasks.submit_task(pow, 2, 5).result(30))
        print(tasks.submit_task(os.getpid).result(30) != os.getpid())
    exit(int(os.environ.get("ENDS_WITH", 0)))
"""


@pytest.fixture(scope="module")
def lender(tmp_path_factory):
    pilot = PilotDescription(name="laptop", resource="local", cores_per_node=1)
    with PilotManager([pilot], run_dir=tmp_path_factory.mktemp("run")) as manager:
        yield manager


def command(*words):
    return [sys.executable, "-m", "pilotcut.cli", *map(str, words)]


def run(*words, **options):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=100, **options)


def test_run_gives_a_script_its_pilots_and_returns_its_exit_status(tmp_path, monkeypatch):
    (tmp_path / "pilots.yaml").write_text(LAPTOP)
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setenv("ENDS_WITH", "7")
    done = run("run", "pilots.yaml", "--", sys.executable, "script.py", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    assert done.stdout == "['laptop'] 32\nTrue\n"


def test_run_ends_well_with_its_command(tmp_path, monkeypatch, call):
    """`true` needs no pilots, which therefore need not be waited for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pilots.yaml").write_text(LAPTOP)
    assert call("run", "pilots.yaml", "--", "true")[0] == 0


def test_run_says_what_cannot_be_run_before_it_starts_pilots(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pilots.yaml").write_text(LAPTOP)
    code, _, err = call("run", "pilots.yaml", "--", "no-such-program")
    assert code == 2
    assert "command is 'no-such-program', which cannot be run" in err
    assert not (tmp_path / "runs").exists()


def test_pilots_stay_up_between_commands_until_down(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pilots.yaml").write_text(LAPTOP)
    run_dir = tmp_path / "runs" / "mine"
    try:
        done = run("pilots", "up", "pilots.yaml", "--run-dir", run_dir, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"export PILOTCUT_CONNECTION={run_dir}/connection.json" in done.stdout
        environment = os.environ | {"PILOTCUT_CONNECTION": str(run_dir / "connection.json")}
        for _ in range(2):
            used = subprocess.run(
                [sys.executable, "-c", SCRIPT],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert used.stdout == "['laptop'] 32\nTrue\n", used.stderr
        _, shown, _ = call("pilots", "status")
        assert "laptop" in shown
        assert "active" in shown
        code, _, err = call("pilots", "up", "pilots.yaml", "--run-dir", run_dir)
        assert code == 2
        assert "already has running pilots" in err
    finally:
        code, _, err = call("pilots", "down")
    assert code == 0, err
    assert not daemon.is_up(run_dir)
    assert [entry.state for entry in registry.read(run_dir / "pilots.json")] == [PilotState.DONE]
    code, _, err = call("pilots", "down")
    assert code == 2
    assert "no pilots are up" in err


def test_pilots_that_do_not_come_up_say_why(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    # Ending the first takes a while, in which the files already say what came of both.
    (tmp_path / "pilots.yaml").write_text(
        "pilots: [{name: a, resource: local},"
        " {name: b, resource: local, setup: ['echo oh no >&2', 'false']}]\n"
    )
    code, _, err = call("pilots", "up", "pilots.yaml")
    assert code == 1
    assert "oh no" in err
    assert "Traceback" not in err


def test_workers_attach_by_the_connection_file_and_leave_again(lender, monkeypatch):
    monkeypatch.setattr(attached_pilots, "EMPTY_S", 2.0)
    words = ("pilots", "attach", "--connection", lender.connection_file, "--name", "byhand")
    attached = subprocess.Popen(
        command(*words, "--workers", 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with TaskManager(lender) as tasks:
            wait_until(lambda: any(p.name == "byhand" and p.slots == 2 for p in lender.pilots))
            future = tasks.submit_task(os.getpid, pilot="byhand")
            assert future.result(60) > 0
            assert future.task.worker.startswith("byhand-")
            attached.terminate()
            assert attached.wait(30) is not None
            (pilot,) = [p for p in lender.pilots if p.name == "byhand"]
            wait_until(lambda: pilot.state is PilotState.DONE, 40)
            assert tasks.submit_task(pow, 2, 3).result(30) == 8
    finally:
        attached.kill()
        attached.wait()


def wait_until(condition, limit_s=30):
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def test_files_that_open_the_door_are_for_their_owner_alone(lender):
    file = lender.connection_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    key = json.loads(file.read_text())["key"]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert key.splitlines()[1] not in listed


def test_nobody_joins_without_the_certificate(lender):
    from distributed import Client

    ours = Connection.read(lender.connection_file)
    other = Connection.fresh().at(ours.address)

    async def connects(address, **options):
        client = Client(address, asynchronous=True, timeout=3, **options)
        try:
            await client
        except (OSError, TimeoutError):
            return False
        await client.close()
        return True

    assert not asyncio.run(connects(ours.address.replace("tls://", "tcp://")))
    assert not asyncio.run(connects(ours.address, security=other.security()))
    assert asyncio.run(connects(ours.address, security=ours.security()))


def test_workers_of_other_versions_are_refused_unless_allowed(lender, tmp_path):
    record = json.loads(lender.connection_file.read_text())
    record["versions"]["qiskit"] = "1.0.0"
    file = tmp_path / "connection.json"
    file.write_text(json.dumps(record))
    words = ("pilots", "attach", "--connection", file, "--name", "odd")
    refused = run(*words)
    assert refused.returncode == 1
    assert "qiskit is 2" in refused.stderr
    assert "here and 1.0.0 at the manager" in refused.stderr
    assert "Traceback" not in refused.stderr
    allowed = subprocess.Popen(
        command(*words, "--allow-version-mismatch"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(p.name == "odd" for p in lender.pilots))
    finally:
        allowed.terminate()
        allowed.wait(30)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist, expected the connection file"), ("{}", "is no connection file")],
)
def test_a_wrong_connection_file_is_one_line(tmp_path, call, content, said):
    file = tmp_path / "connection.json"
    if content is not None:
        file.write_text(content)
    code, _, err = call("pilots", "attach", "--connection", file)
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_a_manager_that_is_gone_is_said_to_be(tmp_path):
    file = tmp_path / "connection.json"
    Connection.fresh().at("tls://127.0.0.1:1").write(file)
    with pytest.raises(PilotError, match=r"no manager answers at tls://127.0.0.1:1"):
        RemoteManager(file).start(timeout_s=3)


def test_a_script_whose_lender_s_pilots_have_failed_is_told_why(tmp_path):
    """And not that there is none."""
    with PilotManager([PilotDescription(name="p", resource="local")], run_dir=tmp_path) as lender:
        lender.pilots[0].move(PilotState.FAILED, "its node burnt down")
        with pytest.raises(PilotError) as error:
            RemoteManager(lender.connection_file).start()
    assert str(error.value).endswith("; pilot 'p' has ended as failed: its node burnt down")


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_a_host_that_is_none_of_this_machine_s_is_one_line(tmp_path, monkeypatch, host):
    """And nothing is left behind."""
    monkeypatch.setenv("PILOTCUT_HOST", host)
    manager = PilotManager([PilotDescription(name="p", resource="local")], run_dir=tmp_path / "x")
    with pytest.raises(UserError, match=f"^PILOTCUT_HOST is '{host}', expected an address or a"):
        manager.start()
    assert manager.pilots[0].state is PilotState.FAILED
    assert not (tmp_path / "x").exists()


def test_without_the_variable_a_script_is_told_how_to_start(monkeypatch):
    monkeypatch.delenv("PILOTCUT_CONNECTION", raising=False)
    with pytest.raises(UserError, match=r"PILOTCUT_CONNECTION is not set.*pilotcut run"):
        PilotManager.from_environment()


@pytest.mark.parametrize(
    "words", [("run", "pilots.yaml", "--", "true"), ("pilots", "up", "pilots.yaml")]
)
def test_pilots_of_this_process_cannot_be_lent(tmp_path, monkeypatch, call, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pilots.yaml").write_text("pilots: [{name: here, resource: inprocess}]\n")
    code, _, err = call(*words)
    assert code == 2
    assert "resource inprocess cannot be lent" in err
