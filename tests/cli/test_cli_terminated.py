"""SIGTERM ends a command as Ctrl-C does; needs no Slurm, other commands stand for it."""

import os
import signal
import subprocess
import sys
import time


def write_command(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_a_command_says_what_its_job_waits_for_and_takes_it_from_the_queue_when_terminated(
    tmp_path,
):
    """As at the end of the job that the command runs in, where its output is a file."""
    called = tmp_path / "called"
    here = '"$(dirname "$0")"'
    write_command(
        tmp_path / "sbatch", f'echo "${{2#--job-name=}}" > {here}/name; env > {here}/env; echo 6'
    )
    name = f"$(cat {tmp_path}/name)"
    line = f"6|PENDING|Resources|N/A|N/A||{os.geteuid()}|{name}"
    write_command(tmp_path / "squeue", f'echo "{line}"')
    write_command(tmp_path / "scancel", f'echo "$@" >> {called}')
    (tmp_path / "pilots.yaml").write_text("pilots: [{name: p, resource: slurm}]\n")
    command = [sys.executable, "-m", "pilotcut.cli", "run", "pilots.yaml", "--run-dir", "run"]
    said = tmp_path / "said"
    process = subprocess.Popen(
        [*command, "--", "bash", "-c", "touch started; sleep 60"],
        cwd=tmp_path,
        stderr=said.open("w"),
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PILOTCUT_HOST": "127.0.0.1"}
        | {"SLURM_MEM_PER_CPU": "100", "SBATCH_TIMELIMIT": "5"},  # of a job that it runs in
    )
    limit = time.monotonic() + 60
    told = "pilot 'p': job 6: waiting for nodes to become free"
    while told not in said.read_text() or not (tmp_path / "started").exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert "pilot 'p': sbatch is not given SBATCH_TIMELIMIT=5 (the des" in said.read_text()
    assert not [v for v in (tmp_path / "env").read_text().split() if v.startswith("SLURM_MEM")]
    assert "SBATCH" not in (tmp_path / "env").read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    own = (tmp_path / "name").read_text().strip()
    assert called.read_text() == f"--user={os.geteuid()} --name={own} 6\n"
