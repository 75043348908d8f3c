"""Sums of large arrays over MPI ranks, of which every rank has some blocks.

Environments are large and nearly disjoint, and a ``Reduce`` would need a whole one on every rank.
So each rank sends its blocks to whoever adds them up, in rank order: equal runs give equal digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from mpi4py import MPI

from pilotcut.reconstruction.boxes import (
    ArrayParts,
    Box,
    Region,
    region_of,
    shape_of,
    touched,
    within,
)
from pilotcut.reconstruction.mpi_job import RankJob


@dataclass(frozen=True)
class DistributedSum:
    """An array, rows first, of which every rank has some blocks that add up."""

    job: RankJob
    names: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: ArrayParts

    @classmethod
    def of(cls, job: RankJob, names: tuple[str, ...], shape: tuple[int, ...]) -> DistributedSum:
        """Return the array of zeros that `add` adds to."""
        regions = touched(names, job.division.boxes(job.comm.rank), shape)
        return cls(job, names, shape, ArrayParts(regions))

    def add(self, box: Box, part: np.ndarray) -> None:
        """Add what a box of this rank contributes."""
        self.blocks.add(region_of(self.names, box, self.shape), part)

    def on_first(self, everywhere: bool) -> np.ndarray:
        """Return the sum on rank 0, or everywhere; else an array without rows."""
        comm = self.job.comm
        total = self._added(lambda rank: slice(0, self.shape[0] if rank == 0 else 0))
        if everywhere:
            total = total if comm.rank == 0 else np.empty(self.shape, total.dtype)
            comm.Bcast(total)
        return total

    def on_owners(self) -> np.ndarray:
        """Return own rows of the sum, (rows, observables, sub-observables, variants)."""
        total = self._added(self.job.rows_of)
        return total.reshape(*total.shape[:3], prod(total.shape[3:]))

    def _added(self, rows_of: Callable[[int], slice]) -> np.ndarray:
        """Send each rank its rows of all blocks; return the sum over own rows, in rank order."""
        comm, arrays = self.job.comm, self.blocks.arrays
        if comm.size == 1 and arrays:
            return arrays[0]  # one share is one box
        # All that leaves is on its way before anything is received: else two ranks that send large
        # blocks to each other would both wait.
        sent = [
            comm.Isend(arrays[number][within(part, region)[0]], dest=rank)
            for rank in range(comm.size)
            if rank != comm.rank
            for number, region, part in self._parts(comm.rank, rows_of(rank))
        ]
        own = rows_of(comm.rank)
        whole = (own, *(slice(0, size) for size in self.shape[1:]))
        total = np.zeros(shape_of(whole), self.job.dtype)
        for rank in range(comm.size):
            for number, region, part in self._parts(rank, own):
                if rank == comm.rank:
                    block = arrays[number][within(part, region)[0]]
                else:
                    block = np.empty(shape_of(part), self.job.dtype)
                    comm.Recv(block, source=rank)
                total[within(part, whole)] += block
        MPI.Request.Waitall(sent)
        arrays.clear()
        return total

    def _parts(self, rank: int, rows: slice) -> Iterator[tuple[int, Region, Region]]:
        """Yield the blocks of a rank with some of these rows: number, region, and which part."""
        regions = touched(self.names, self.job.division.boxes(rank), self.shape)
        for number, region in enumerate(regions):
            first, last = max(region[0].start, rows.start), min(region[0].stop, rows.stop)
            if first < last:
                yield number, region, (slice(first, last), *region[1:])
