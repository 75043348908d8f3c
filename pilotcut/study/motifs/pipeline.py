"""Motif C.1: a pipeline of stages that want unlike things, as one graph of tasks.

Images of digits are swept into shallow circuits, these are refined by a gradient, measured with
shots, and what was measured is classified. Each part of the images goes through the stages by
itself: while one is measured another is still swept, and nobody waits for a whole stage. Stages
are groups of tasks; pilots that are a group's own come when it is ready and go when it is done.
Each task has a key: a pipeline that was killed goes on with what the task manager's store has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from time import monotonic
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pilotcut import CutEstimator
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.study.motifs.answer import Answer
from pilotcut.study.motifs.images import (
    amplitudes,
    angles_of,
    circuit,
    encoded,
    prepared,
    refined,
)
from pilotcut.tasks import TaskFuture, TaskManager

RIGHT = (
    "a mean fidelity of 0.95 by the sweep and more by the gradient, and of the held-out digits "
    "0.85 told right, at most 0.05 less than from the images themselves"
)
SMALL: dict[str, Any] = {"images": 600, "side": 8, "layers": 3, "shots": 4096}
LARGE: dict[str, Any] = {"images": 1797, "side": 32, "layers": 4, "shots": 65536}

SWEEPS, ITERATIONS = 10, 60
#: Images of a task.
BUNDLE = 15
#: Share of the images that the classifier has not seen.
HELD_OUT = 1 / 3
#: Images whose states are among the measures, to be looked at.
SHOWN = 6

#: Where nobody says which: a pilot for what computes and one for what measures.
PILOTS = tuple(
    PilotDescription(
        name=name,
        resource="local",
        cores_per_node=cores,
        groups=groups,
        elastic=ElasticDescription(most=1, wait_s=1.0, done_s=1.0),
    )
    for name, cores, groups in (
        ("encoding", 2, ("encode", "refine")),
        ("measuring", 1, ("measure", "learn")),
    )
)


def features(qubits: int) -> list[str]:
    """Return the Pauli strings that a classifier is given: of Z and of X, on one and two qubits.

    Examples
    --------
    >>> features(2)
    ['ZI', 'IZ', 'ZZ', 'XI', 'IX', 'XX']
    """
    chosen = [some for size in (1, 2) for some in combinations(range(qubits), size)]
    return [
        "".join(letter if k in some else "I" for k in range(qubits))
        for letter in "ZX"
        for some in chosen
    ]


def measured(gates: np.ndarray, layers: int, shots: int, seed: int) -> np.ndarray:
    """Return expectations (images, features) of the states that gates prepare, by shots."""
    rows = angles_of(gates).reshape(len(gates), -1)
    qubits = gates.shape[1] // layers + 1
    observables = [[SparsePauliOp(label)] for label in features(qubits)]
    estimator = CutEstimator(mode="sampled", shots=shots, seed=seed)
    (result,) = estimator.run([(circuit(qubits, layers), observables, rows)]).result()
    return np.asarray(result.data.evs.T)


def unmeasured(states: np.ndarray) -> np.ndarray:
    """Return expectations (images, features) of whole states, without shots."""
    labels = features(states.shape[1].bit_length() - 1)
    paulis = [SparsePauliOp(label).to_matrix(sparse=True).real for label in labels]
    return np.stack([np.einsum("bx,xb->b", states, one @ states.T) for one in paulis], axis=1)


def accuracy(known: Sequence[np.ndarray], labels: np.ndarray) -> float:
    """Return how many of the held-out images a linear classifier tells right.

    Parameters
    ----------
    known
        What is known of images, in parts of (some images, numbers).
    labels
        Of all images.
    """
    rows = np.concatenate(known)
    seen = len(rows) - int(len(rows) * HELD_OUT)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.3))
    model.fit(rows[:seen], labels[:seen])
    return float(model.score(rows[seen:], labels[seen:]))


def submitted(
    tasks: TaskManager, states: np.ndarray, layers: int, shots: int
) -> dict[str, list[TaskFuture]]:
    """Submit all tasks of the stages before the last; return their futures by stage."""
    stages: dict[str, list[TaskFuture]] = {"encode": [], "refine": [], "measure": []}
    for number in range(0, len(states), BUNDLE):
        part = states[number : number + BUNDLE]
        swept = tasks.submit_task(
            encoded, part, layers, SWEEPS, group="encode", key=f"encode {number}"
        )
        fine = tasks.submit_task(
            refined, swept, part, layers, ITERATIONS, group="refine", key=f"refine {number}"
        )
        known = tasks.submit_task(
            measured, fine, layers, shots, number, group="measure", key=f"measure {number}"
        )
        for stage, future in zip(stages.values(), (swept, fine, known), strict=True):
            stage.append(future)
    return stages


def digits(images: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return states of so many of scikit-learn's digits, enlarged to so many pixels a side."""
    known = load_digits()
    chosen = np.random.default_rng(7).permutation(len(known.images))[:images]
    of = known.images[chosen]
    enlarged = zoom(of, (1, side / of.shape[1], side / of.shape[2]), order=1)
    return amplitudes(enlarged), known.target[chosen]


def run(tasks: TaskManager, *, images: int, side: int, layers: int, shots: int) -> Answer:
    """Encode, refine, measure and classify digits."""
    states, labels = digits(images, side)
    began = monotonic()
    stages = submitted(tasks, states, layers, shots)
    told = tasks.submit_task(
        accuracy, stages["measure"], labels, group="learn", key="learn"
    ).result()
    seconds = monotonic() - began
    near = {
        stage: prepared(np.concatenate([future.result() for future in stages[stage]]), layers)
        for stage in ("encode", "refine")
    }
    fidelity = {stage: (some * states).sum(axis=1) ** 2 for stage, some in near.items()}
    mean = {stage: float(some.mean()) for stage, some in fidelity.items()}
    stored = sum(future.task.was_stored for some in stages.values() for future in some)
    # Of what an earlier run has computed nobody knows the time.
    rate = None if stored else images / seconds
    whole = {"pixels": accuracy([states], labels), "states": accuracy([unmeasured(states)], labels)}
    return Answer(
        f"{images} images of {side} x {side} pixels in {layers} layers: fidelity "
        f"{mean['encode']:.4f} by the sweep, {mean['refine']:.4f} refined (at least "
        f"{fidelity['refine'].min():.3f}); {told:.1%} of the held-out told right from {shots} "
        f"shots, {whole['states']:.1%} from whole states, {whole['pixels']:.1%} from pixels"
        + ("" if rate is None else f"; {rate:.1f} images/s"),
        mean["refine"] > mean["encode"] >= 0.95 and told >= max(0.85, max(whole.values()) - 0.05),
        {
            "fidelity": {stage: some.tolist() for stage, some in fidelity.items()},
            "accuracy": {"compressed": told, **whole},
            "images_per_s": rate,
            "shown": [states[:SHOWN].tolist(), *(some[:SHOWN].tolist() for some in near.values())],
        },
    )
