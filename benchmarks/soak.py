"""Memory and descriptors of manager and scheduler over a long training's many steps.

Exact mode, one local worker, a step of one row of a classifier on 8 qubits with one cut. What
grows with the number of steps is a leak: a training of a night takes millions of them.

    python benchmarks/soak.py [--steps 20000] [--every 1000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.model import classifier


def measures(process: psutil.Process) -> str:
    """Return resident memory and descriptors of a process."""
    return f"{process.memory_info().rss / 2**20:7.1f} MiB {process.num_fds():3d} fds"


def main(steps: int, every: int) -> None:
    """Run the steps; print a line after each `every`."""
    description = PilotDescription(name="p", resource="local", cores_per_node=1)
    model, rng = classifier(8), np.random.default_rng(0)
    with (
        tempfile.TemporaryDirectory() as place,
        PilotManager([description], run_dir=place) as pilots,
        TaskManager(pilots) as tasks,
    ):
        manager, scheduler = psutil.Process(), psutil.Process(pilots.scheduler.pid)
        estimator = CutEstimator(tasks, cuts=1, seed=1)
        began = time.monotonic()
        for step in range(steps + 1):
            if step % every == 0:
                seconds = time.monotonic() - began
                print(
                    f"{step:7,d} {seconds:6.0f} s  manager {measures(manager)}  "
                    f"scheduler {measures(scheduler)}",
                    flush=True,
                )
            row = rng.uniform(0, 1.5, (1, model.circuit.num_parameters))
            estimator.run([(model.circuit, model.observable, row)]).result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=1_000)
    options = parser.parse_args()
    main(options.steps, options.every)
