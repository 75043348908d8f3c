"""What long calls are predicted to take, beside what calls really take, in each mode.

Predictions are those of `pilotcut.execution.duration`, whose constants this checks: calls from
hundredths of a second to about a minute, in processor time of this process, which others on the
machine hardly lengthen. The first call of a mode loads libraries, and is made for nothing.

    python benchmarks/forecast.py [--mode counts|sampled|exact] [--long]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit

from pilotcut import CutEstimator
from pilotcut.execution.batch_runner import requests_of
from pilotcut.execution.duration import seconds_of
from pilotcut.options import MODES
from pilotcut.reconstruction.contraction_cost import cost_of_batch


@dataclass(frozen=True)
class Workload:
    """A batch: circuit and labels, observables, shots of each subexperiment, parameter sets."""

    name: str
    circuit: QuantumCircuit
    labels: str
    observables: list[str]
    shots: int
    rows: int


def main() -> None:
    """Print a line for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=MODES, help="default: all")
    parser.add_argument("--long", action="store_true", help="those of a minute and more as well")
    options = parser.parse_args()
    print(f"{'mode':8} {'workload':28} {'predicted s':>12} {'measured s':>11} {'ratio':>6}")
    for mode in MODES if options.mode is None else [options.mode]:
        measured(mode, Workload("", chain(4, 1), "AABB", ["ZZZZ"], 64, 1))
        for workload in workloads(mode, options.long):
            predicted, seconds = measured(mode, workload)
            ratio = predicted / seconds
            print(
                f"{mode:8} {workload.name:28} {predicted:12.3f} {seconds:11.3f} {ratio:6.2f}",
                flush=True,
            )


def measured(mode: str, workload: Workload) -> tuple[float, float]:
    """Return predicted and measured seconds of a call."""
    estimator = CutEstimator(
        labels=workload.labels, mode=mode, shots=workload.shots, seed=1, max_seconds=np.inf
    )
    contraction = estimator.compile_for(workload.circuit, workload.observables)
    number = workload.circuit.num_parameters
    values = np.random.default_rng(0).uniform(-3, 3, (workload.rows, number))
    slots = contraction.plan.binding.slots(values)
    requests = requests_of(contraction.plan, slots, estimator.shots)
    size = 16 if mode == "exact" else 8
    contracting = cost_of_batch(contraction, workload.rows, True, size).seconds
    predicted = seconds_of(requests, mode) + contracting
    started = time.process_time()
    estimator.run([(workload.circuit, workload.observables, values[:, None])]).result()
    return predicted, time.process_time() - started


def workloads(mode: str, long: bool) -> Iterator[Workload]:
    """Yield batches that the mode can run."""
    shots = 1024
    yield Workload("4q 1 cut, 16 rows", chain(4, 1), "AABB", ["ZZZZ"], shots, 16)
    yield Workload("6q 3 cuts, 4 rows", chain(6, 3), "AAABBB", ["Z" * 6], shots, 4)
    yield Workload("8q 5 cuts", crossed(4, 5), "A" * 4 + "B" * 4, ["Z" * 8], 128, 1)
    yield Workload("12q 2 cuts, Ising, 4 rows", chain(12, 2), halves(12), ising(12), shots, 4)
    yield Workload("20q 3 cuts, Ising", chain(20, 3), halves(20), ising(20), 256, 1)
    yield Workload("30q 2 cuts", chain(30, 2), halves(30), ["Z" * 30], 64, 1)
    if mode != "counts":
        yield Workload("12q 6 cuts", crossed(6, 6), halves(12), ["Z" * 12], 256, 1)
        yield Workload("24q 5 cuts", crossed(12, 5), halves(24), ["Z" * 24], 256, 1)
    if mode == "exact":
        yield Workload("32q 2 cuts, Ising, 2 rows", chain(32, 2), halves(32), ising(32), 0, 2)
        yield Workload("36q 4 cuts", chain(36, 4), halves(36), ["Z" * 36], 0, 1)
        yield Workload("20q 9 cuts", crossed(10, 9), halves(20), ["Z" * 20], 0, 1)
        yield Workload("40q 4 cuts", crossed(20, 4), halves(40), ["Z" * 40], 0, 1)
    if long and mode == "exact":
        yield Workload("44q 2 cuts", chain(44, 2), halves(44), ["Z" * 44], 0, 1)
        yield Workload("16q 8 cuts, Ising, 8 rows", crossed(8, 8), halves(16), ising(16), 0, 8)
        yield Workload("40q 4 cuts, 8 rows", crossed(20, 4), halves(40), ["Z" * 40], 0, 8)
    if long and mode == "sampled":
        yield Workload("12q 7 cuts", crossed(6, 7), halves(12), ["Z" * 12], 256, 1)
    if long and mode == "counts":
        yield Workload("8q 5 cuts, 16 rows", crossed(4, 5), halves(8), ["Z" * 8], shots, 16)


def chain(qubits: int, layers: int) -> QuantumCircuit:
    """Return layers of RY and a chain of CX."""
    angles = iter(ParameterVector("x", qubits * (layers + 1)))
    circuit = QuantumCircuit(qubits)
    for _ in range(layers):
        for qubit in range(qubits):
            circuit.ry(next(angles), qubit)
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
    for qubit in range(qubits):
        circuit.ry(next(angles), qubit)
    return circuit


def crossed(half: int, cuts: int) -> QuantumCircuit:
    """Return two chains with so many RZZ between them."""
    angles = iter(ParameterVector("x", 4 * half + cuts))
    circuit = QuantumCircuit(2 * half)
    for qubit in range(2 * half):
        circuit.ry(next(angles), qubit)
    for first in (0, half):
        for qubit in range(half - 1):
            circuit.cx(first + qubit, first + qubit + 1)
    for k in range(cuts):
        circuit.rzz(next(angles), k % half, half + (k * 3 + 1) % half)
    for qubit in range(2 * half):
        circuit.rx(next(angles), qubit)
    return circuit


def halves(qubits: int) -> str:
    """Return labels of two halves."""
    return "A" * (qubits // 2) + "B" * (qubits // 2)


def ising(qubits: int) -> list[str]:
    """Return neighbouring ZZ and single X."""
    pairs = ["I" * q + "ZZ" + "I" * (qubits - 2 - q) for q in range(qubits - 1)]
    return pairs + ["I" * q + "X" + "I" * (qubits - 1 - q) for q in range(qubits)]


if __name__ == "__main__":
    main()
