"""Parameter server: weights and optimizer in this process, gradients from replicas.

It hands out work and takes in what comes back; in which order is its schedule's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pilotcut.errors import UserError
from pilotcut.tasks import Shared, TaskFuture, TaskManager
from pilotcut.training.parallel.all_reduce import SharedSteps, take_steps_together
from pilotcut.training.parallel.recipe import Recipe, as_dataset, data_key
from pilotcut.training.parallel.replica import (
    Gradient,
    LocalUpdate,
    ReplicaWork,
    arrays_of,
    check_finite,
    compute_gradient,
    like,
    load_weights,
    size_of,
    take_steps,
    tensors_of,
    weights_of,
)


@dataclass(frozen=True)
class PendingWork:
    """Work that a replica was asked for, and the version of the weights that it starts from."""

    future: TaskFuture
    works: tuple[ReplicaWork, ...]
    version: int

    @property
    def replica(self) -> int:
        """Number of the replica."""
        return self.works[0].replica

    @property
    def samples(self) -> int:
        """Number of rows."""
        return sum(len(work.rows) for work in self.works)


@dataclass(frozen=True)
class Update:
    """One change of the weights.

    Attributes
    ----------
    staleness
        Updates between the weights that it was computed from and those that it changed.
    loss_sum, samples
        Sum of the losses of the samples that went into it, and their number.
    """

    staleness: int
    loss_sum: float
    samples: int


class Server:
    """Holds weights, optimizer and the replicas' moments.

    Parameters
    ----------
    tasks
        Where replicas run.
    recipe
        What they are made from.
    module, optimizer
        What is trained here.
    replicas
        Their number.
    seed
        What the replicas' random numbers derive from.
    options
        Of `TaskManager.submit_task`, for every task.

    Attributes
    ----------
    version
        Number of updates so far.
    bytes_sent, bytes_received
        Weights, moments, row numbers and gradients so far.
    """

    def __init__(
        self,
        tasks: TaskManager,
        recipe: Recipe,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        replicas: int,
        seed: int,
        options: Mapping[str, Any],
    ) -> None:
        self.module, self.optimizer, self.replicas = module, optimizer, replicas
        self.version = self.bytes_sent = self.bytes_received = 0
        self._tasks, self._options, self._seed = tasks, options, seed
        self._recipe: Shared[Recipe] = tasks.share(recipe, key=f"recipe-{recipe.key}")
        self._data: Shared[Dataset[Any]] | None = None
        self._moments: dict[int, Mapping[str, Any]] = {}
        self._steps = 0
        self._open: set[TaskFuture] = set()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": set()}  # what was asked is answered to the original

    def use(self, data: Any) -> int:
        """Take rows from `data` from now on; return how many there are."""
        dataset = as_dataset(data)
        self._data = self._tasks.share(dataset, key=f"data-{data_key(dataset)}")
        return len(dataset)  # type: ignore[arg-type]

    def next_step(self) -> int:
        """Return the number of the next step; random numbers derive from it."""
        self._steps += 1
        return self._steps - 1

    # -- out ---------------------------------------------------------------------------

    def ask_gradient(self, rows: np.ndarray, step: int, replica: int) -> PendingWork:
        """Ask for the gradient over some rows, at the weights of now."""
        work = ReplicaWork(self._seed, step, replica, rows)
        return self._ask(compute_gradient, (weights_of(self.module), work), (work,))

    def ask_steps(
        self, shards: Sequence[np.ndarray], steps: Sequence[int], replica: int
    ) -> PendingWork:
        """Ask for steps of the replica's own, one for each shard that has rows."""
        works = tuple(
            ReplicaWork(self._seed, step, replica, rows)
            for step, rows in zip(steps, shards, strict=True)
            if len(rows)
        )
        moments = self._moments.get(replica)
        return self._ask(take_steps, (weights_of(self.module), moments, works), works)

    def ask_together(
        self, batches: Sequence[np.ndarray], ranks: int, pilots: Sequence[str]
    ) -> PendingWork:
        """Ask for steps that the ranks of a pilot take together, one for each batch."""
        steps = [
            [
                ReplicaWork(self._seed, step, replica, rows)
                for replica, rows in enumerate(shards(batch, self.replicas))
                if len(rows)
            ]
            for step, batch in ((self.next_step(), batch) for batch in batches)
        ]
        moments = arrays_of(self.optimizer.state_dict())
        works = tuple(work for step in steps for work in step)
        where = {"ranks": ranks, "pilot": tuple(pilots)}
        arguments = (weights_of(self.module), moments, steps)
        return self._ask(take_steps_together, arguments, works, where)

    def _ask(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        works: tuple[ReplicaWork, ...],
        where: Mapping[str, Any] | None = None,
    ) -> PendingWork:
        first = works[0]
        future = self._tasks.submit_task(
            function,
            self._recipe,
            self._data,
            *arguments,
            name=f"replica-{first.replica}.step-{first.step}",
            **(dict(self._options) | dict(where or {})),
        )
        self._open.add(future)
        self.bytes_sent += size_of(arguments) + sum(work.rows.nbytes for work in works)
        return PendingWork(future, works, self.version)

    def abandon(self) -> None:
        """Take back what is asked for and did not begin."""
        for future in self._open:
            future.cancel()
        self._open.clear()

    # -- in ----------------------------------------------------------------------------

    def gradient(self, asked: PendingWork) -> Gradient:
        """Wait for a gradient."""
        gradient: Gradient = self._answer(asked)
        self.bytes_received += size_of(gradient.arrays)
        check_finite(gradient.loss, gradient.arrays, "gradient", asked.works[0])
        return gradient

    def stepped(self, asked: PendingWork) -> LocalUpdate:
        """Wait for a replica's own steps, and keep its moments."""
        stepped: LocalUpdate = self._answer(asked)
        self.bytes_received += size_of((stepped.weights, stepped.moments))
        works = asked.works[: len(stepped.losses)]
        for work, loss in zip(works, stepped.losses, strict=True):
            check_finite(loss, (), "weights", work)
        check_finite(0.0, stepped.weights, "weights", works[-1])
        self._moments[asked.replica] = stepped.moments
        return stepped

    def stepped_together(self, asked: PendingWork) -> list[Update]:
        """Wait for steps that ranks took together, and take over their weights and moments."""
        found: SharedSteps = self._answer(asked)
        self.bytes_received += size_of((found.weights, found.moments))
        load_weights(self.module, found.weights)
        self.optimizer.load_state_dict(tensors_of(found.moments))
        return [
            self._updated(self.version, loss_sum, samples)
            for loss_sum, samples in zip(found.loss_sums, found.samples, strict=True)
        ]

    def _answer(self, asked: PendingWork) -> Any:
        try:
            answer = asked.future.result()
        except Exception as error:
            if not isinstance(error, UserError):  # which says so itself
                error.add_note(f"this was asked of {asked.works[0]}")
            raise
        self._open.discard(asked.future)
        return answer

    # -- updates -----------------------------------------------------------------------

    def apply(self, gradients: Sequence[Gradient], version: int) -> Update:
        """Step by the average of gradients that were computed at `version` of the weights."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        shares = [gradient.samples for gradient in gradients]
        columns = zip(*(gradient.arrays for gradient in gradients), strict=True)
        for parameter, column in zip(trained, columns, strict=True):
            mean = _mean(column, shares)
            parameter.grad = None if mean is None else like(mean, parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum = sum(g.loss * g.samples for g in gradients)
        return self._updated(version, loss_sum, sum(shares))

    def average(self, asked: Sequence[PendingWork], stepped: Sequence[LocalUpdate]) -> Update:
        """Take over the average of replicas' weights, each by the samples that it has seen."""
        shares = [some.samples for some in asked]
        columns = zip(*(some.weights for some in stepped), strict=True)
        load_weights(self.module, [_averaged(column, shares) for column in columns])
        loss_sum = sum(
            loss * len(work.rows)
            for some, answer in zip(asked, stepped, strict=True)
            for work, loss in zip(some.works, answer.losses, strict=True)
        )
        return self._updated(self.version, loss_sum, sum(shares))

    def _updated(self, version: int, loss_sum: float, samples: int) -> Update:
        update = Update(self.version - version, loss_sum, samples)
        self.version += 1
        return update


def shards(rows: np.ndarray, replicas: int) -> list[np.ndarray]:
    """Return a batch's rows, dealt to replicas as evenly as can be; some may get none."""
    return np.array_split(rows, replicas)


def _mean(arrays: Sequence[np.ndarray | None], shares: Sequence[int]) -> np.ndarray | None:
    """Return the average weighted by `shares`, in double precision; None if there is nothing."""
    if all(array is None for array in arrays):
        return None
    total = sum(shares)
    # In double precision and in the order of replicas: the last bits must be those of every run.
    terms = [
        array.astype(np.result_type(array, float)) * (share / total)
        for array, share in zip(arrays, shares, strict=True)
        if array is not None
    ]
    return np.sum(terms, axis=0)


def _averaged(arrays: Sequence[np.ndarray], shares: Sequence[int]) -> np.ndarray:
    """Return the average in the arrays' own precision; of buffers that only count, the first."""
    dtype = arrays[0].dtype
    if not np.issubdtype(dtype, np.inexact):
        return arrays[0]
    mean = _mean(arrays, shares)
    assert mean is not None
    return mean.astype(dtype)
