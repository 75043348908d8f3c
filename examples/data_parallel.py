"""Train a cut network on Iris with two replicas, one local worker process each.

Three schedules see the same samples from the same weights: synchronous, which is what one
process would do; local steps, which talk half as often; and bounded staleness, where nobody
waits for the slowest.

    python examples/data_parallel.py [--epochs 5]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from pilotcut import (
    BoundedStaleness,
    DataParallel,
    LocalSteps,
    PilotManager,
    Synchronous,
    TaskManager,
    cut_qnn,
)
from pilotcut.pilots.description import PilotDescription
from pilotcut.training.data import load_dataset
from pilotcut.training.model import classifier


def build() -> torch.nn.Module:
    """Return a network of 4 qubits, cut once; runs in every worker process."""
    model = classifier(4)
    return cut_qnn(
        model.circuit,
        model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        cuts=1,
        seed=7,
    )


def main(epochs: int = 5, resource: str = "local") -> dict[str, list[float]]:
    """Print losses and test accuracies, and return the losses of each schedule."""
    iris = load_dataset("iris", 4)
    train = as_tensors(iris.x_train, iris.y_train)
    x_test, y_test = as_tensors(iris.x_test, iris.y_test)
    pair = PilotDescription(name="pair", resource=resource, workers_per_node=2)
    found = {}
    with PilotManager([pair]) as pilots, TaskManager(pilots) as tasks:
        for schedule in (Synchronous(), LocalSteps(steps=2), BoundedStaleness(bound=2)):
            trainer = DataParallel(build, tasks, schedule=schedule, replicas=2)
            history = trainer.fit(train, epochs=epochs, batch_size=16)
            with torch.no_grad():
                right = trainer.model(x_test).reshape(-1) * y_test > 0
            losses = " ".join(f"{loss:.3f}" for loss in history.losses)
            print(f"{schedule}: loss {losses}, test accuracy {right.float().mean():.0%}")
            found[str(schedule)] = list(history.losses)
    return found


def as_tensors(x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and labels in single precision, as torch's modules expect."""
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    main(parser.parse_args().epochs)
