"""Data-parallel training: seconds of an epoch with one and two replicas against a plain loop.

ZFeatureMap + RealAmplitudes(reps=1), mean of <Z> over all qubits, one cut, exact mode, Adam, one
thread a process. The plain loop runs in this process; replicas are local worker processes, or the
ranks of an MPI pilot that add up gradients by an all-reduce. All take turns, epoch by epoch, and go
on training the same model. The last lines are the losses of the three schedules after the same
number of samples, from the same weights.

    python benchmarks/data_parallel.py [--rounds 5] [--qubits 28] [--rows 64] [--batch 32]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from qiskit.quantum_info import SparsePauliOp
from scaleout import local

from pilotcut import PilotManager, TaskManager, cut_qnn
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.model import classifier
from pilotcut.training.parallel import BoundedStaleness, DataParallel, LocalSteps, Synchronous

Data = tuple[torch.Tensor, torch.Tensor]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--qubits", type=int, default=28)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=5, help="of the comparison of losses")
    options = parser.parse_args()
    if min(options.rounds, options.batch, options.epochs) < 1 or options.rows < options.batch:
        parser.error("rounds, batch and epochs are numbers from 1 up, rows at least a batch")
    if options.qubits < 2:
        parser.error("qubits is a number from 2 up, to have something to cut")
    build, data = functools.partial(network, options.qubits), samples(options.qubits, options.rows)
    mpi = PilotManager([PilotDescription(name="mpi", resource="local", ranks=2)])
    with (
        local(1) as one,
        local(2) as two,
        mpi,
        TaskManager(one) as tasks1,
        TaskManager(two) as tasks2,
        TaskManager(mpi) as ranks,
    ):
        time_epochs(build, data, options, tasks1, tasks2, ranks)
        compare_losses(build, data, options, tasks2)


def network(qubits: int) -> torch.nn.Module:
    """Return the network, cut once."""
    model = classifier(qubits)
    weights = np.random.default_rng(1).uniform(-1, 1, len(model.weights))
    return cut_qnn(
        model.circuit,
        mean_of_z(qubits),
        input_params=model.inputs,
        weight_params=model.weights,
        cuts=1,
        initial_weights=weights,
    ).double()


def mean_of_z(qubits: int) -> SparsePauliOp:
    """Return an observable that, other than <Z...Z>, does not vanish on many qubits."""
    places = [("Z", [qubit], 1 / qubits) for qubit in range(qubits)]
    return SparsePauliOp.from_sparse_list(places, qubits)


def samples(qubits: int, rows: int) -> Data:
    """Return inputs, and as labels what a network of other weights says of them."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.uniform(0, 1.5, (rows, qubits)))
    teacher = network(qubits)
    with torch.no_grad():
        teacher.weights.copy_(torch.tensor(rng.uniform(-1, 1, len(teacher.weights))))
        return x, teacher(x)


def time_epochs(
    build: Callable[[], torch.nn.Module],
    data: Data,
    options: argparse.Namespace,
    tasks1: TaskManager,
    tasks2: TaskManager,
    ranks: TaskManager,
) -> None:
    """Print seconds of an epoch for each way to run one."""
    epochs = {
        "plain loop": plain_loop(build, data, options.batch),
        "1 replica": replicated(build, data, options.batch, tasks1, 1),
        "2 replicas": replicated(build, data, options.batch, tasks2, 2),
        "2 ranks, allreduce": on_ranks(build, data, options.batch, ranks),
        "2, local steps 4": replicated(build, data, options.batch, tasks2, 2, LocalSteps(4)),
        "2, staleness 1": replicated(build, data, options.batch, tasks2, 2, BoundedStaleness(1)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(options.rounds + 1):
        for name, epoch in epochs.items():
            started = perf_counter()
            epoch()
            if turn:  # the first builds and compiles, here and on the workers
                seconds[name].append(perf_counter() - started)
    print(f"{options.qubits} qubits, 1 cut, {options.rows} rows in batches of {options.batch}")
    print(f"{'epoch':18} {'median s':>9} {'min-max s':>15} {'speed-up':>9} {'min-max':>11}")
    for name, taken in seconds.items():
        gains = [plain / own for plain, own in zip(seconds["plain loop"], taken, strict=True)]
        print(
            f"{name:18} {statistics.median(taken):9.3f} {min(taken):7.3f}-{max(taken):7.3f} "
            f"{statistics.median(gains):9.2f} {min(gains):5.2f}-{max(gains):5.2f}"
        )


def plain_loop(
    build: Callable[[], torch.nn.Module], data: Data, batch: int
) -> Callable[[], object]:
    """Return what runs an epoch as one would write it without any of this."""
    (x, y), model = data, build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

    def epoch() -> None:
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()

    return epoch


def replicated(
    build: Callable[[], torch.nn.Module],
    data: Data,
    batch: int,
    tasks: TaskManager,
    replicas: int,
    schedule: Synchronous | LocalSteps | BoundedStaleness = Synchronous(),  # noqa: B008  (frozen)
) -> Callable[[], object]:
    """Return what runs an epoch with replicas."""
    trainer = DataParallel(build, tasks, schedule=schedule, replicas=replicas)
    return lambda: trainer.fit(data, epochs=1, batch_size=batch)


def on_ranks(
    build: Callable[[], torch.nn.Module], data: Data, batch: int, ranks: TaskManager
) -> Callable[[], object]:
    """Return what runs an epoch on the ranks of an MPI pilot."""
    trainer = DataParallel(build, ranks, communication="allreduce")
    return lambda: trainer.fit(data, epochs=1, batch_size=batch)


def compare_losses(
    build: Callable[[], torch.nn.Module],
    data: Data,
    options: argparse.Namespace,
    tasks: TaskManager,
) -> None:
    """Print the last loss of each schedule, and what travelled."""
    print(f"\n{'schedule, 2 replicas':48} {'loss':>9} {'staleness':>9} {'KiB':>8}")
    for schedule in (Synchronous(), LocalSteps(4), BoundedStaleness(0), BoundedStaleness(1)):
        trainer = DataParallel(build, tasks, schedule=schedule, replicas=2)
        history = trainer.fit(data, epochs=options.epochs, batch_size=options.batch)
        with torch.no_grad():
            loss = float(torch.nn.functional.mse_loss(trainer.model(data[0]), data[1]))
        moved = sum(epoch.bytes_sent + epoch.bytes_received for epoch in history.epochs)
        print(f"{schedule!s:48} {loss:9.5f} {max(history.staleness):9} {moved / 1024:8.1f}")


if __name__ == "__main__":
    main()
