"""Motif B.3: a wide circuit, cut at more and more places."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from qiskit.circuit.library import efficient_su2

from pilotcut import CutEstimator, compile_plan
from pilotcut.study.motifs.answer import Answer
from pilotcut.tasks import TaskManager

RIGHT = "every number of cuts gives the values of the whole circuit, within four standard errors"
SMALL: dict[str, Any] = {"qubits": 36, "most_cuts": 3, "rows": 4, "shots": 512}
LARGE: dict[str, Any] = {"qubits": 36, "most_cuts": 5, "rows": 16, "shots": 4096}

SIGMAS = 4.0


def run(tasks: TaskManager, *, qubits: int, most_cuts: int, rows: int, shots: int) -> Answer:
    """Estimate Z on the first and the last qubit of EfficientSU2 with 1 to `most_cuts` cuts."""
    circuit = efficient_su2(qubits, reps=1, entanglement="linear")
    observable = "Z" + "I" * (qubits - 2) + "Z"
    draws = np.random.default_rng(7).uniform(-0.4, 0.4, size=(rows, circuit.num_parameters))
    # Of the whole circuit, by its tensor network: no device of 36 qubits is at hand.
    (exact,) = CutEstimator(mode="exact").run([(circuit, observable, draws)]).result()
    found, worst = [], 0.0
    for cuts in range(1, most_cuts + 1):
        plan = compile_plan(circuit, observable, cuts=cuts)
        estimator = CutEstimator(tasks, plan=plan, mode="sampled", shots=shots, seed=7)
        estimator.run([(circuit, observable, draws)]).result()  # workers import and compile
        began = time.monotonic()
        (result,) = estimator.run([(circuit, observable, draws)]).result()
        seconds = time.monotonic() - began
        sigmas = np.abs(result.data.evs - exact.data.evs) / result.data.stds
        worst = max(worst, float(sigmas.max()))
        found.append(
            {
                "cuts": cuts,
                "width": max(fragment.width for fragment in plan.fragments),
                "variants": sum(fragment.num_variants for fragment in plan.fragments),
                "seconds": seconds,
                "std": float(result.data.stds.mean()),
            }
        )
    told = ", ".join(f"{f['cuts']} cuts {f['seconds']:.1f} s (± {f['std']:.3f})" for f in found)
    return Answer(
        f"{qubits} qubits, {rows} rows: {told}; at most {worst:.1f} standard errors off",
        worst < SIGMAS,
        {"cuts": found},
    )
