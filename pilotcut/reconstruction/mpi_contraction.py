"""The contraction over the ranks of an MPI communicator.

Rank 0 has the question; what it passes decides, and the others may pass None. Each rank
contracts its share of a `Division` (rows of the batch first, then terms, then slices of bond
indices) from the blocks that the share needs: sent by rank 0 out of its arrays, or read from
a `TensorStore`. Values and standard errors are added by one ``Reduce``, or ``Allreduce``
where everyone wants them. Environments are large and mostly disjoint, so each rank sends the
blocks that it has to the rank that adds them up, in rank order: equal runs give equal digits.

Start ranks with ``python -m mpi4py``, so that one that fails aborts the others, which would
wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from mpi4py import MPI

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.reconstruction.contraction import (
    BATCH,
    TERM,
    Contraction,
    sensitivities,
    standard_errors,
)
from pilotcut.reconstruction.slicing import (
    Blocks,
    Box,
    Division,
    Region,
    divide,
    evaluated,
    region_of,
    touched,
    within,
)
from pilotcut.reconstruction.tensor_store import TensorStore

#: Operands as arrays on rank 0, or where every rank finds them.
Operands: TypeAlias = Sequence[np.ndarray] | TensorStore

_Array = TypeVar("_Array", np.ndarray, FragmentTensor)

#: Each fragment's groups of sub-observables.
Groups: TypeAlias = Sequence[Sequence[Sequence[int]]]


class Sums(NamedTuple):
    """Values (batch, terms), and for each operand d value / d operand if that was asked."""

    values: np.ndarray
    environments: list[np.ndarray]


class Estimate(NamedTuple):
    """Values and standard errors of sums of terms, (batch, observables) both."""

    values: np.ndarray
    errors: np.ndarray


def contract(
    contraction: Contraction | None,
    operands: Operands | None,
    comm: MPI.Intracomm,
    *,
    environments: bool = False,
    everywhere: bool = False,
) -> Sums | None:
    """Return what `Contraction.values` or `values_and_environments` do, from all ranks.

    Parameters
    ----------
    contraction, operands, environments, everywhere
        As rank 0 passes them. `operands` are arrays as of `Contraction.operands`, of which
        each rank is sent its part, or a `TensorStore` from which each reads it.
    comm
        Who takes part; all of its ranks call this.
    everywhere
        Whether every rank gets the result, or rank 0 alone (None elsewhere).

    Raises
    ------
    ValueError, OSError
        On all ranks, where the operands do not fit the contraction or cannot be read.

    Notes
    -----
    Memory: a rank holds its blocks of the operands (of a store: those of one box at a time),
    the arrays of one box, and its blocks of the environments. Whoever gets the environments
    holds all of them.
    """
    environments, everywhere = comm.bcast((environments, everywhere))
    job = _Job.agreed(comm, contraction, operands)
    values = np.zeros((job.rows, job.terms), job.dtype)
    slopes = [_Summed.of(job, *axes) for axes in job.environment_axes] if environments else []
    for box, some, parts in job.evaluated(operands, environments):
        values[box[BATCH], box[TERM]] += some
        for slope, part in zip(slopes, parts, strict=True):
            slope.add(box, part)
    added = _reduced(comm, values, everywhere)
    whole = [slope.on_first(everywhere) for slope in slopes]
    return None if added is None else Sums(added, whole)


def estimate(
    contraction: Contraction | None,
    groups: Groups | None,
    tensors: Sequence[FragmentTensor] | TensorStore | None,
    bonds: Sequence[np.ndarray] | None,
    coefficients: np.ndarray | None,
    comm: MPI.Intracomm,
    *,
    everywhere: bool = False,
) -> Estimate | None:
    """Return sums of terms with their standard errors, from all ranks.

    A rank turns environments into `sensitivities` box by box, so that no environment is ever
    whole. Each rank then adds up those of some rows, of which it computes the errors.

    Parameters
    ----------
    contraction, groups, tensors, bonds, coefficients, everywhere
        As rank 0 passes them. `coefficients` are (observables, terms) or (batch, observables,
        terms); a `TensorStore` has the bonds as well. Tensors without covariances are exact.
    comm
        Who takes part; all of its ranks call this.

    Raises
    ------
    ValueError, OSError
        On all ranks, where the tensors do not fit the contraction or cannot be read.
    """
    noisy = _noisy(tensors)
    groups, coefficients, noisy, everywhere = comm.bcast((groups, coefficients, noisy, everywhere))
    operands = _operands(contraction, tensors, bonds)
    job = _Job.agreed(comm, contraction, operands)
    if groups is None or coefficients is None:
        raise ValueError("rank 0 passes no groups or coefficients, expected both from it")
    weights = np.broadcast_to(coefficients, (job.rows, *coefficients.shape[-2:]))
    both = np.zeros((2, *weights.shape[:2]))  # values, errors
    slopes = [_Summed.of(job, *axes) for axes in job.sensitivity_axes(weights)] if noisy else []
    for box, some, parts in job.evaluated(operands, noisy):
        rows, terms = box[BATCH], box[TERM]
        both[0, rows] += np.einsum("rot,rt->ro", weights[rows, :, terms], some.real)
        for f, slope in enumerate(slopes):
            index = job.contraction.term_index[terms, f]
            part = sensitivities(index, parts[f], weights[rows, :, terms], slope.shape[2])
            slope.add(box, part.reshape(*part.shape[:3], *parts[f].shape[2:]))
    if noisy:
        noise = job.covariances(groups, tensors)
        both[1, job.own_rows] = standard_errors(groups, noise, [s.on_owners() for s in slopes])
    added = _reduced(comm, both, everywhere)
    return None if added is None else Estimate(added[0], added[1])


def _noisy(tensors: Sequence[FragmentTensor] | TensorStore | None) -> bool:
    if isinstance(tensors, TensorStore):
        return tensors.has_covariances()
    return any(tensor.covariances for tensor in tensors or ())


def _operands(
    contraction: Contraction | None,
    tensors: Sequence[FragmentTensor] | TensorStore | None,
    bonds: Sequence[np.ndarray] | None,
) -> Operands | None:
    if isinstance(tensors, TensorStore) or contraction is None or tensors is None:
        return tensors if isinstance(tensors, TensorStore) else None
    return contraction.operands(tensors, bonds or ())


def _reduced(comm: MPI.Intracomm, part: np.ndarray, everywhere: bool) -> np.ndarray | None:
    """Return the sum over ranks, on rank 0 or everywhere."""
    if everywhere:
        comm.Allreduce(MPI.IN_PLACE, part)
        return part
    if comm.rank == 0:
        comm.Reduce(MPI.IN_PLACE, part)
        return part
    comm.Reduce(part, None)
    return None


# -- what all ranks know ---------------------------------------------------------------

#: Names of an array's axes, and its shape.
_Axes: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True)
class _Job:
    """What is contracted and who does what: the same on all ranks.

    Parameters
    ----------
    comm
        Who takes part.
    contraction, division
        What, and the shares.
    shapes, types
        Of the whole operands.
    store
        Where operands are read from, or None where rank 0 sends them.
    """

    comm: MPI.Intracomm
    contraction: Contraction
    division: Division
    shapes: Sequence[tuple[int, ...]]
    types: Sequence[np.dtype[Any]]
    store: TensorStore | None

    @classmethod
    def agreed(
        cls, comm: MPI.Intracomm, contraction: Contraction | None, operands: Operands | None
    ) -> _Job:
        """Return what rank 0 makes of its arguments, or raise everywhere what it raises."""
        told: object = None
        if comm.rank == 0:
            try:
                told = _planned(contraction, operands, comm.size)
            except (ValueError, OSError) as error:
                told = error
        told = comm.bcast(told)
        if isinstance(told, Exception):
            raise told
        assert isinstance(told, tuple)
        return cls(comm, *told)

    @property
    def rows(self) -> int:
        return self.division.whole[BATCH].stop

    @property
    def terms(self) -> int:
        return self.division.whole[TERM].stop

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of values and environments."""
        return np.result_type(*self.types)

    @property
    def own_rows(self) -> slice:
        """The rows whose errors this rank computes."""
        return self.rows_of(self.comm.rank)

    def rows_of(self, rank: int) -> slice:
        return slice(
            self.rows * rank // self.comm.size,
            self.rows * (rank + 1) // self.comm.size,
        )

    @property
    def environment_axes(self) -> list[_Axes]:
        """Axes of every operand's environment."""
        both = zip(self.contraction.indices, self.shapes, strict=True)
        return [(names, (self.rows, self.terms, *shape[2:])) for names, shape in both]

    def sensitivity_axes(self, weights: np.ndarray) -> list[_Axes]:
        """Axes of the sensitivities of every fragment, for weights (rows, observables, terms)."""
        found = []
        for f, subs in enumerate(self.contraction.term_index.max(axis=0) + 1):
            names = (BATCH, "observable", "sub-observable", *self.contraction.indices[f][2:])
            shape = (*weights.shape[:2], int(subs), *self.shapes[f][2:])
            found.append((names, shape))
        return found

    def evaluated(
        self, operands: Operands | None, environments: bool
    ) -> Iterator[tuple[Box, np.ndarray, list[np.ndarray]]]:
        """Contract this rank's share; see `pilotcut.reconstruction.slicing.evaluated`."""
        load = self._loader(operands)
        boxes = self.division.boxes(self.comm.rank)
        return evaluated(self.contraction, boxes, load, environments)

    def _loader(self, operands: Operands | None) -> Callable[[int, Box], np.ndarray]:
        """Return what gives the part of an operand that a box of this rank touches."""
        store = self.store
        if store is not None:
            return lambda k, box: store.load(self.contraction, k, self._part(k, box))
        if self.comm.rank > 0:
            received = self._received()
            return lambda k, box: received[k].part(self._part(k, box))
        arrays = _held(operands)
        self._send(arrays)
        return lambda k, box: arrays[k][self._part(k, box)]

    def _part(self, operand: int, box: Box) -> Region:
        return region_of(self.contraction.indices[operand], box, self.shapes[operand])

    def _send(self, operands: Sequence[np.ndarray]) -> None:
        for rank in range(1, self.comm.size):
            for operand, regions in zip(operands, self._needed(rank), strict=True):
                for region in regions:
                    self.comm.Send(np.ascontiguousarray(operand[region]), dest=rank)

    def _received(self) -> list[Blocks]:
        found = [Blocks(regions) for regions in self._needed(self.comm.rank)]
        for blocks, dtype in zip(found, self.types, strict=True):
            for number, region in enumerate(blocks.regions):
                blocks.arrays[number] = np.empty(_shape(region), dtype)
                self.comm.Recv(blocks.arrays[number], source=0)
        return found

    def _needed(self, rank: int) -> list[list[Region]]:
        """Return for each operand the parts that a rank's share needs."""
        boxes = self.division.boxes(rank)
        both = zip(self.contraction.indices, self.shapes, strict=True)
        return [touched(names, boxes, shape) for names, shape in both]

    def covariances(
        self, groups: Groups, tensors: Sequence[FragmentTensor] | TensorStore | None
    ) -> list[FragmentTensor]:
        """Return each fragment's tensor with the covariances of own rows, and no values."""
        return [
            FragmentTensor(np.empty(0), self._covariances(f, some, tensors))
            for f, some in enumerate(groups)
        ]

    def _covariances(
        self,
        fragment: int,
        groups: Sequence[Sequence[int]],
        tensors: Sequence[FragmentTensor] | TensorStore | None,
    ) -> tuple[np.ndarray, ...]:
        if self.store is not None:
            return self.store.covariances(fragment, len(groups), self.own_rows)
        whole: Sequence[np.ndarray | None] = [None] * len(groups)
        if self.comm.rank == 0:
            whole = _held(tensors)[fragment].covariances
        variants = prod(self.shapes[fragment][2:])
        return tuple(
            self._scattered(one, (variants, len(members), len(members)))
            for one, members in zip(whole, groups, strict=True)
        )

    def _scattered(self, whole: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        """Return own rows of an array (rows, *shape) that rank 0 has."""
        if whole is not None:
            for rank in range(1, self.comm.size):
                self.comm.Send(np.ascontiguousarray(whole[self.rows_of(rank)], float), dest=rank)
            return whole[self.own_rows]
        mine = np.empty((self.own_rows.stop - self.own_rows.start, *shape))
        self.comm.Recv(mine, source=0)
        return mine


def _held(arrays: Sequence[_Array] | TensorStore | None) -> Sequence[_Array]:
    """Return what rank 0 has to send, where nothing is stored."""
    assert not isinstance(arrays, TensorStore | None), "rank 0 sends arrays only"
    return arrays


def _planned(
    contraction: Contraction | None, operands: Operands | None, ranks: int
) -> tuple[object, ...]:
    """Return the parts of a `_Job` after the communicator."""
    if contraction is None or operands is None:
        raise ValueError("rank 0 passes no contraction or operands, expected both from it")
    store = operands if isinstance(operands, TensorStore) else None
    if isinstance(operands, TensorStore):
        layout = operands.layout(contraction)
    else:
        layout = [(x.shape, x.dtype) for x in operands]
    shapes, types = zip(*layout, strict=True)
    rows = max((shape[0] for shape in shapes), default=0)
    _check(contraction, shapes, rows)
    return contraction, divide(contraction, rows, ranks), shapes, types, store


def _check(contraction: Contraction, shapes: Sequence[tuple[int, ...]], rows: int) -> None:
    """Raise where operands are not what the contraction was made for."""
    if len(shapes) != len(contraction.indices):
        raise ValueError(f"{len(shapes)} operands are given, expected {len(contraction.indices)}")
    terms = len(contraction.term_index)
    for k, (names, shape) in enumerate(zip(contraction.indices, shapes, strict=True)):
        sites = tuple(contraction.sizes[name] for name in names[2:])
        if shape[2:] != sites or shape[0] not in (1, rows) or shape[1] not in (1, terms):
            raise ValueError(
                f"operand {k} has the shape {shape}, expected ({rows} or 1, {terms} or 1, "
                f"{', '.join(map(str, sites))})"
            )


# -- large arrays, by blocks -----------------------------------------------------------


@dataclass(frozen=True)
class _Summed:
    """An array, rows first, of which every rank has some blocks that add up."""

    job: _Job
    names: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Blocks

    @classmethod
    def of(cls, job: _Job, names: tuple[str, ...], shape: tuple[int, ...]) -> _Summed:
        """Return the array of zeros that `add` adds to."""
        regions = touched(names, job.division.boxes(job.comm.rank), shape)
        return cls(job, names, shape, Blocks(regions))

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
        sent = [
            comm.Isend(arrays[number][within(part, region)[0]], dest=rank)
            for rank in range(comm.size)
            if rank != comm.rank
            for number, region, part in self._parts(comm.rank, rows_of(rank))
        ]
        own = rows_of(comm.rank)
        whole = (own, *(slice(0, size) for size in self.shape[1:]))
        total = np.zeros(_shape(whole), self.job.dtype)
        for rank in range(comm.size):
            for number, region, part in self._parts(rank, own):
                if rank == comm.rank:
                    block = arrays[number][within(part, region)[0]]
                else:
                    block = np.empty(_shape(part), self.job.dtype)
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


def _shape(region: Region) -> tuple[int, ...]:
    return tuple(one.stop - one.start for one in region)
