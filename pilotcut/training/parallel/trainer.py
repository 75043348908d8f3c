"""Data-parallel trainer: a torch module that is trained by replicas of it on pilots.

Owns arguments, epochs and their records. The order of work and updates is the schedule's, weights
and tasks are the server's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pilotcut.errors import UserError
from pilotcut.options import check, check_seed, choice_fault
from pilotcut.pilots.pilot import Pilot
from pilotcut.tasks import TaskManager
from pilotcut.training.checks import Whole, require
from pilotcut.training.config import BATCH_SIZE, EPOCHS
from pilotcut.training.history import Epoch, History
from pilotcut.training.losses import Loss
from pilotcut.training.parallel.recipe import (
    Build,
    MakeOptimizer,
    Recipe,
    as_loss,
    as_optimizer,
    make_optimizer,
)
from pilotcut.training.parallel.replica import new_module
from pilotcut.training.parallel.schedules import AllReduced, ReplicaSchedule, Synchronous
from pilotcut.training.parallel.server import Server, Update

#: Options of `TaskManager.submit_task` that make sense for replicas.
TASK_OPTIONS = ("pilot", "cores", "gpus", "retries", "error_retries", "cost_s")

#: How gradients of replicas come together.
COMMUNICATIONS = ("parameter-server", "allreduce")

#: Called with (epoch, loss, model) after every epoch.
OnEpoch = Callable[[int, float, torch.nn.Module], object]


class DataParallel:
    """Trains a torch module with replicas of it on pilots.

    A replica is a module that `build` has built in a worker process, once. What travels are
    numbers: weights and row numbers there, gradients back; the data set goes once to each worker.
    Which worker computes a gradient has no influence on it, neither has a worker's death.

    Parameters
    ----------
    build
        Returns a new ``torch.nn.Module`` at every call: any function that cloudpickle can
        pickle, with a `pilotcut.cut_qnn` or a ``TorchConnector`` inside, without a task manager.
        It runs here, for the initial weights, with torch's generator seeded by `seed`, and once
        in each worker process, where weights are replaced.
    tasks
        Where replicas run.
    schedule
        `Synchronous`, `LocalSteps` or `BoundedStaleness`.
    communication
        How the replicas' gradients are averaged. "parameter-server": this process gets all of them
        and sends weights back. "allreduce": each rank of an MPI pilot (`ranks:` in its
        description) has a replica and its weights, and the ranks add up gradients among each
        other, as Horovod and torch's DistributedDataParallel do; an epoch is one task. With
        `Synchronous` only. Weights are those of the parameter server to the rounding of sums in
        double precision, and the same to the last bit in every run on as many ranks of the same
        MPI, on the same nodes.
    loss
        "mse", "l1", "cross-entropy", or a function (outputs, labels) -> mean over samples.
    optimizer
        "sgd", "adam", "adamw", "rmsprop", "adagrad", or a function (parameters) -> optimizer.
    learning_rate
        Of an optimizer that is given by name.
    replicas
        Among how many a batch is dealt; by default the slots of `tasks`, or the ranks.
        They may be more than there are workers. Given explicitly, results do not depend on the
        number of workers, to the last bit; on ranks to the rounding of sums.
    seed
        Decides initial weights, the order of samples, and all shots: before every gradient,
        each `CutEstimator` inside the module gets a stream of its own from (seed, step, replica),
        and so does torch's generator. Other sources of random numbers belong into a submodule
        with a method ``reseed(seed: int)``, which is called then too.
    task_options
        Options of `TaskManager.submit_task` for all tasks, such as ``{"pilot": "gpu", "gpus": 1}``.

    Attributes
    ----------
    model
        The trained module, in this process.
    optimizer
        Its optimizer, which `LocalSteps` does not use: there each replica has its own.
    replicas, schedule
        As above.

    Examples
    --------
    >>> from pilotcut import PilotManager, TaskManager
    >>> from pilotcut.pilots.description import embedded
    >>> x = torch.linspace(-1, 1, 12).reshape(-1, 1)
    >>> with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
    ...     trainer = DataParallel(lambda: torch.nn.Linear(1, 1), tasks)
    ...     history = trainer.fit((x, 3 * x + 1), epochs=40, batch_size=6)
    >>> history.losses[-1] < 0.1 < history.losses[0]
    True

    Notes
    -----
    The modules' buffers travel with the weights and are not trained; batch statistics are
    refused. A task takes some 20 ms to a worker process and back, so a gradient should take
    longer; with `LocalSteps` fewer tasks travel. Without `replicas` a batch is dealt by the
    number of slots, which changes the rounding, and in modes with shots the shots.
    """

    def __init__(
        self,
        build: Build,
        tasks: TaskManager,
        *,
        schedule: ReplicaSchedule | None = None,
        communication: str = "parameter-server",
        loss: str | Loss = "mse",
        optimizer: str | MakeOptimizer = "adam",
        learning_rate: float = 0.1,
        replicas: int | None = None,
        seed: int = 0,
        task_options: Mapping[str, Any] | None = None,
    ) -> None:
        _check_manager(tasks)
        self.schedule = _checked_schedule(schedule)
        options = _checked_options(task_options or {})
        self._order_of_work, slots = self.schedule, tasks.slots
        check(choice_fault("communication", communication, COMMUNICATIONS))
        if communication == "allreduce":
            self._order_of_work = on_ranks = _on_ranks(tasks, self.schedule, options)
            slots = on_ranks.ranks
        self.replicas = slots if replicas is None else replicas
        require("replicas", self.replicas, Whole(1, None, "2 is a usual choice"))
        check_seed(seed, 2**64 - 1)  # torch's most
        if not callable(build) or isinstance(build, torch.nn.Module):
            raise UserError(
                f"build is of type {type(build).__name__}, expected a function without arguments "
                f"that returns a new module; try lambda: cut_qnn(...)"
            )
        recipe = Recipe(build, as_loss(loss), as_optimizer(optimizer, learning_rate))
        _ = recipe.key  # what cannot be pickled shows before anything is built
        self.model = new_module(recipe, seed)
        self.optimizer = make_optimizer(recipe.optimizer, self.model)
        self._server = Server(
            tasks,
            recipe,
            self.model,
            self.optimizer,
            self.replicas,
            seed,
            options,
        )
        self._order = torch.Generator().manual_seed(seed)
        self._epochs = 0

    def fit(
        self,
        dataset: Dataset[Any] | tuple[Any, Any],
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool = True,
        on_epoch: OnEpoch | None = None,
    ) -> History:
        """Train for some epochs; a second call goes on where the first ended.

        Parameters
        ----------
        dataset
            A torch Dataset of pairs (input, label) with a length, or ``(x, y)``, arrays of as
            many rows. Workers read it, so it should load big samples in ``__getitem__``.
        epochs
            How often all samples are seen.
        batch_size
            Samples of one batch, over all replicas; of one gradient with `BoundedStaleness`.
        shuffle
            Draw a new order for every epoch, as ``torch.randperm(rows, generator=g)`` with
            ``g = torch.Generator().manual_seed(seed)``.
        on_epoch
            Called with (epoch, loss, model) after every epoch.

        Returns
        -------
        History
            Loss, seconds, staleness and bytes of every epoch.

        Raises
        ------
        UserError
            For a data set that is none, and for a loss or gradient that is not finite, with
            the replica and the step.
        """
        require("epochs", epochs, EPOCHS)
        require("batch_size", batch_size, BATCH_SIZE)
        rows = self._server.use(dataset)
        done = []
        try:
            for _ in range(epochs):
                done.append(self._epoch(self._batches(rows, batch_size, shuffle)))
                if on_epoch is not None:
                    on_epoch(done[-1].epoch, done[-1].loss, self.model)
        finally:
            self._server.abandon()
        return History(tuple(done), done[-1], sum(epoch.seconds or 0.0 for epoch in done))

    def _batches(self, rows: int, batch_size: int, shuffle: bool) -> list[np.ndarray]:
        order = torch.randperm(rows, generator=self._order) if shuffle else torch.arange(rows)
        return [batch.numpy() for batch in order.split(batch_size)]

    def _epoch(self, batches: Sequence[np.ndarray]) -> Epoch:
        server, started = self._server, perf_counter()
        sent, received = server.bytes_sent, server.bytes_received
        updates: list[Update] = list(self._order_of_work.run(server, batches))
        self._epochs += 1
        return Epoch(
            epoch=self._epochs,
            loss=sum(u.loss_sum for u in updates) / sum(u.samples for u in updates),
            seconds=perf_counter() - started,
            staleness=tuple(u.staleness for u in updates),
            bytes_sent=server.bytes_sent - sent,
            bytes_received=server.bytes_received - received,
        )


def _check_manager(tasks: object) -> None:
    if not isinstance(tasks, TaskManager):
        raise UserError(
            f"tasks is of type {type(tasks).__name__}, expected a TaskManager; for this process "
            f"TaskManager(PilotManager(pilotcut.pilots.description.embedded()))"
        )


def _checked_schedule(schedule: ReplicaSchedule | None) -> ReplicaSchedule:
    schedule = Synchronous() if schedule is None else schedule
    if isinstance(schedule, type) or not callable(getattr(schedule, "run", None)):
        raise UserError(
            f"schedule is {schedule!r}, expected Synchronous(), LocalSteps(steps) or "
            f"BoundedStaleness(bound)"
        )
    return schedule


def _on_ranks(
    tasks: TaskManager, schedule: ReplicaSchedule, options: Mapping[str, Any]
) -> AllReduced:
    """Return the schedule on the pilots with most ranks, of those that tasks may run on.

    Where none are named, these are the stage's own, or those that are nobody's.
    """
    if not isinstance(schedule, Synchronous):
        raise UserError(
            f"communication is 'allreduce' with schedule {schedule!r}, expected Synchronous(): "
            f"ranks step together; use 'parameter-server' for other schedules"
        )
    named = options.get("pilot")
    allowed = {named} if isinstance(named, str) else None if named is None else set(named)
    among = tasks.takers
    if allowed is not None:
        among = tuple(p for p in tasks.pilots.pilots if allowed & {p.name, _entry(p)})
    pilots = [p for p in among if p.description.ranks > 1 and not p.state.final]
    if not pilots:
        found = [pilot.name for pilot in among] if allowed is None else sorted(allowed)
        raise UserError(
            f"communication is 'allreduce', expected a pilot with ranks of 2 or more among "
            f"{', '.join(map(repr, found)) or 'none'}; add one (see: pilotcut pilots "
            f"show laptop_mpi --yaml) or use 'parameter-server'"
        )
    ranks = max(pilot.description.ranks for pilot in pilots)
    return AllReduced(ranks, tuple(p.name for p in pilots if p.description.ranks == ranks))


def _entry(pilot: Pilot) -> str:
    """Return what the description of a pilot is called, of which there may be several."""
    return pilot.description.kind if pilot.description.elastic is not None else pilot.name


def _checked_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := sorted(set(options) - set(TASK_OPTIONS)):
        raise UserError(
            f"task_options has {', '.join(map(repr, unknown))}, expected only "
            f"{', '.join(TASK_OPTIONS)}"
        )
    return dict(options)
