"""Tables I and IV of ArbiterQ (DAC 2025) on its ten devices, and the time of behavioural vectors.

Iris and Wine, models CRz and CRx, five seeds, all strategies at several step sizes, gate errors
incoherent and coherent; about half an hour on two cores. The vectors: a model of 10 qubits and
200 weights, compiled and read, on four devices. Transfer: what a device's own weights are worth
on the other devices, without shots, which bounds what a model for every device can gain.

python benchmarks/fleet.py [--out DIR] [--fleet FILE] [--profile quick]
                           [--only vectors|transfer|tables]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit

from pilotcut.backends.qpu_target import target_of
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_features import device_features
from pilotcut.fleet.device_jobs import Job, mean_loss, values
from pilotcut.fleet.fleet import load_fleet
from pilotcut.fleet.run import dataset_of, trainer_of
from pilotcut.fleet.transpile import compile_on
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.study import tables
from pilotcut.study.cells import Cell, StudyDirectory
from pilotcut.study.fleet import ERRORS, described
from pilotcut.study.profiles import profile_of
from pilotcut.study.run import StudyRequest, conclude, measure

HERE = Path(__file__).parent.parent / "pilot_descriptions"


def main() -> None:
    """Print both tables, what was expected of them, and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where results are kept; a temporary place")
    parser.add_argument("--fleet", type=Path, default=HERE / "qpu_fleet.yaml")
    parser.add_argument("--profile", default="full")
    parser.add_argument("--only", choices=["vectors", "transfer", "tables"])
    options = parser.parse_args()
    if options.only in (None, "vectors"):
        print_vectors()
    if options.only in (None, "transfer"):
        print_transfer(load_fleet(options.fleet))
    if options.only not in (None, "tables"):
        return
    with tempfile.TemporaryDirectory() as scratch:
        print_tables(options.out or Path(scratch) / "study", options)


def print_vectors() -> None:
    """Time the behavioural vector of 10 qubits and 200 weights, on four kinds of devices."""
    print("behavioural vector of 10 qubits, 200 weights: median of 11, then the slowest, in ms")
    model = layered(10, 200)
    for topology in ("line", "ring", "star", "grid"):
        target = target_of(
            QpuDescription(
                qubits=10,
                topology=topology,
                infidelity_1q=3e-4,
                infidelity_2q=5e-3,
                t1_us=150.0,
                t2_us=60.0,
            )
        )
        seconds = []
        for seed in range(12):
            started = time.perf_counter()
            found = device_features(compile_on(model, target, seed=seed), target)
            seconds.append(time.perf_counter() - started)
        median, slowest = statistics.median(seconds[1:]), max(seconds[1:])
        swaps = int(found.swaps.sum())
        print(
            f"  {topology:5} {1e3 * median:6.1f} {1e3 * slowest:6.1f}   {swaps} SWAPs", flush=True
        )


def layered(qubits: int, weights: int) -> QuantumCircuit:
    """Return layers of RY on all qubits and a ring of CRX, until the weights are used up."""
    circuit = QuantumCircuit(qubits)
    angles = iter([Parameter(f"w{k}") for k in range(weights)])
    for _ in range(weights // (2 * qubits)):
        for qubit in range(qubits):
            circuit.ry(next(angles), qubit)
        for qubit in range(qubits):
            circuit.crx(next(angles), qubit, (qubit + 1) % qubits)
    return circuit


def print_transfer(fleet: Sequence[PilotDescription]) -> None:
    """Print the training loss with foreign weights beside that with own ones, without shots."""
    print("\ntraining loss with own weights, and with those of the other devices (mean, worst)")
    for dataset, model in (("iris", "crx"), ("wine", "crx")):
        config = FleetConfig(dataset, "", "single", model, epochs=60, shots=0, learning_rate=3.0)
        data = dataset_of(config)
        for errors, coherent in ERRORS.items():
            jobs = [
                Job(name, QpuDescription(**qpu), model, config.qubits)
                for name, qpu in described(fleet, coherent).items()
            ]
            trainer = trainer_of(replace(config, batch_size=len(data.x_train)), jobs, data)
            list(trainer.run())
            losses = np.array(
                [
                    [
                        mean_loss(
                            values(job, trainer.strategy.weights_of(k), data.x_train, 0, 0),
                            data.y_train,
                        )
                        for k in range(len(jobs))
                    ]
                    for job in jobs
                ]
            )  # (device, whose weights)
            own = np.diag(losses)
            excess = losses / own[:, None] - 1.0
            foreign = excess[~np.eye(len(jobs), dtype=bool)]
            print(
                f"  {dataset} {model} {errors:10}: {own.mean():.4f}, {foreign.mean():+.2%}, "
                f"{foreign.max():+.2%}",
                flush=True,
            )


def print_tables(out: Path, options: argparse.Namespace) -> None:
    """Measure what is not there yet, and print what it says."""
    request = StudyRequest(
        ["fleet"],
        profile_of(options.profile),
        load_descriptions(HERE / "laptop.yaml"),
        fleet=load_fleet(options.fleet),
    )

    def notice(cell: Cell, done: int, total: int) -> None:
        if done % 20 == 0:
            print(f"  {time.perf_counter() - started:6.0f} s: {done} of {total}", flush=True)

    started = time.perf_counter()
    study = StudyDirectory(out)
    failures = measure(request, study, notice)
    (found,) = conclude(request, study)
    print(f"\n{time.perf_counter() - started:.0f} s, {len(failures)} cells failed\n")
    print(found.answer, "\n")
    print(f"Published: {found.published}\n")
    for verdict in found.verdicts:
        print(f"- {'met' if verdict.met else 'NOT met'}: {verdict.claim}: {verdict.measured}")
    for table in found.tables:
        print(f"\n{tables.markdown(table)}")


if __name__ == "__main__":
    main()
