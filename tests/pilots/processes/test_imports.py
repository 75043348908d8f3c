"""Imports: what a worker loads to run a plain function, and what `import pilotcut` costs."""

import statistics
import subprocess
import sys
import time

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription

#: What only those tasks load that need it.
HEAVY = {
    "matplotlib",
    "qiskit",
    "qiskit_aer",
    "qiskit_machine_learning",
    "scipy",
    "sklearn",
    "torch",
}

MOST_IMPORT_S = 0.2


def loaded_after(script):
    """Top-level packages in a new interpreter after a script."""
    script += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_worker_that_runs_a_plain_function_loads_nothing_heavy_and_no_manager():
    pilot = PilotDescription(name="here", resource="local")
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        loaded = tasks.submit_task(eval, "set(__import__('sys').modules)").result(60)
    # A worker's process imports its agent's module, so this is asked of agents too.
    assert (HEAVY | {"pydantic"}) & {name.partition(".")[0] for name in loaded} == set()
    ours = {name for name in loaded if name.startswith("pilotcut.")}
    assert "pilotcut.pilots.worker.payload" in ours
    above = ("pilotcut.pilots.manager", "pilotcut.pilots.slurm", "pilotcut.tasks")
    assert [name for name in ours if name.startswith(above)] == []
    below = ("pilotcut.errors", "pilotcut.io", "pilotcut.options", "pilotcut.pilots")
    assert [name for name in ours if not name.startswith(below)] == []


def test_descriptions_and_what_workers_share_load_neither_dask_nor_a_manager():
    for module in ("description", "worker.payload", "mpi.protocol", "pilot"):
        loaded = loaded_after(f"import pilotcut.pilots.{module}")
        assert ({"dask", "distributed"} | HEAVY) & loaded == set()


def test_backends_and_plans_of_workers_load_neither_simulators_nor_optimisers_nor_graphs():
    heavy = "{'qiskit_aer', 'torch', 'scipy.optimize', 'scipy.sparse.csgraph'}"
    script = (
        f"import sys, pilotcut.backends, pilotcut.cutting.plan; print({heavy} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_import_pilotcut_is_quick_and_loads_nothing_heavy():
    assert ({"dask", "distributed"} | HEAVY) & loaded_after("import pilotcut") == set()
    spent = {script: [] for script in ("pass", "import pilotcut")}
    for _ in range(7):
        for script, seconds in spent.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], check=True)
            seconds.append(time.perf_counter() - began)
    empty, ours = (statistics.median(seconds) for seconds in spent.values())
    assert ours - empty < MOST_IMPORT_S
