"""A small model and its data for a trainer, and callbacks that break it."""

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import Callback
from support.training_runs import StopError


class Breaks(Callback):
    """Breaks a training in the middle of an epoch."""

    def __init__(self, epoch, batch=1):
        self.place = (epoch, batch)

    def on_batch_end(self, trainer, epoch, batch, batches, loss):
        if (epoch, batch) == self.place:
            raise StopError


class Notes(Callback):
    """Writes down what it is told."""

    def __init__(self):
        self.told = []

    def on_fit_begin(self, trainer):
        self.told.append("begin")

    def on_batch_end(self, trainer, epoch, batch, batches, loss):
        self.told.append((epoch, batch, batches))

    def on_epoch_end(self, trainer, epoch):
        self.told.append(epoch.epoch)

    def on_fit_end(self, trainer):
        self.told.append("end")


class StopsAfter(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, epoch):
        trainer.stop = epoch.epoch == self.epoch


def samples(seed=0, number=24):
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(number, 2)), dtype=torch.float32)
    return x, torch.sign(x[:, 0] + 0.5 * x[:, 1] + 0.3)


def loader(number=24, batch=8, seed=0, **options):
    x, y = samples(seed, number)
    return DataLoader(TensorDataset(x, y), batch_size=batch, **{"shuffle": True} | options)


def model(dropout=0.0):
    torch.manual_seed(5)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(4, 1)
    )


def noise(seed):
    """Samples whose labels say nothing, so that what is learnt of some is wrong of others."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(12, 2)), dtype=torch.float32)
    y = torch.tensor(rng.choice([-1.0, 1.0], 12), dtype=torch.float32)
    return DataLoader(TensorDataset(x, y), batch_size=12)
