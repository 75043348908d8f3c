"""Environments with vendors' clients, each with the Qiskit that it wants: made, and found by tests.

    python tests/support/vendor_stacks [FOLDER]        or: make vendors

makes one for each list of versions beside this file, about a minute and half a gigabyte each. Tests
look for them in PILOTCUT_VENDORS, or else in .vendors of the project.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PLACE = Path(os.environ.get("PILOTCUT_VENDORS") or HERE.parents[2] / ".vendors")
NAMES = tuple(sorted(path.stem for path in HERE.glob("*.txt")))


def interpreter(name):
    """Return the interpreter of a vendor's environment."""
    return PLACE / name / "bin" / "python"


def is_made(name):
    """Return whether a vendor's environment is complete."""
    return (PLACE / name / ".made").exists()


def why_not():
    """Return why tests with vendors' clients cannot run, '' if they can."""
    missing = [name for name in NAMES if not is_made(name)]
    return f"no environments of {', '.join(missing)}: make vendors" if missing else ""


def make(name):
    """Make a vendor's environment, unless it is complete."""
    if is_made(name):
        return
    began, place = time.monotonic(), PLACE / name
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    pip = [interpreter(name), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, "-r", HERE / f"{name}.txt"], check=True)
    (place / ".made").touch()
    size = sum(path.lstat().st_size for path in place.rglob("*") if path.is_file())
    print(f"{name}: {time.monotonic() - began:.0f} s, {size / 2**20:.0f} MiB")
