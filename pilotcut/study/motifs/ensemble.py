"""Motif C.4: many unlike QPUs train one model side by side, and devices come and go.

Each device computes gradients at the weights that there are when it begins, and each gradient moves
the model as it comes, the more the likelier the device's circuits are to have no error; nobody
waits for anybody. One device leaves and comes back, and one comes late.

References
----------
Stein et al., "EQC: ensembled quantum computing for variational quantum algorithms",
arXiv:2111.14940.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.fleet import facts_of
from pilotcut.fleet.run import dataset_of
from pilotcut.fleet.strategies import Eqc, Settings
from pilotcut.fleet.trainer import FleetTrainer
from pilotcut.pilots.description.qpu import QpuDescription, Topology
from pilotcut.study.motifs.answer import Answer
from pilotcut.tasks import TaskFuture, TaskManager

#: Training loss, the mean of ((f − y) / 2)², that the ensemble has to come below; 1/4 is guessing.
LOW_ENOUGH = 0.15
RIGHT = (
    f"a loss below {LOW_ENOUGH}, each gradient of the device that left counted, the late one used"
)
SMALL: dict[str, Any] = {"dataset": "digits", "devices": 6, "epochs": 9, "samples": 100}
LARGE: dict[str, Any] = {"dataset": "digits", "devices": 10, "epochs": 60, "samples": 1000}

TOPOLOGIES: tuple[Topology, ...] = ("line", "ring", "star", "grid")
#: Epochs in which the first device is away, and the one in which the last one comes.
AWAY, COMES = (3, 5), 3


class CountingEqc(Eqc):
    """EQC's ensemble, which counts the gradients of each device that moved the model."""

    def __init__(self, start: np.ndarray, jobs: Sequence[Job], settings: Settings) -> None:
        super().__init__(start, facts_of(jobs, kappa=0.0), settings)
        self.used = Counter[int]()

    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Count it, and move the model."""
        self.used[device] += 1
        return super().received(device, gradient)


def fleet(devices: int, qubits: int) -> list[QpuDescription]:
    """Return unlike devices: the further back, the more errors, and the quicker."""
    absences = {0: (AWAY,), devices - 1: ((0, COMES),)}
    return [
        QpuDescription(
            qubits=qubits,
            topology=TOPOLOGIES[k % len(TOPOLOGIES)],
            infidelity_1q=2e-4 * (1 + k / devices),
            infidelity_2q=4e-3 * (1 + k / devices),
            t1_us=200.0,
            t2_us=100.0,
            reset_us=100.0 / (1 + k),
            offline=absences.get(k, ()),
        )
        for k in range(devices)
    ]


def on_any_pilot(tasks: TaskManager) -> Callable[..., TaskFuture]:
    """Return what starts a device's work wherever there is room."""

    def submit(device: str, fn: Callable[..., Any], *arguments: Any) -> TaskFuture:
        return tasks.submit_task(fn, *arguments, name=f"{device}.{fn.__name__}")

    return submit


def run(tasks: TaskManager, *, dataset: str, devices: int, epochs: int, samples: int) -> Answer:
    """Train one model on so many devices."""
    config = FleetConfig(
        dataset, "", "eqc", epochs=epochs, learning_rate=1.0, max_samples=samples, batch_size=20
    )
    qpus = fleet(devices, config.qubits)
    jobs = [Job(f"qpu-{k}", qpu, config.model, config.qubits) for k, qpu in enumerate(qpus)]
    start = np.random.default_rng(config.seed).uniform(0, 2 * np.pi, 4 * config.qubits)
    ensemble = CountingEqc(start, jobs, Settings(config.learning_rate))
    data = dataset_of(config)
    trainer = FleetTrainer(jobs, ensemble, data, config, on_any_pilot(tasks))
    losses = [epoch.loss for epoch in trainer.run()]
    batches = -(-len(data.x_train) // config.batch_size)
    there = {0: epochs - (AWAY[1] - AWAY[0]), devices - 1: epochs - COMES + 1}
    wanted = {k: batches * there.get(k, epochs) for k in range(devices)}
    return Answer(
        f"loss {losses[0]:.3f} before, {losses[-1]:.3f} after {epochs} epochs of {devices} "
        f"devices; {ensemble.used[0]} gradients of the one that was away from epoch {AWAY[0]} to "
        f"{AWAY[1] - 1}, {ensemble.used[devices - 1]} of the one that came in epoch {COMES}",
        losses[-1] < LOW_ENOUGH and ensemble.used == wanted,
        {"losses": losses, "gradients": [ensemble.used[k] for k in range(devices)]},
    )
