"""Steps of a replica that every rank of MPI has: gradients are averaged by an all-reduce.

Weights stay where they are, on the ranks; no process takes in all gradients. The sum is MPI's
``Allreduce``: MPICH, Open MPI and Intel MPI choose a ring, or halving and doubling, for long
messages, both of which move 2 (R - 1) / R gradients a rank (P. Patarasu and X. Yuan, 2009).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from pilotcut.errors import TaskError
from pilotcut.tasks import Shared
from pilotcut.training.parallel.recipe import Recipe, make_optimizer
from pilotcut.training.parallel.replica import (
    Arrays,
    Replica,
    ReplicaWork,
    arrays_of,
    borrowed,
    check_finite,
    gradient_of,
    like,
    tensors_of,
    weights_of,
)

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class SharedSteps:
    """Where steps lead that all ranks took together.

    Parameters
    ----------
    weights, moments
        Of the module and its optimizer behind the last step.
    loss_sums, samples
        Of each step: the sum of the losses of its samples, and their number.
    """

    weights: tuple[np.ndarray, ...]
    moments: Mapping[str, Any]
    loss_sums: tuple[float, ...]
    samples: tuple[int, ...]


def take_steps_together(
    recipe: Shared[Recipe],
    data: Shared[Dataset[Any]],
    weights: Arrays,
    moments: Mapping[str, Any],
    steps: Sequence[Sequence[ReplicaWork]],
) -> SharedSteps:
    """Return where one optimizer step for each of `steps` leads; all ranks call this.

    Parameters
    ----------
    recipe, data, weights, moments
        As of one replica; the optimizer's state is that of all ranks.
    steps
        For each step the works of all replicas that have rows, which are dealt to the ranks.

    Raises
    ------
    UserError
        On the rank that finds a loss or a gradient that is not finite.
    TaskError
        If the ranks' weights differ at the end.
    """
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    with borrowed(recipe) as replica:
        replica.load(weights)
        optimizer = make_optimizer(replica.recipe.optimizer, replica.module)
        optimizer.load_state_dict(tensors_of(moments))
        losses, samples = [], []
        for works in steps:
            total = sum(len(work.rows) for work in works)
            own = [works[k] for k in np.array_split(np.arange(len(works)), comm.size)[comm.rank]]
            losses.append(_averaged_gradient(comm, replica, data, own, total))
            optimizer.step()
            samples.append(total)
        found = weights_of(replica.module)
        _check_equal(comm, found)
        return SharedSteps(found, arrays_of(optimizer.state_dict()), tuple(losses), tuple(samples))


def _averaged_gradient(
    comm: MPI.Intracomm,
    replica: Replica,
    data: Shared[Dataset[Any]],
    works: Sequence[ReplicaWork],
    total: int,
) -> float:
    """Leave the mean over all ranks' samples in the parameters; return the sum of losses."""
    trained = replica.trained
    ends = np.cumsum([parameter.numel() for parameter in trained])
    # In double precision; behind the gradients who has one of each parameter, and the losses.
    sums = np.zeros(int(ends[-1]) + len(trained) + 1)
    parts = np.split(sums[: int(ends[-1])], ends[:-1])
    has, loss_sum = sums[int(ends[-1]) : -1], sums[-1:]
    for work in works:
        loss = replica.backward(data, work)
        arrays = [gradient_of(parameter) for parameter in trained]
        check_finite(loss, arrays, "gradient", work)
        loss_sum += loss * len(work.rows)
        for number, (part, array) in enumerate(zip(parts, arrays, strict=True)):
            if array is not None:
                part += array.reshape(-1).astype(float) * (len(work.rows) / total)
                has[number] = 1
    from mpi4py import MPI

    comm.Allreduce(MPI.IN_PLACE, sums)
    for parameter, part, count in zip(trained, parts, has, strict=True):
        shape = tuple(parameter.shape)
        parameter.grad = like(part.reshape(shape), parameter) if count else None
    return float(loss_sum[0])


def _check_equal(comm: MPI.Intracomm, weights: Arrays) -> None:
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    if len(set(comm.allgather(digest))) > 1:
        raise TaskError(
            "the ranks' weights differ after the same steps, expected equal ones: this MPI adds "
            "in another order on each rank; give communication='parameter-server'"
        )
