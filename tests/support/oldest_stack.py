"""An environment with the oldest versions that setup.cfg allows, to run tests in.

    PYTHONPATH=tests python -m support.oldest_stack [FOLDER]        or: make oldest

makes it in FOLDER (.oldest of the project): of what pilotcut and the extras that are tried need,
and of what runs tests, the oldest releases within the bounds, found by uv. PyPI's torch of that age
brings CUDA along, some 5 GB in all; UV_EXTRA_INDEX_URL may name an index with a CPU build.
"""

import subprocess
import sys
import time
from pathlib import Path

from support import base_install

HERE = base_install.HERE

#: What the tests use, beside the base.
EXTRAS = ("train", "report", "slurm", "ibm")

#: Of the test extra; the others are for tests that the oldest versions are not asked for.
RUNNERS = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist")


def requirements():
    """Return what is installed, each with its lower bound."""
    asked = [*base_install.requirements(*EXTRAS), *base_install.requirements("test")]
    wanted = {one.name for one in base_install.requirements(*EXTRAS)} | {*RUNNERS}
    return list(dict.fromkeys(str(one) for one in asked if one.name in wanted))


def make(place):
    """Make the environment, unless it is complete for these bounds."""
    asked = requirements()
    made, python = place / ".made", place / "bin" / "python"
    if made.exists() and made.read_text().splitlines() == asked:
        return
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, "uv"], check=True)
    install = [place / "bin" / "uv", "pip", "install", "-q", "--resolution", "lowest-direct"]
    subprocess.run([*install, "--python", python, *asked], check=True)
    subprocess.run([*pip, "--no-deps", "-e", HERE], check=True)  # its command is looked up by tests
    made.write_text("\n".join(asked) + "\n")
    print(f"{place}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / ".oldest")
