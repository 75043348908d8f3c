"""An environment with the oldest versions that setup.cfg allows, to run tests in.

    python tests/support/oldest_stack.py [FOLDER]        or: make oldest

makes it in FOLDER (.oldest of the project): of what pilotcut needs, of qiskit-ibm-runtime and of
what runs tests, the oldest releases within the bounds, found by uv. PyPI's torch of that age brings
CUDA along, some 5 GB in all; UV_EXTRA_INDEX_URL may name an index with a CPU build.
"""

import configparser
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]

#: Of the test extra; the others are for tests that the oldest versions are not asked for.
RUNNERS = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist")


def requirements():
    """Return what is installed, each with its lower bound."""
    config = configparser.ConfigParser()
    config.read(HERE / "setup.cfg")
    extras = config["options.extras_require"]
    runners = [line for line in _lines(extras["test"]) if re.match(r"[\w.-]+", line)[0] in RUNNERS]
    return [*_lines(config["options"]["install_requires"]), *_lines(extras["ibm"]), *runners]


def _lines(text):
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


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
