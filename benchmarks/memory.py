"""Resident memory of training a 24-qubit circuit as two 12-qubit fragments.

Trains for some steps of batch 4 and samples the resident memory of this process and all
its children ten times a second. A state of the uncut circuit alone is 256 MiB.

    python benchmarks/memory.py [--steps 2] [--workers 0|1|2]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import torch
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from scaleout import local

from pilotcut import CutEstimator, CutGradient, TaskManager
from pilotcut.training.model import classifier


def main() -> None:
    """Train and print the peak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="0: in this process")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        tasks = None
        if options.workers:
            tasks = stack.enter_context(TaskManager(stack.enter_context(local(options.workers))))
        peak = Peak()
        started = time.perf_counter()
        losses = train(CutEstimator(tasks, cuts=1, seed=1), options.steps)
        seconds = time.perf_counter() - started
        print(
            f"24 qubits, fragments of 12, {options.workers or 'no'} worker processes: "
            f"{options.steps} steps of batch 4 in {seconds:.1f} s, losses {losses}, "
            f"peak resident {peak.stop() / 2**30:.2f} GiB over all processes"
        )


def train(estimator: CutEstimator, steps: int) -> list[float]:
    """Take some steps and return the losses."""
    model = classifier(24)
    qnn = EstimatorQNN(
        circuit=model.circuit,
        estimator=estimator,
        observables=model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        gradient=CutGradient(estimator),
        default_precision=None,
    )
    rng = np.random.default_rng(0)
    network = TorchConnector(qnn, initial_weights=rng.uniform(-0.1, 0.1, len(model.weights)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    x = torch.tensor(rng.uniform(0, 1.5, (4, 24)), dtype=torch.float32)
    y = torch.tensor([1.0, -1.0, 1.0, -1.0])
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(network(x).reshape(-1), y)
        loss.backward()
        optimizer.step()
        losses.append(round(float(loss.detach()), 3))
    return losses


class Peak:
    """Samples the resident memory of this process and its children."""

    def __init__(self) -> None:
        self._bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        me = psutil.Process()
        while not self._done.wait(0.1):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
            self._bytes = max(self._bytes, total)

    def stop(self) -> int:
        """Stop sampling and return the peak in bytes."""
        self._done.set()
        self._thread.join()
        return self._bytes


if __name__ == "__main__":
    main()
