"""Small models and data, trained by replicas."""

import functools

import numpy as np
import torch
from torch.utils.data import Dataset

from pilotcut import cut_qnn
from pilotcut.training.model import classifier
from pilotcut.training.parallel import DataParallel

START = np.linspace(-1, 1, 8)


_generator = torch.Generator().manual_seed(5)


X = torch.rand(13, 4, generator=_generator, dtype=torch.float64)


Y = torch.sign(torch.rand(13, 1, generator=_generator, dtype=torch.float64) - 0.5)


def quantum(mode="exact", cuts=1):
    model = classifier(4)
    return cut_qnn(
        model.circuit,
        model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        cuts=cuts,
        mode=mode,
        shots=64,
        initial_weights=START,
    ).double()


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def train(
    build, tasks, schedule=None, epochs=2, batch_size=4, data=(X, Y), shuffle=True, **options
):
    trainer = DataParallel(build, tasks, schedule=schedule, **options)
    history = trainer.fit(data, epochs=epochs, batch_size=batch_size, shuffle=shuffle)
    return weights(trainer.model), history


adam = functools.partial(torch.optim.Adam, lr=0.1)


sgd = functools.partial(torch.optim.SGD, lr=0.1)


class Pairs(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        return X[row], Y[row]
