"""Trained network of a finished run, to be evaluated on other inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from qiskit_machine_learning.connectors import TorchConnector

from pilotcut.tasks import TaskManager
from pilotcut.training.config import TrainingConfig
from pilotcut.training.data import Dataset
from pilotcut.training.loaders import one_batch
from pilotcut.training.losses import Loss, Scores
from pilotcut.training.passes import evaluate
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Trained:
    """Trained network of a finished run.

    Attributes
    ----------
    network
        Expectations (samples, observables) of inputs (samples, qubits), a torch module.
    data
        What it was trained on.
    config
        Of its run.
    loss
        Its loss, of outputs (samples,) for two classes and (samples, classes) for more.
    """

    network: TorchConnector
    data: Dataset
    config: TrainingConfig
    loss: Loss

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> Scores:
        """Return loss and accuracy on samples (samples, qubits) with their labels."""
        return evaluate(self.network, self.loss, one_batch(x, y))


def trained(
    run: RunDirectory | str | Path,
    tasks: TaskManager | None = None,
    *,
    input_gradients: bool = False,
) -> Trained:
    """Return the trained network of a finished run, to evaluate it on other inputs.

    Parameters
    ----------
    run
        The run's directory.
    tasks
        Where circuits run; None for this process.
    input_gradients
        Whether a backward pass reaches the inputs.

    Raises
    ------
    RunDirectoryError
        If there is no finished run, or it cannot be read.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory(Path(run))
    weights = directory.load_weights()
    # To evaluate is no part of the run: it leaves nothing in the directory.
    config = replace(directory.training_config(), store=False, tensorboard=False)
    again = TrainingRun(config, directory, tasks)
    network = again.network(input_gradients=input_gradients)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise directory.damaged_weights(f"{' '.join(str(error).split()):.100}") from None
    if (state := directory.load_checkpoint()) is not None:  # draw on where the run has ended
        fresh = {"queries": 0, "subexperiments": 0, "seconds": {}}
        again.estimator.stages.load_state_dict(state["estimators"][0] | fresh)
    return Trained(network, again.data, config, again.loss)
