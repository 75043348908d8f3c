"""Environments of their own for packages that do not go together with ours."""

from __future__ import annotations

import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Where they are kept unless told: they are made once.
HOME = Path.home() / ".cache"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def python_with(environment: Path, packages: Sequence[str]) -> str:
    """Return the Python of an environment, which is made with pinned packages if there is none."""
    return _made(environment, packages, packages)


def python_beside(environment: Path, packages: Sequence[str]) -> str:
    """Return the Python of an environment that has ours too, and adds packages to them.

    What they need is taken in the versions of `constraints.txt`; ours stays as it is.
    """
    ours = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    install = ["-c", str(CONSTRAINTS), *packages]
    return _made(environment, packages, install, beside="\n".join(ours))


def _made(
    environment: Path, packages: Sequence[str], install: Sequence[str], beside: str = ""
) -> str:
    python, done = environment / "bin" / "python", environment / "installed"
    wanted = "\n".join([*packages, beside])
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        if beside:
            (folder,) = environment.glob("lib/python*/site-packages")
            (folder / "beside.pth").write_text(beside + "\n")
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *install], check=True)
        done.write_text(wanted)
    return str(python)
