"""Two local workers against one, on fragments of 14 qubits.

One worker and two workers take turns on the same batches, one Aer thread each, so that a
drift of the machine hits both. Times are whole estimator calls; spread is min-max.

    python benchmarks/scaleout.py [--rounds 5] [--qubits 28] [--rows 16]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.model import classifier


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--qubits", type=int, default=28)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
    model = classifier(options.qubits)
    values = np.random.default_rng(0).uniform(0, 1.5, (options.rows, len(model.circuit.parameters)))
    pub = (model.circuit, model.observable, values)
    with local(1) as one, local(2) as two, TaskManager(one) as tasks1, TaskManager(two) as tasks2:
        estimators = {
            workers: CutEstimator(tasks, cuts=1, seed=1)
            for workers, tasks in ((1, tasks1), (2, tasks2))
        }
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(options.rounds + 1):
            for workers, estimator in estimators.items():
                started = time.perf_counter()
                estimator.run([pub]).result()
                if turn:  # the first turn imports and compiles on the workers
                    seconds[workers].append(time.perf_counter() - started)
    for workers, taken in seconds.items():
        print(
            f"{workers} worker(s): median {statistics.median(taken):.2f} s, "
            f"spread {min(taken):.2f}-{max(taken):.2f} s"
        )
    ratios = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
    print(f"speed-up: median {statistics.median(ratios):.2f}, {min(ratios):.2f}-{max(ratios):.2f}")


def local(workers: int) -> PilotManager:
    """Return a pilot of worker processes with one thread each."""
    described = PilotDescription(
        name=f"local{workers}", resource="local", cores_per_node=workers, threads_per_worker=1
    )
    return PilotManager([described])


if __name__ == "__main__":
    main()
