"""Replica of a module in a worker process: built there once, then asked for gradients and steps.

Every function here that runs as a task is a function of its arguments alone, so that it does
not matter where it runs, whether it runs again after a loss, or twice at the same time: weights
and moments come with the call, and streams of random numbers start from (seed, step, replica).
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from qiskit_machine_learning.gradients import BaseEstimatorGradient
from qiskit_machine_learning.neural_networks import NeuralNetwork
from torch.utils.data import Dataset, TensorDataset, default_collate

from pilotcut.errors import UserError
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.tasks import Shared
from pilotcut.training.parallel.recipe import Recipe, build_module, make_optimizer

Arrays = Sequence[np.ndarray]

#: Recipes whose modules a process keeps; those of the oldest are dropped.
MOST_RECIPES = 4


@dataclass(frozen=True)
class ReplicaWork:
    """Rows for one gradient, and what its random numbers derive from."""

    seed: int
    step: int
    replica: int
    rows: np.ndarray

    def __str__(self) -> str:
        return f"replica {self.replica}, step {self.step}"

    def stream(self, number: int) -> int:
        """Return the seed of one of the module's sources of random numbers."""
        key = (self.step, self.replica, number)
        words = np.random.SeedSequence(self.seed, spawn_key=key).generate_state(4)
        return int.from_bytes(words.tobytes(), "little")


@dataclass(frozen=True)
class Gradient:
    """The gradient of the mean loss over `samples`; None for parameters that had no part in it."""

    arrays: tuple[np.ndarray | None, ...]
    loss: float
    samples: int


@dataclass(frozen=True)
class LocalUpdate:
    """Weights after a replica's local steps, with the mean loss before each of them."""

    weights: tuple[np.ndarray, ...]
    moments: Mapping[str, Any]
    losses: tuple[float, ...]


def compute_gradient(
    recipe: Shared[Recipe], data: Shared[Dataset[Any]], weights: Arrays, work: ReplicaWork
) -> Gradient:
    """Return the gradient over the work's rows at `weights`."""
    with borrowed(recipe) as replica:
        replica.load(weights)
        loss = replica.backward(data, work)
        return Gradient(tuple(map(gradient_of, replica.trained)), loss, len(work.rows))


def take_steps(
    recipe: Shared[Recipe],
    data: Shared[Dataset[Any]],
    weights: Arrays,
    moments: Mapping[str, Any] | None,
    works: Sequence[ReplicaWork],
) -> LocalUpdate:
    """Return where one optimizer step for each of `works` leads; stops at a loss that is none."""
    with borrowed(recipe) as replica:
        replica.load(weights)
        optimizer = make_optimizer(replica.recipe.optimizer, replica.module)
        if moments is not None:
            optimizer.load_state_dict(tensors_of(moments))
        losses: list[float] = []
        for work in works:
            losses.append(replica.backward(data, work))
            if not math.isfinite(losses[-1]):
                break
            optimizer.step()
        return LocalUpdate(
            weights_of(replica.module), arrays_of(optimizer.state_dict()), tuple(losses)
        )


def weights_of(module: torch.nn.Module) -> tuple[np.ndarray, ...]:
    """Return copies of a module's parameters and buffers."""
    return tuple(_array(tensor) for tensor in _tensors_of(module))


def load_weights(module: torch.nn.Module, weights: Arrays) -> None:
    """Give a module copies of `weights`, in their own precision and on its own device."""
    tensors = _tensors_of(module)
    found, expected = [tuple(t.shape) for t in tensors], [w.shape for w in weights]
    if found != expected:
        raise UserError(
            f"build: on a worker it returned a module with tensors {found}, expected {expected} "
            f"as in the main process; it must build the same module everywhere"
        )
    for tensor, array in zip(tensors, weights, strict=True):
        tensor.data = torch.tensor(array, device=tensor.device)


def new_module(recipe: Recipe, seed: int) -> torch.nn.Module:
    """Return a module, with torch's generator seeded while it is built, that nobody else has."""
    with _torchs_generator(seed):
        module = build_module(recipe.build)
    with _lock:
        if module in _taken:
            raise UserError(
                "build: it returned the same module twice, expected a new one at every call; "
                "build it inside the function"
            )
        _taken.add(module)
    return module.train()


# -- a replica -----------------------------------------------------------------------------


