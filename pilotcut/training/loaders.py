"""Loaders of a data set's samples, as torch takes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from pilotcut.errors import UserError


def tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return samples as torch takes them: features and labels ±1 as floats, indices as integers."""
    labels = torch.float32 if np.issubdtype(y.dtype, np.floating) else torch.int64
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=labels)


def one_batch(x: np.ndarray, y: np.ndarray) -> DataLoader[tuple[Tensor, ...]]:
    """Return a loader of one batch."""
    if not len(x):
        raise UserError("there are no samples to evaluate, expected at least one")
    return DataLoader(TensorDataset(*tensors(x, y)), batch_size=len(x))


class Shuffled(Sampler[int]):
    """Samples in an order of their own each epoch, from one generator and nothing else.

    torch's own sampler draws twice an epoch: with it a seed would not give the weights that it has
    always given.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self._samples = samples
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self._samples, generator=self.generator).tolist()
