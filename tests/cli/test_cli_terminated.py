"""SIGTERM ends a command as Ctrl-C does; needs no Slurm, other commands stand for it."""

import os
import signal
import subprocess
import sys
import time


def write_command(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_a_job_that_waits_leaves_the_queue_when_the_command_is_terminated(tmp_path):
    """As at the end of the job that the command runs in."""
    called = tmp_path / "called"
    write_command(tmp_path / "sbatch", 'echo "${2#--job-name=}" > "$(dirname "$0")/name"; echo 6')
    name = f"$(cat {tmp_path}/name)"
    line = f"6|PENDING|Resources|N/A|N/A||{os.geteuid()}|{name}"
    write_command(tmp_path / "squeue", f'echo "{line}"')
    write_command(tmp_path / "scancel", f'echo "$@" >> {called}')
    (tmp_path / "pilots.yaml").write_text("pilots: [{name: p, resource: slurm}]\n")
    command = [sys.executable, "-m", "pilotcut.cli", "run", "pilots.yaml", "--run-dir", "run"]
    process = subprocess.Popen(
        [*command, "--", "bash", "-c", "touch started; sleep 60"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PILOTCUT_HOST": "127.0.0.1"},
    )
    limit = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    own = (tmp_path / "name").read_text().strip()
    assert called.read_text() == f"--user={os.geteuid()} --name={own} 6\n"
