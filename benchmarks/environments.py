"""Environments of their own for packages that do not go together with ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Where they are kept unless told: they are made once.
HOME = Path.home() / ".cache"


def python_with(environment: Path, packages: Sequence[str]) -> str:
    """Return the Python of an environment, which is made with pinned packages if there is none."""
    python, done = environment / "bin" / "python", environment / "installed"
    wanted = "\n".join(packages)
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages]
        subprocess.run([str(python), *install], check=True)
        done.write_text(wanted)
    return str(python)
