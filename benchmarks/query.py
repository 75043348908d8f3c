"""One query through the addon's own pipeline and through ours, side by side in one run.

Same circuit, same shots, one simulator thread each, a batch of 16 parameter sets for us
(the addon has no batches: its time is the median of single queries on the same sets).
The uncut column is Aer's own EstimatorV2-like sampling of the whole circuit with the same
shots: at these sizes it wins, and that is the point of showing it.

    python benchmarks/query.py [--batches 5] [--addon-queries 3] [--long]

`--long` also runs the addon on the 6-qubit circuit with 5 cuts (46,656 subexperiments,
more than ten minutes); without it only ours is measured there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time

import numpy as np
from addon_baseline import addon_query, qnn_circuit
from qiskit.quantum_info import Pauli, Statevector

from pilotcut import CutEstimator

SHOTS = 1024
BATCH = 16


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=5, help="measured batches of ours")
    parser.add_argument("--addon-queries", type=int, default=3, help="measured addon queries")
    parser.add_argument("--long", action="store_true", help="run the addon with 5 cuts as well")
    options = parser.parse_args()
    print(
        f"{'labels':8} {'cuts':>4} {'uncut ms':>9} {'addon ms':>10} {'spread':>13} {'ours ms':>8} "
        f"{'spread':>13} {'ratio':>7} {'recon addon':>11} {'recon ours':>10} {'rms z':>6}"
    )
    for labels in ("AABB", "AABC", "ABCD", "ABCDEF"):
        print(row(labels, options), flush=True)


def row(labels: str, options: argparse.Namespace) -> str:
    """Measure one cut and format its line."""
    circuit = qnn_circuit(len(labels), feature_reps=2)
    values = np.random.default_rng(7).uniform(0, np.pi, (BATCH, circuit.num_parameters))
    observable = "Z" * len(labels)
    ours, our_share, z = measure_ours(circuit, observable, values, labels, options.batches)
    uncut, _, _ = measure_ours(circuit, observable, values, "A" * len(labels), options.batches)
    addon, addon_share = [], float("nan")
    if len(labels) < 6 or options.long:
        addon, addon_share = measure_addon(
            circuit, observable, values, labels, options.addon_queries if len(labels) < 6 else 1
        )
    ours_ms = 1e3 * statistics.median(ours)
    addon_ms = 1e3 * statistics.median(addon) if addon else float("nan")
    return (
        f"{labels:8} {len(set(labels)) - 1:4} {1e3 * statistics.median(uncut):9.2f} "
        f"{addon_ms:10.1f} {spread(addon):>13} {ours_ms:8.2f} {spread(ours):>13} "
        f"{addon_ms / ours_ms:7.1f} {addon_share:11.1%} {our_share:10.1%} {z:6.2f}"
    )


def measure_ours(circuit, observable, values, labels, batches):
    """Return seconds a query of each batch, the reconstruction share, and the rms z-score."""
    estimator = CutEstimator(labels=labels, shots=SHOTS, seed=1)
    estimator.run([(circuit, observable, values)]).result()  # compile once
    stages = estimator.stages.seconds
    for stage in stages:
        stages[stage] = 0.0
    exact = [
        Statevector(circuit.assign_parameters(v)).expectation_value(Pauli(observable)).real
        for v in values
    ]
    seconds, scores = [], []
    for _ in range(batches):
        started = time.perf_counter()
        data = estimator.run([(circuit, observable, values)]).result()[0].data
        seconds.append((time.perf_counter() - started) / len(values))
        scores.append((data.evs - exact) / data.stds)
    share = stages["reconstruct"] / sum(stages.values())
    return seconds, share, float(np.sqrt(np.mean(np.square(scores))))


def measure_addon(circuit, observable, values, labels, queries):
    """Return seconds of each of the addon's queries, and the reconstruction share."""
    seconds, shares = [], []
    for number in range(queries):
        _, stages, _ = addon_query(circuit, values[number], [observable], labels, SHOTS, number)
        seconds.append(sum(stages.values()))
        shares.append(stages["reconstruct"] / seconds[-1])
    return seconds, statistics.median(shares)


def spread(seconds: list[float]) -> str:
    """Return the smallest and largest of some seconds, in milliseconds."""
    return f"{1e3 * min(seconds):.1f}-{1e3 * max(seconds):.1f}" if seconds else "-"


if __name__ == "__main__":
    main()
