"""Motif B.1: many random circuits of unlike cost, on whatever pilots there are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotcut.study.motifs.answer import Answer
from pilotcut.tasks import TaskManager

RIGHT = "the same counts on any pilots"
SMALL: dict[str, Any] = {"circuits": 1024, "widest": 20}
LARGE: dict[str, Any] = {"circuits": 1024, "widest": 28}

SHOTS = 1024
DEPTH = 8
#: Seconds of a bundle, by prediction: long beside the work of handing it out, short beside the run.
BUNDLE_S = 0.1
#: One of so many circuits is run once more here, to be compared.
CHECKED = 64
#: Wider ones are not: this process has other things to do.
WIDEST_CHECKED = 14


def predicted_s(width: int) -> float:
    """Return a guess of the seconds of a random circuit, by its gates and amplitudes.

    It need not be right, only proportional.
    """
    return 2e-3 + 2e-9 * DEPTH * width * 2**width


def run_circuits(bundle: Sequence[tuple[int, int]]) -> list[str]:
    """Run random circuits given as (seed, width); return a digest of the counts of each."""
    from qiskit import transpile
    from qiskit.circuit.random import random_circuit
    from qiskit_aer import AerSimulator

    simulator = AerSimulator(device=os.environ.get("PILOTCUT_DEVICE", "CPU"), method="statevector")
    digests = []
    for seed, width in bundle:
        circuit = random_circuit(width, DEPTH, max_operands=2, measure=True, seed=seed)
        circuit = transpile(circuit, basis_gates=["u", "cx"], optimization_level=0)
        job = simulator.run(circuit, shots=SHOTS, seed_simulator=seed)
        counts = sorted(job.result().get_counts().items())
        digests.append(hashlib.sha256(repr(counts).encode()).hexdigest())
    return digests


def bundled(widths: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Return circuits as (seed, width) in bundles of about `BUNDLE_S`, the dearest first.

    Examples
    --------
    >>> bundles = bundled([2] * 60 + [20])
    >>> bundles[0], len(bundles), sum(map(len, bundles))
    ([(60, 20)], 3, 61)
    """
    bundles: list[list[tuple[int, int]]] = []
    room = 0.0
    for seed in sorted(range(len(widths)), key=lambda seed: -widths[seed]):
        cost = predicted_s(widths[seed])
        if not bundles or room < cost:
            bundles.append([])
            room = BUNDLE_S
        bundles[-1].append((seed, widths[seed]))
        room -= cost
    return bundles


def run(tasks: TaskManager, *, circuits: int, widest: int) -> Answer:
    """Run `circuits` random circuits of 2 to `widest` qubits, and some of them here once more."""
    widths = np.random.default_rng(7).integers(2, widest, size=circuits, endpoint=True).tolist()
    bundles = bundled(widths)
    futures = [
        tasks.submit_task(
            run_circuits,
            bundle,
            name=f"circuits.{number}",
            key=f"circuits.{number}",  # what a killed run has stored does not run again
            cost_s=sum(predicted_s(width) for _, width in bundle),
        )
        for number, bundle in enumerate(bundles)
    ]
    digests = {
        seed: digest
        for bundle, future in zip(bundles, futures, strict=True)
        for (seed, _), digest in zip(bundle, future.result(), strict=True)
    }
    checked = [s for s in range(0, circuits, CHECKED) if widths[s] <= WIDEST_CHECKED]
    expected = run_circuits([(seed, widths[seed]) for seed in checked])
    same = [digests[seed] for seed in checked] == expected
    together = hashlib.sha256("".join(digests[seed] for seed in range(circuits)).encode())
    return Answer(
        f"{circuits:,} circuits of 2 to {widest} qubits in {len(bundles)} tasks; the counts of "
        f"{len(checked)} that were run here once more are {'the same' if same else 'OTHERS'}",
        same and len(digests) == circuits,
        {"circuits": circuits, "tasks": len(bundles), "digest": together.hexdigest()},
    )
