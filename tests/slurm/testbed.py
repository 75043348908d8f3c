"""The cluster of the tests, and the few words of Slurm that they speak.

`slurm/testbed/slurm-testbed` does the work. Here is decided when: it is installed where
that can be done, started once, and stopped however the tests end.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import apt

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "testbed" / "slurm-testbed"

#: More than the script gives apt-get, so that it is never stopped in the middle of dpkg.
INSTALL_S = 900
PATIENCE_S = 60

_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
_COMMAND_S = 30
#: Waits for a word, or for our death, and stops the cluster.
_GUARD = """
read -r word
"$0" down >&2 || exit
[[ $word == keep ]] || rm -rf "$SLURM_TESTBED_DIR"
echo stopped
"""
#: Settings of somebody else's cluster, or of a job that the tests run in.
_FOREIGN = ("SLURM", "SBATCH", "SRUN", "SALLOC", "SQUEUE", "SINFO", "SCANCEL", "MUNGE", "PILOTCUT")


def why_not():
    """Return why there can be no cluster here, after installing what is missing; or ''."""
    if not (missing := _missing()):
        return ""
    what = f"Slurm is not installed ({', '.join(missing)} missing)"
    if problem := apt.why_not():
        return f"{what}, and {problem}: {SCRIPT.relative_to(ROOT)} install"
    try:
        with apt.alone():  # or another process of the tests has just done it
            done = _testbed("install", seconds=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"{what}, and apt-get did not install it within {INSTALL_S} s"
    return "" if done.returncode == 0 else f"{what}: {' '.join(done.stderr.split())}"


def _missing():
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in _NEEDED if shutil.which(name, path=path) is None]


def is_installed():
    """Return whether nothing has to be installed."""
    return not _missing()


def _testbed(*arguments, seconds=_COMMAND_S, env=None):
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, timeout=seconds, env=env
    )


class Cluster:
    """Nodes cpu1, cpu2 in partition cpu and gpu1, gpu2 in gpu, four CPUs and two GPUs each."""

    def __init__(self):
        # Not below pytest's own directory: the path of a Unix socket is short.
        self.directory = Path(tempfile.mkdtemp(prefix="pilotcut-slurm-", dir="/tmp"))
        self._guard = None
        self._failed = False

    def start(self):
        """Start the daemons; return what went wrong, or ''."""
        own = {"SLURM_TESTBED_DIR": str(self.directory)}
        # The pipe closes when we end, also by SIGKILL. With a parent of its own, the guard
        # outlives also the one who ends all our children.
        self._guard = subprocess.Popen(
            ["setsid", "--fork", "bash", "-c", _GUARD, SCRIPT],
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        done = _testbed("up", "--nodes", "4", seconds=90, env=os.environ | own)
        self._failed = done.returncode != 0
        return " ".join(done.stderr.split()) if self._failed else ""

    def environment(self):
        """Return the variables that lead to this cluster, None for those that must not be set."""
        foreign = {name: None for name in os.environ if name.startswith(_FOREIGN)}
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return foreign | {
            "PYTHONPATH": os.pathsep.join(path),  # the commands are those of this very tree
            "SLURM_CONF": str(self.directory / "slurm.conf"),
            "PILOTCUT_HOST": "127.0.0.1",  # all nodes are this machine
            "PILOTCUT_PYTHON": sys.executable,
        }

    def stop(self):
        """Stop all daemons and jobs; False if something would not die."""
        said, _ = self._guard.communicate("keep\n" if self._failed else "stop\n", PATIENCE_S)
        return said == "stopped\n"


# -- Slurm's own commands --------------------------------------------------------------


def slurm(*command):
    """Return what a command of Slurm prints."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=_COMMAND_S, check=True
    )
    return done.stdout.strip()


def sbatch(*arguments, cwd):
    """Submit a script and return the job's number."""
    done = subprocess.run(
        ["sbatch", "--parsable", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=True,
    )
    return done.stdout.strip()


def jobs():
    """Return the state of every job that is pending or holds nodes, by its number."""
    lines = slurm("squeue", "--noheader", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def state_of(job):
    """Return the state of a job, also after its end."""
    return slurm("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")


def wait_until(condition, seconds=PATIENCE_S, process=None):
    """Return the first true value of `condition()`."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < limit, "it did not happen in time"
        assert process is None or process.poll() is None, "the process ended too early"
        time.sleep(0.05)
    return value
