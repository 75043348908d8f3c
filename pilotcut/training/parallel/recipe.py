"""Recipe of a replica: a builder, a loss and an optimizer, checked and named by content."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle
import torch
from torch.nn import functional
from torch.utils.data import Dataset, IterableDataset, TensorDataset, default_collate

from pilotcut.errors import DataError, UserError
from pilotcut.options import (
    counted,
    did_you_mean,
)
from pilotcut.training.checks import require
from pilotcut.training.config import LEARNING_RATE
from pilotcut.training.losses import Loss

Build = Callable[[], torch.nn.Module]
MakeOptimizer = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Recipe:
    """Recipe by which every worker makes the same replica.

    Parameters
    ----------
    build
        Returns a new module at every call.
    loss
        Returns the mean loss over samples, from outputs and labels.
    optimizer
        Returns an optimizer of some parameters.
    """

    build: Build
    loss: Loss
    optimizer: MakeOptimizer

    @property
    def key(self) -> str:
        """The recipe's identity, by content; raises for what cannot travel to a worker."""
        advice = {
            "build": "build the module inside, without a task manager, files or locks from outside",
            "loss": "use a function of a module, or one of " + ", ".join(LOSSES),
            "optimizer": "use a function of a module, or one of " + ", ".join(OPTIMIZERS),
        }
        return _digest(*(_packed(what, getattr(self, what), advice[what]) for what in advice))


def build_module(build: Build) -> torch.nn.Module:
    """Return what `build` builds, if that is a module that replicas can train."""
    module = build()
    if not isinstance(module, torch.nn.Module):
        raise UserError(
            f"build: it returned an object of type {type(module).__name__}, expected a "
            f"torch.nn.Module; wrap a Qiskit network in TorchConnector, or use pilotcut.cut_qnn"
        )
    if not any(p.requires_grad for p in module.parameters()):
        raise UserError(
            "build: its module has no parameters that require gradients, expected at least one; "
            "unfreeze what is to be trained"
        )
    if any(getattr(m, "track_running_stats", False) for m in module.modules()):
        raise UserError(
            "build: its module keeps running statistics of batches, which would be those of one "
            "replica's share; use LayerNorm or GroupNorm, or track_running_stats=False"
        )
    return module


# -- losses and optimizers ---------------------------------------------------------------


def _fitted(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    output: torch.Tensor,
    target: torch.Tensor,
) -> torch.Tensor:
    """Return a loss by elements; (n, 1) beside (n,) would silently become (n, n)."""
    if output.numel() != target.numel():
        raise UserError(
            f"labels have shape {tuple(target.shape)} where outputs have {tuple(output.shape)}, "
            f"expected as many numbers of each; give one label for each output"
        )
    return loss(output.reshape(target.shape), target)


LOSSES: dict[str, Loss] = {
    "mse": functools.partial(_fitted, functional.mse_loss),
    "l1": functools.partial(_fitted, functional.l1_loss),
    "cross-entropy": functional.cross_entropy,
}

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def as_loss(loss: str | Loss) -> Loss:
    """Return the loss of that name, or the function itself."""
    if isinstance(loss, str):
        return _named("loss", loss, LOSSES)
    if not callable(loss):
        raise UserError(_unknown("loss", loss, LOSSES))
    reduction = getattr(loss, "reduction", "mean")
    if reduction != "mean":
        raise UserError(
            f"loss: its reduction is '{reduction}', expected 'mean': shards of a batch are "
            f"averaged by their sizes; say reduction='mean'"
        )
    return loss


def as_optimizer(optimizer: str | MakeOptimizer, learning_rate: float) -> MakeOptimizer:
    """Return what makes the optimizer of that name, or the function itself."""
    if isinstance(optimizer, str):
        kind = _named("optimizer", optimizer, OPTIMIZERS)
        require("learning_rate", learning_rate, LEARNING_RATE)
        return functools.partial(kind, lr=float(learning_rate))
    if not callable(optimizer):
        raise UserError(_unknown("optimizer", optimizer, OPTIMIZERS))
    return optimizer


