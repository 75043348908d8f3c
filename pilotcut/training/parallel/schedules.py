"""Schedules of replicas: when each computes, and when its results are applied.

A schedule is data and one method that turns an epoch's batches into updates of the server.

References
----------
L. Pira and C. Ferrie, "An invitation to distributed quantum neural networks" (2023): the
synchronous and the asynchronous schedule. H. B. McMahan et al., arXiv:1602.05629, and S. U.
Stich, arXiv:1805.09767: local steps between averages. Q. Ho et al., "More effective distributed
ML via a stale synchronous parallel parameter server" (2013): bounded staleness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pilotcut.training.checks import Whole, require
from pilotcut.training.parallel.server import PendingWork, Server, Update, shards


# On two cores (exact mode, 28 qubits, 1 cut, batches of 32) two replicas are 1.35 times as fast as
# a plain loop, synchronous or with 4 local steps, and one replica takes 1.16 times as long as the
# loop (benchmarks/data_parallel.py).
class ReplicaSchedule(Protocol):
    """Order of work and updates."""

    def run(self, server: Server, batches: Sequence[np.ndarray]) -> Iterator[Update]:
        """Yield the updates of one epoch; when it ends, nothing is under way."""
        ...


@dataclass(frozen=True)
class Synchronous:
    """Every batch is dealt to all replicas, and their gradients are one step of the optimizer.

    Gradients are averaged by the sizes of the shards, which is the gradient of the batch's mean
    loss: training does what it would do in one process, to rounding.
    """

    def run(self, server: Server, batches: Sequence[np.ndarray]) -> Iterator[Update]:
        """Yield an update for each batch."""
        for rows in batches:
            step = server.next_step()
            asked = [
                server.ask_gradient(shard, step, replica)
                for replica, shard in enumerate(shards(rows, server.replicas))
                if len(shard)
            ]
            yield server.apply([server.gradient(some) for some in asked], server.version)


@dataclass(frozen=True)
class AllReduced:
    """The synchronous schedule on the ranks of a pilot, an epoch a task.

    Each rank has a replica and an optimizer of its own, in the same state; gradients are added up
    by an all-reduce, and all ranks take the same step.

    Parameters
    ----------
    ranks, pilots
        How many, and the MPI pilots that have so many.
    """

    ranks: int
    pilots: tuple[str, ...]

    def run(self, server: Server, batches: Sequence[np.ndarray]) -> Iterator[Update]:
        """Yield an update for each batch, all of them when the epoch is done."""
        yield from server.stepped_together(server.ask_together(batches, self.ranks, self.pilots))


@dataclass(frozen=True)
class LocalSteps:
    """Replicas take `steps` steps of their own, each on its shards; then weights are averaged.

    Weights are averaged by the samples that a replica has seen since the last average. Every
    replica keeps an optimizer state of its own (Adam's moments are not averaged); it travels
    with the work, so that it does not matter which worker is the replica. With one step of plain
    SGD this is the synchronous schedule.

    Parameters
    ----------
    steps
        Optimizer steps between averages, one for each batch.
    """

    steps: int

    def __post_init__(self) -> None:
        require("LocalSteps: steps", self.steps, Whole(1, None, "try 2"))

    def run(self, server: Server, batches: Sequence[np.ndarray]) -> Iterator[Update]:
        """Yield an update for every `steps` batches, and for what remains."""
        for start in range(0, len(batches), self.steps):
            chunk = batches[start : start + self.steps]
            steps = [server.next_step() for _ in chunk]
            streams = zip(*(shards(rows, server.replicas) for rows in chunk), strict=True)
            asked = [
                server.ask_steps(stream, steps, replica)
                for replica, stream in enumerate(streams)
                if any(map(len, stream))
            ]
            yield server.average(asked, [server.stepped(some) for some in asked])


@dataclass(frozen=True)
class BoundedStaleness:
    """Replicas compute gradients of whole batches, each applied as it arrives, none too old.

    A gradient is applied at most `bound` updates after the weights that it was computed from;
    so while one replica computes, the others get at most `bound` updates ahead of it. What
    arrives earlier than that allows waits for the oldest. An epoch ends when all its gradients
    are applied. With ``bound=0`` one gradient is computed at a time: plain SGD in sequence, as in
    one process.

    The bound is certain; the order is one of arrivals, so that numbers differ from run to run
    unless `ordered`.

    Parameters
    ----------
    bound
        Most updates between the weights of a gradient and its application. Up to
        ``bound + 1`` replicas are busy.
    ordered
        Apply gradients in the order in which they were asked for, which makes the numbers the
        same in every run, on any number of workers.
    """

    bound: int
    ordered: bool = False

    def __post_init__(self) -> None:
        require("BoundedStaleness: bound", self.bound, Whole(0, None, "try 2"))

    def run(self, server: Server, batches: Sequence[np.ndarray]) -> Iterator[Update]:
        """Yield an update for each batch."""
        waiting, flight = deque(batches), list[PendingWork]()
        lanes = range(min(server.replicas, self.bound + 1))
        while waiting or flight:
            while waiting and len(flight) < len(lanes):
                lane = min(set(lanes) - {asked.replica for asked in flight})
                flight.append(server.ask_gradient(waiting.popleft(), server.next_step(), lane))
            asked = self._next(flight, server.version)
            flight.remove(asked)
            yield server.apply([server.gradient(asked)], asked.version)

    def _next(self, flight: Sequence[PendingWork], version: int) -> PendingWork:
        """Wait for a gradient that may be applied now."""
        if self.ordered:
            return flight[0]
        versions = [asked.version for asked in flight]
        allowed = [flight[i] for i in may_be_next(versions, version, self.bound)]
        wait([asked.future for asked in allowed], return_when=FIRST_COMPLETED)
        return next(asked for asked in allowed if asked.future.done())


def may_be_next(versions: Sequence[int], version: int, bound: int) -> list[int]:
    """Return which gradients may be applied now without making any other too old.

    The others can still be applied in time if they can be in the order of their age, one update
    each (earliest deadline first).

    Parameters
    ----------
    versions
        Of the weights that each gradient under way is computed from.
    version
        Of the weights now.
    bound
        Most updates between the two.

    Examples
    --------
    >>> may_be_next([3, 4], 4, bound=2)  # applied second, the older one is 5 - 3 = 2 late
    [0, 1]
    >>> may_be_next([3, 4], 4, bound=1)
    [0]
    """
    return [
        i
        for i in range(len(versions))
        if all(
            version + later - other <= bound
            for later, other in enumerate(sorted([*versions[:i], *versions[i + 1 :]]), start=1)
        )
    ]
