"""Motif B.3: a wide circuit, cut at more and more places, on more and more workers.

Beside each time stands the one that `recommend` predicts, where the pilots are calibrated: the
axes of Pilot-Quantum's figure on Q-Dreamer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import efficient_su2

from pilotcut import CutEstimator, compile_plan, recommend
from pilotcut.errors import UserError
from pilotcut.options import counted
from pilotcut.pilots.description import PilotDescription
from pilotcut.study.motifs.answer import Answer
from pilotcut.tasks import TaskManager

RIGHT = "every number of cuts gives the values of the whole circuit, within four standard errors"
SMALL: dict[str, Any] = {"qubits": 36, "most_cuts": 5, "rows": 16, "shots": 512}
LARGE: dict[str, Any] = {"qubits": 36, "most_cuts": 5, "rows": 64, "shots": 4096}

SIGMAS = 4.0
#: Batches over which a prediction is spread: what compiling takes is not in the times either.
BATCHES = 1000

#: Where nobody says which: pilots of one and of two workers, each for a group of its own.
PILOTS = tuple(
    PilotDescription(
        name=f"of-{workers}", resource="local", cores_per_node=workers, groups=(f"on-{workers}",)
    )
    for workers in (1, 2)
)


def run(tasks: TaskManager, *, qubits: int, most_cuts: int, rows: int, shots: int) -> Answer:
    """Estimate Z on the first and the last qubit of EfficientSU2 with 0 to `most_cuts` cuts.

    Each group that pilots have is a number of workers; pilots without groups are one, all together.
    """
    circuit = efficient_su2(qubits, reps=1, entanglement="linear")
    observable = "Z" + "I" * (qubits - 2) + "Z"
    draws = np.random.default_rng(7).uniform(-0.4, 0.4, size=(rows, circuit.num_parameters))
    # Of the whole circuit, by its tensor network: no device of 36 qubits is at hand.
    began = time.monotonic()
    (exact,) = CutEstimator(mode="exact").run([(circuit, observable, draws)]).result()
    uncut_s = time.monotonic() - began
    found: list[dict[str, Any]] = []
    worst = 0.0
    for stage in stages(tasks):
        predicted = predictions(circuit, observable, stage, shots, rows, most_cuts)
        for cuts in range(1, most_cuts + 1):
            plan = compile_plan(circuit, observable, cuts=cuts)
            estimator = CutEstimator(stage, plan=plan, mode="counts", shots=shots, seed=7)
            estimator.run([(circuit, observable, draws[:2])]).result()  # workers import, compile
            began = time.monotonic()
            (result,) = estimator.run([(circuit, observable, draws)]).result()
            seconds = time.monotonic() - began
            sigmas = np.abs(result.data.evs - exact.data.evs) / result.data.stds
            worst = max(worst, float(sigmas.max()))
            found.append(
                {
                    "workers": stage.slots,
                    "cuts": cuts,
                    "width": max(fragment.width for fragment in plan.fragments),
                    "variants": sum(fragment.num_variants for fragment in plan.fragments),
                    "seconds": seconds,
                    "predicted_s": predicted.get(cuts),
                    "std": float(result.data.stds.mean()),
                }
            )
    told = "; ".join(
        _told(found, workers) for workers in dict.fromkeys(f["workers"] for f in found)
    )
    return Answer(
        f"{qubits} qubits, {rows} rows, uncut {uncut_s:.1f} s by a tensor network, without shots; "
        f"{told}; at most {worst:.1f} standard errors off",
        worst < SIGMAS,
        {"uncut_s": uncut_s, "cuts": found},
    )


def stages(tasks: TaskManager) -> list[TaskManager]:
    """Return the tasks of each group of pilots, fewest workers first, or all as one."""
    groups = dict.fromkeys(group for p in tasks.pilots.pilots for group in p.description.groups)
    return sorted(map(tasks.stage, groups), key=lambda stage: stage.slots) or [tasks]


def predictions(
    circuit: QuantumCircuit, observable: str, stage: TaskManager, shots: int, rows: int, most: int
) -> Mapping[int, float]:
    """Return seconds of a batch by number of cuts, none where the pilots are not calibrated."""
    pilots = [pilot.description for pilot in stage.takers]
    asked = {"shots": shots, "batch": rows, "queries": BATCHES * rows, "max_cuts": most}
    try:
        lines = recommend(circuit, observable, pilots, mode="counts", **asked).lines
    except UserError:  # `pilotcut calibrate --pilots FILE` measures them
        return {}
    return {line.cuts: line.seconds / BATCHES for line in lines if line.prediction is not None}


def _told(found: list[dict[str, Any]], workers: int) -> str:
    some = [one for one in found if one["workers"] == workers]
    said = [
        f"{counted(one['cuts'], 'cut')} {one['seconds']:.2f} s"
        + (f" (predicted {one['predicted_s']:.2f})" if one["predicted_s"] is not None else "")
        for one in some
    ]
    return f"on {counted(workers, 'worker')} {', '.join(said)}"