class Replica:
    """A module in this process, with its sources of random numbers."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.module = new_module(recipe, seed=0)  # weights come with the work
        self.trained = [p for p in self.module.parameters() if p.requires_grad]
        self._estimators = list({id(e): e for e in _estimators_in(self.module)}.values())
        # Whether it draws from torch's generator, by data set: seen at the first evaluation.
        self._draws: dict[str, bool] = {}

    def load(self, weights: Arrays) -> None:
        """Take over weights, and forget gradients."""
        self.module.zero_grad(set_to_none=True)
        load_weights(self.module, weights)

    def backward(self, data: Shared[Dataset[Any]], work: ReplicaWork) -> float:
        """Leave the gradient over some rows in the parameters and return the mean loss."""
        try:
            return self._backward(data, work)
        except UserError as error:
            raise UserError([f"{work}: {fault}" for fault in error.faults]) from error

    def _backward(self, data: Shared[Dataset[Any]], work: ReplicaWork) -> float:
        self.module.zero_grad(set_to_none=True)
        with self._seeded(work, data.key):  # samples too: they may be augmented at random
            batch = _batch(data.get(), work.rows)
            loss = self._loss(*(part.to(self.trained[0].device) for part in batch))
            if math.isfinite(float(loss.detach())):
                loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.recipe.loss(self.module(inputs), labels)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
            found = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise UserError(
                f"loss: it returned {found}, expected one number with a gradient: the mean over "
                f"samples; end with .mean()"
            )
        return loss.reshape(())

    @contextlib.contextmanager
    def _seeded(self, work: ReplicaWork, data: str) -> Iterator[None]:
        """Start all of the module's streams of random numbers where the work says."""
        for number, estimator in enumerate(self._estimators, start=1):
            state = estimator.stages.state_dict() | {"seed": work.stream(number), "batches": 0}
            estimator.stages.load_state_dict(state)
        for module in self.module.modules():
            if callable(reseed := getattr(module, "reseed", None)):
                reseed(work.stream(0))
        # Seeding torch's generator locks out all other threads, so that replicas of an in-process
        # pilot would run one by one; those that have been seen to draw nothing need not wait.
        if not self._draws.get(data, True):
            yield
            return
        with _torchs_generator(work.stream(0) % 2**63):
            before = torch.get_rng_state()
            yield
            # The generators of other devices are not looked at: a module there is taken to draw.
            on_cpu = self.trained[0].device.type == "cpu"
            self._draws[data] = not on_cpu or not torch.equal(before, torch.get_rng_state())


@contextlib.contextmanager
def _torchs_generator(seed: int) -> Iterator[None]:
    """Seed torch's generator for a while, which nobody outside will notice.

    All threads share it, so in-process pilots, which alone have several, do this one by one.
    """
    with _torch_random, torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


_torch_random = threading.Lock()


def _estimators_in(owner: object) -> Iterator[CutEstimator]:
    """Yield the cut estimators that a module, or a Qiskit network inside it, draws from."""
    parts = owner.modules() if isinstance(owner, torch.nn.Module) else (owner,)
    for value in (value for part in parts for value in vars(part).values()):
        if isinstance(value, CutEstimator):
            yield value
        elif isinstance(value, (NeuralNetwork, BaseEstimatorGradient)):
            yield from _estimators_in(value)


def _batch(dataset: Dataset[Any], rows: np.ndarray) -> Sequence[torch.Tensor]:
    if isinstance(dataset, TensorDataset):
        return dataset[torch.as_tensor(rows)]
    pair: Sequence[torch.Tensor] = default_collate([dataset[int(row)] for row in rows])
    return pair


# -- replicas of this process --------------------------------------------------------------

_idle: dict[str, list[Replica]] = {}
_taken: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
_lock = threading.Lock()


@contextlib.contextmanager
def borrowed(recipe: Shared[Recipe]) -> Iterator[Replica]:
    """Lend a replica to one task; it is not kept if that fails."""
    with _lock:
        idle = _idle.setdefault(recipe.key, [])
        replica = idle.pop() if idle else None
        while len(_idle) > MOST_RECIPES:
            del _idle[next(iter(_idle))]
    if replica is None:
        replica = Replica(recipe.get())
    yield replica
    with _lock:
        idle.append(replica)


# -- tensors and arrays --------------------------------------------------------------------


def _tensors_of(module: torch.nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def gradient_of(parameter: torch.nn.Parameter) -> np.ndarray | None:
    """Return a copy of a parameter's gradient, None where it has none."""
    return None if parameter.grad is None else _array(parameter.grad)


def _array(tensor: torch.Tensor) -> np.ndarray:
    # numpy() shares the tensor's memory, and replicas in this process would see its next step.
    copied: np.ndarray = tensor.detach().cpu().numpy().copy()
    return copied


def arrays_of(state: Any) -> Any:
    """Return an optimizer's state with arrays for tensors."""
    if isinstance(state, torch.Tensor):
        return _array(state)
    return _mapped(arrays_of, state)


def tensors_of(state: Any) -> Any:
    """Return an optimizer's state with copies of arrays as tensors."""
    if isinstance(state, np.ndarray):
        return torch.tensor(state)
    return _mapped(tensors_of, state)


def _mapped(function: Any, state: Any) -> Any:
    if isinstance(state, dict):
        return {key: function(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(function(value) for value in state)
    return state


def like(array: np.ndarray, parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return an array as a tensor like a parameter."""
    return torch.as_tensor(array, dtype=parameter.dtype, device=parameter.device)


def check_finite(
    loss: float, arrays: Sequence[np.ndarray | None], what: str, work: ReplicaWork
) -> None:
    """Raise UserError with the replica, the step and samples unless all numbers are finite."""
    some = ", ".join(map(str, work.rows[:4].tolist())) + (", ..." if len(work.rows) > 4 else "")
    advice = f"lower learning_rate, or look at samples {some}"
    if not math.isfinite(loss):
        raise UserError(f"{work}: the loss is {loss}, expected a finite number; {advice}")
    if not all(array is None or np.isfinite(array).all() for array in arrays):
        raise UserError(
            f"{work}: the {what} has numbers that are not finite, expected finite ones; {advice}"
        )


def size_of(state: Any) -> int:
    """Return the bytes of all arrays in nested lists, tuples and dicts."""
    if isinstance(state, np.ndarray):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(size_of, state.values()))
    return sum(map(size_of, state)) if isinstance(state, (list, tuple)) else 0
