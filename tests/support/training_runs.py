"""A short training on Iris, and what two such runs must have in common."""

import torch

from pilotcut.io.jsonl import read_jsonl
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory

SMALL = TrainingConfig("iris", qubits=2, cuts=1, shots=16, epochs=2, batch_size=40, seed=3)


class StopError(Exception):
    """Stands for whatever ends a training run."""


def train(path, config=SMALL, tasks=None, resume=False, progress=None):
    return TrainingRun(config, RunDirectory(path), tasks).train(resume=resume, progress=progress)


def stop_at(epoch, batch):
    def stop(now, number, batches, loss):
        if (now, number) == (epoch, batch):
            raise StopError

    return stop


def weights(path):
    return torch.load(path / "weights.pt", weights_only=True)


def assert_same_run(path, finished):
    """Assert that a run came to the weights and metrics of the undisturbed one, bit for bit."""
    one, other = weights(path), weights(finished.path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert metrics(path) == metrics(finished.path)


def metrics(path):
    return [record | {"seconds": None} for record in read_jsonl(path / "metrics.jsonl")]


def results(summary):
    return {k: v for k, v in summary.items() if k not in ("seconds", "stage_seconds", "run_dir")}
