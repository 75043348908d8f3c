"""Cuts of wires three ways: shots for a standard error of 0.02.

For each circuit the same wires are cut one by one ("separate"), together with even shots
("randomised"), and together with shots by what senders found ("communication"), the last two also
with ``shot_allocation="optimal"``. The variance is that over repetitions, not the estimated one,
and shots are those of all circuits of a query.

    python benchmarks/wires.py [--repetitions 300] [--shots 400]
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import CutEstimator
from pilotcut.io.jsonl import JsonLines

ERROR = 0.02
WAYS = [(wires, "uniform") for wires in ("separate", "randomised", "communication")]
WAYS += [(wires, "optimal") for wires in ("separate", "randomised")]


def main() -> None:
    """Print a line a circuit, and medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--shots", type=int, default=400)
    options = parser.parse_args()
    print(f"{'circuit':12} {'wires':>5} " + " ".join(f"{w[:13] + '/' + s[0]:>15}" for w, s in WAYS))
    gains: dict[tuple[int, str, str], list[float]] = {}
    for wires in (1, 2):
        for name, circuit in circuits(wires):
            observable = "Z" * circuit.num_qubits
            found = [needed(circuit, observable, *way, options) for way in WAYS]
            cells = [f"{some:8.0f} {found[0] / some:5.1f}x" for some in found]
            print(f"{name:12} {wires:5} " + " ".join(f"{cell:>15}" for cell in cells), flush=True)
            for way, some in zip(WAYS, found, strict=True):
                gains.setdefault((wires, *way), []).append(found[0] / some)
    for (wires, way, allocation), some in gains.items():
        print(f"{wires} wires, {way}, {allocation}: {np.median(some):.2f} times fewer (median)")


def circuits(wires: int) -> list[tuple[str, QuantumCircuit]]:
    """Return circuits whose wires are cut between two halves, by name."""
    rng = np.random.default_rng(2026)
    found = [(f"random {k}", halves(wires, 1, 2, rng, np.pi)) for k in range(3)]
    found += [(f"ansatz {k}", halves(wires, 1, 1, rng, 0.5)) for k in range(3)]
    return [*found, *((f"deep {k}", halves(wires, 2, 3, rng, np.pi)) for k in range(2))]


def halves(
    wires: int, own: int, layers: int, rng: np.random.Generator, width: float
) -> QuantumCircuit:
    """Return layers of rotations and CX on the wires and own qubits, before and behind the cut."""
    circuit = QuantumCircuit(wires + 2 * own)
    for half in (0, 1):
        qubits = [*range(wires), *range(wires + half * own, wires + (half + 1) * own)]
        for _ in range(layers):
            for qubit in qubits:
                circuit.ry(rng.uniform(-width, width), qubit)
                circuit.rz(rng.uniform(-width, width), qubit)
            for pair in pairwise(qubits):
                circuit.cx(*pair)
        if not half:
            for qubit in range(wires):
                circuit.append(CutWire(), [qubit])
    return circuit


def needed(
    circuit: QuantumCircuit,
    observable: str,
    wires: str,
    allocation: str,
    options: argparse.Namespace,
) -> float:
    """Return the shots of a query for a standard error of `ERROR`."""
    trace = JsonLines(None)
    estimator = CutEstimator(
        wires=wires,
        shot_allocation=allocation,
        mode="sampled",
        shots=options.shots,
        seed=7,
        trace=trace,
    )
    rows = np.zeros((options.repetitions, 0))
    values = estimator.run([(circuit, observable, rows)]).result()[0].data.evs
    batches = [r for r in trace.records if "subexperiments" in r and "shots" in r]
    shots = sum(r["subexperiments"] * r["shots"] for r in batches) / options.repetitions
    return shots * float(values.var(ddof=1)) / ERROR**2


if __name__ == "__main__":
    main()
