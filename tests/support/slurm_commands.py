"""Slurm's commands on a cluster that says what a test tells it to; needs no Slurm."""

import os

NAME = "pilotcut-p-0a1b2c3d"
OURS = os.geteuid()

#: Writes down how it was called, then says what the test has put there.
COMMAND = """#!/bin/bash
printf '%s\\n' "$*" >> '{home}/{name}.called'
env > '{home}/{name}.env'
cat '{home}/{name}.says' 2>/dev/null
cat '{home}/{name}.complains' >&2 2>/dev/null
exit $(cat '{home}/{name}.status' 2>/dev/null || echo 0)
"""


NO_SUCH_JOB = "slurm_load_jobs error: Invalid job id specified\n"


class Commands:
    """Slurm's commands on a cluster that says what it is told to."""

    def __init__(self, home):
        self.home = home
        for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
            self.replace(name, COMMAND.format(home=home, name=name))
        self.let("scontrol", complains=NO_SUCH_JOB, status=1)
        self.let("sacct", complains="Slurm accounting storage is disabled\n", status=1)

    def replace(self, name, text):
        path = self.home / name
        path.write_text(text)
        path.chmod(0o755)

    def let(self, name, says="", complains="", status=0):
        (self.home / f"{name}.says").write_bytes(says if isinstance(says, bytes) else says.encode())
        (self.home / f"{name}.complains").write_text(complains)
        (self.home / f"{name}.status").write_text(str(status))

    def calls(self, name):
        path = self.home / f"{name}.called"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self, name):
        return (self.home / f"{name}.env").read_text().splitlines()


def line(number, *, state="RUNNING", uid=OURS, name=NAME):
    return f"{number}|{state}|None|2026-01-01T00:00:00|2026-01-01T01:00:00|n1|{uid}|{name}\n"
