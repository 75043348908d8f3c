"""Debian's Open MPI for tests, beside the wheel of MPICH that is a part of the test extra.

Installed like Slurm (`tests/slurm/testbed.py`): by root on Debian, else tests skip and say why;
`kinds.py` says when they must not.
"""

import shutil
from pathlib import Path

from support import apt

#: The second is for Slurm: its plugin pmix opens libpmix.so, which is for developers to Debian.
PACKAGES = ("openmpi-bin", "libpmix-dev")


def is_installed():
    """Return whether nothing has to be installed."""
    has_pmix = any(Path("/usr/lib").glob("*/pmix2/lib/libpmix.so"))
    return shutil.which("mpiexec.openmpi") is not None and has_pmix


def why_not():
    """Return why there can be no Open MPI here, after installing what is missing; or ''."""
    if is_installed():
        return ""
    problem = apt.why_not()
    if not problem:
        with apt.alone():  # or another process of the tests has just done it
            problem = "" if is_installed() else apt.install(*PACKAGES)
    return f"Open MPI is not installed, and {problem}" if problem else ""
