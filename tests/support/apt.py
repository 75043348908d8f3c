"""Packages of Debian's that tests need, installed by root; other apt-gets are waited for.

apt-get has locks for its lists, its archives and dpkg, and waits by itself for the last alone
(DPkg::Lock::Timeout). Somebody else's apt-get is no reason to do without Slurm or a browser.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

#: How long others are waited for, and how long one apt-get may take.
LOCK_S, COMMAND_S = 300, 600
_PAUSE_S = 1.0
_LOCKED = re.compile(
    "^.*(?:Could not get lock|lock was locked by another process).*$", re.MULTILINE
)


def why_not():
    """Return why nothing can be installed here, or ''."""
    if os.geteuid() != 0:
        return "only root may install it"
    return "" if shutil.which("apt-get") else "there is no apt-get to install it with"


@contextlib.contextmanager
def alone():
    """Let no other process of the tests install anything meanwhile."""
    with (Path(tempfile.gettempdir()) / "pilotcut-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(*packages):
    """Install packages; return what went wrong, or ''."""
    limit = time.monotonic() + LOCK_S
    try:
        # An update that fails for some other source does no harm.
        if (done := _apt_get(limit, "update")).returncode and _LOCKED.search(done.stdout):
            return _in_words(done)
        done = _apt_get(limit, "install", "-y", "--no-install-recommends", *packages)
    except subprocess.TimeoutExpired:
        return f"apt-get did not do it within {COMMAND_S} s"
    return _in_words(done) if done.returncode else ""


def _apt_get(limit, *words):
    """Run apt-get, again and again while somebody else has one of its locks."""
    command = ["apt-get", "-q", "-o", "Acquire::Retries=2", *words]
    english = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    while True:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            env=os.environ | english,
        )
        locked = done.returncode and _LOCKED.search(done.stdout)
        if not locked or time.monotonic() > limit:
            return done
        time.sleep(_PAUSE_S)


def _in_words(done):
    if locked := _LOCKED.search(done.stdout):
        return f"others had the locks of apt-get for more than {LOCK_S} s: {locked[0].strip()}"
    return f"apt-get failed: {' '.join(done.stdout.split())[-300:]}"
