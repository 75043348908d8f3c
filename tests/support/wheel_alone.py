"""The wheel alone: installed in an environment of its own, run in an empty folder.

    python tests/support/wheel_alone.py [PYTHON]         or: make wheel

builds sdist and wheel, installs the wheel's base and says how many packages and bytes that are,
then adds the extras that the README uses and runs each of its commands, a line each: exit code,
seconds. The folder has nothing but circuit files. What needs a cluster, runs that are not there, or
an hour is passed over, and said so.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EXTRAS = "train,report,slurm"

#: What is passed over, and why.
PASSED_OVER = {
    r"slurm_\w+(?!.*show)": "needs Slurm",
    r"\.\.\.|--watch|runs/[AB]\b": "needs a run of yours",
    r"\bstudy\b": "takes from minutes to an hour",
    r"\btrain (digits|mnist)\b": "takes minutes",
    r"\bfleet (train|infer)\b": "takes minutes",
    r"\bPILOTS\b|\bRUN_DIR\b|\bNAME\b": "is a pattern",
}

MOST_S = 240

CIRCUIT = """OPENQASM 2.0; include "qelib1.inc";
qreg q[6]; ry(0.3) q[0]; cx q[0],q[1]; cx q[1],q[2]; ry(0.2) q[2];
cx q[2],q[3]; cx q[3],q[4]; cx q[4],q[5];
"""

SIZE = """
from importlib import metadata
found = [one for one in metadata.distributions() if one.name.lower() not in ("pip", "setuptools")]
files = [file.locate() for one in found for file in one.files or ()]
size = sum(file.stat().st_size for file in files if file.exists())
print(f"{len(found)} packages, {size / 1e6:.0f} MB")
"""


def commands():
    """Return the lines of the README that are commands of ours, joined where they are broken."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```.*?\n(.*?)^```", text, flags=re.M | re.S))
    found = re.findall(r"^ {4}(pilotcut .*)$", text, flags=re.M)
    found += re.findall(r"^(?:\$ )?(pilotcut .*)$", fenced, flags=re.M)
    return [" ".join(line.partition("  #")[0].split()) for line in found]


def installed(python, place, wheel, extras=""):
    """Install the wheel with extras and print what there is then."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    asked = f"{wheel}[{extras}]" if extras else str(wheel)
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", asked], check=True)
    said = subprocess.run(
        [python, "-c", SIZE], check=True, capture_output=True, text=True, cwd=place
    )
    print(f"{f'with [{extras}]' if extras else 'base'}: {said.stdout.strip()}", flush=True)


def run(line, bin_, place):
    """Run a command, print a line about it, and return whether it went well."""
    for pattern, why in PASSED_OVER.items():
        if re.search(pattern, line) and not line.startswith("pilotcut pilots show"):
            print(f"  passed over ({why}): {line}", flush=True)
            return True
    began = time.monotonic()
    command = ["sh", "-c", f"{shlex.quote(str(bin_))}/{line}"]  # a shell's, for runs/*
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=MOST_S)
    print(f"  {done.returncode} {time.monotonic() - began:5.1f} s  {line}", flush=True)
    if done.returncode:
        print(done.stderr[-2000:])
    return done.returncode == 0


def main(python):
    """Build, install and run; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        dist, env, place = (Path(folder) / name for name in ("dist", "env", "empty"))
        place.mkdir()
        (place / "circuit.qasm").write_text(CIRCUIT)
        # A circuit is the user's own file.
        (place / "examples").mkdir()
        shutil.copy(ROOT / "examples" / "ring.qasm", place / "examples")
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = dist.glob("*.whl")
        subprocess.run([python, "-m", "venv", env], check=True)
        bin_ = env / "bin"
        installed(bin_ / "python", place, wheel)
        base = ("plan circuit.qasm --cuts 1", "pilots show laptop", "motif circuits --out runs/c")
        well = [run(f"pilotcut {line}", bin_, place) for line in base]
        installed(bin_ / "python", place, wheel, EXTRAS)
        lines = ["pilotcut report runs/c --out report.html", *commands()]
        well += [run(line, bin_, place) for line in lines]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else sys.executable))