def make_optimizer(make: MakeOptimizer, module: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a module's trained parameters."""
    made = make([p for p in module.parameters() if p.requires_grad])
    if not isinstance(made, torch.optim.Optimizer) or isinstance(made, torch.optim.LBFGS):
        raise UserError(
            f"optimizer: it returned an object of type {type(made).__name__}, expected a "
            f"torch.optim.Optimizer that steps by a gradient; try one of {', '.join(OPTIMIZERS)}"
        )
    return made


def _named(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise UserError(_unknown(what, name, known))
    return known[name]


def _unknown(what: str, found: object, known: Mapping[str, Any]) -> str:
    hint = did_you_mean(found, known)
    shown = repr(found) if isinstance(found, str) else f"of type {type(found).__name__}"
    return f"{what} is {shown}, expected a function or one of {', '.join(known)}{hint}"


# -- data ----------------------------------------------------------------------------------


def as_dataset(data: Any) -> Dataset[Any]:
    """Return a data set of pairs (input, label), or one made of a tuple of two arrays."""
    if isinstance(data, tuple):
        return _paired(data)
    known = isinstance(data, Dataset) or hasattr(data, "__getitem__")
    if isinstance(data, IterableDataset) or not known or not hasattr(data, "__len__"):
        raise DataError(
            f"dataset: found type {type(data).__name__}, expected a torch Dataset with a length, "
            f"or (x, y); of a DataLoader pass its `dataset`"
        )
    _check_samples(data)
    return data  # type: ignore[no-any-return]


def _paired(arrays: tuple[Any, ...]) -> TensorDataset:
    if len(arrays) != 2:
        raise DataError(f"dataset: found a tuple of {len(arrays)}, expected two arrays: (x, y)")
    try:  # copies, since of a slice all that it was cut from would travel
        x, y = (torch.as_tensor(part).detach().cpu().clone() for part in arrays)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"dataset: x or y is no array ({_in_a_line(error)}), expected numbers; try numpy.array"
        ) from error
    rows = [len(part) if part.ndim else 0 for part in (x, y)]
    if rows[0] != rows[1]:
        raise DataError(
            f"dataset: y has {counted(rows[1], 'row')}, expected {rows[0]}: one label for each row "
            "of x"
        )
    dataset = TensorDataset(x, y)
    _check_samples(dataset)
    return dataset


def _check_samples(data: Any) -> None:
    """Raise unless there are samples and the first is a pair that makes a batch of tensors."""
    if not len(data):
        raise DataError("dataset: found no samples, expected at least one; check what was loaded")
    try:
        sample = data[0]
        pair = default_collate([sample])
    except Exception as error:
        raise DataError(
            f"dataset: sample 0 cannot be read ({_in_a_line(error)}), expected a pair "
            f"(input, label) of numbers"
        ) from error
    is_pair = isinstance(sample, (tuple, list)) and len(sample) == 2
    if not is_pair or not all(isinstance(part, torch.Tensor) for part in pair):
        raise DataError(
            f"dataset: sample 0 is of type {type(sample).__name__}, expected a pair (input, label) "
            f"of numbers; return both from __getitem__"
        )


def data_key(dataset: Dataset[Any]) -> str:
    """Return a data set's identity, by content."""
    return _digest(_packed("dataset", dataset, "open files in __getitem__, not before"))


def _packed(what: str, value: object, advice: str) -> bytes:
    try:
        return cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        raise UserError(
            f"{what}: it cannot be pickled for workers ({_in_a_line(error)}), expected what "
            f"cloudpickle can pickle; {advice}"
        ) from error


def _in_a_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text:.120}"


def _digest(*parts: bytes) -> str:
    # Each part is hashed by itself, since joined bytes do not tell where one of them ends.
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
