"""Job of a contraction over MPI ranks: who contracts what, and how its operands get there.

Rank 0 plans, all ranks agree, and each knows every other's share: so nobody has to ask what is
sent next. Refuses to know what becomes of the results (`pilotcut.reconstruction.mpi_sums`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from mpi4py import MPI

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.reconstruction.boxes import (
    ArrayParts,
    Box,
    Region,
    contract_boxes,
    region_of,
    shape_of,
    touched,
)
from pilotcut.reconstruction.contraction import BATCH, TERM, Contraction
from pilotcut.reconstruction.slicing import Division, divide
from pilotcut.reconstruction.tensor_store import TensorStore

#: Operands as arrays on rank 0, or where every rank finds them.
Operands: TypeAlias = Sequence[np.ndarray] | TensorStore

_Array = TypeVar("_Array", np.ndarray, FragmentTensor)

#: For each fragment, what is estimated together (`Fragment.entries`).
Entries: TypeAlias = Sequence[Sequence[np.ndarray]]

#: Names of an array's axes, and its shape.
Axes: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True)
class RankJob:
    """Contraction and shares of all ranks: the same on each of them.

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
    ) -> RankJob:
        """Return what rank 0 makes of its arguments, or raise everywhere what it raises."""
        plan: object = None
        if comm.rank == 0:
            try:
                plan = _planned(contraction, operands, comm.size)
            # Raised here alone it would leave the other ranks waiting in the broadcast for ever.
            except (ValueError, OSError) as error:
                plan = error
        plan = comm.bcast(plan)
        if isinstance(plan, Exception):
            raise plan
        assert isinstance(plan, tuple)
        return cls(comm, *plan)

    @property
    def rows(self) -> int:
        """Number of rows of the batch."""
        return self.division.whole[BATCH].stop

    @property
    def terms(self) -> int:
        """Number of terms."""
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
        """Return the rows whose errors a rank computes."""
        size = self.comm.size
        return slice(self.rows * rank // size, self.rows * (rank + 1) // size)

    @property
    def environment_axes(self) -> list[Axes]:
        """Axes of every operand's environment."""
        both = zip(self.contraction.indices, self.shapes, strict=True)
        return [(names, (self.rows, self.terms, *shape[2:])) for names, shape in both]

    def sensitivity_axes(self, weights: np.ndarray) -> list[Axes]:
        """Axes of the sensitivities of every fragment, for weights (rows, observables, terms)."""
        found = []
        for f, subs in enumerate(self.contraction.term_index.max(axis=0) + 1):
            names = (BATCH, "observable", "sub-observable", *self.contraction.indices[f][2:])
            shape = (*weights.shape[:2], int(subs), *self.shapes[f][2:])
            found.append((names, shape))
        return found

    def contract_share(
        self, operands: Operands | None, environments: bool
    ) -> Iterator[tuple[Box, np.ndarray, list[np.ndarray]]]:
        """Contract this rank's share; see `pilotcut.reconstruction.boxes.contract_boxes`."""
        load = self._loader(operands)
        boxes = self.division.boxes(self.comm.rank)
        return contract_boxes(self.contraction, boxes, load, environments)

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
            # In the order in which `_received` waits for them: all messages have the same tag.
            for operand, regions in zip(operands, self._needed(rank), strict=True):
                for region in regions:
                    self.comm.Send(np.ascontiguousarray(operand[region]), dest=rank)

    def _received(self) -> list[ArrayParts]:
        found = [ArrayParts(regions) for regions in self._needed(self.comm.rank)]
        for blocks, dtype in zip(found, self.types, strict=True):
            for number, region in enumerate(blocks.regions):
                blocks.arrays[number] = np.empty(shape_of(region), dtype)
                self.comm.Recv(blocks.arrays[number], source=0)
        return found

    def _needed(self, rank: int) -> list[list[Region]]:
        """Return for each operand the parts that a rank's share needs."""
        boxes = self.division.boxes(rank)
        both = zip(self.contraction.indices, self.shapes, strict=True)
        return [touched(names, boxes, shape) for names, shape in both]

    def covariances(
        self, entries: Entries, tensors: Sequence[FragmentTensor] | TensorStore | None
    ) -> list[FragmentTensor]:
        """Return each fragment's tensor with the covariances of own rows, and no values."""
        return [
            FragmentTensor(np.empty(0), self._covariances(f, some, tensors))
            for f, some in enumerate(entries)
        ]

    def _covariances(
        self,
        fragment: int,
        entries: Sequence[np.ndarray],
        tensors: Sequence[FragmentTensor] | TensorStore | None,
    ) -> tuple[np.ndarray, ...]:
        if self.store is not None:
            return self.store.covariances(fragment, len(entries), self.own_rows)
        whole: Sequence[np.ndarray | None] = [None] * len(entries)
        if self.comm.rank == 0:
            whole = _held(tensors)[fragment].covariances
        return tuple(
            self._scattered(one, (*places.shape, places.shape[1]))
            for one, places in zip(whole, entries, strict=True)
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
    """Return the parts of a `RankJob` after the communicator."""
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
    division = divide(contraction, rows, ranks)
    return contraction.without_plan(), division, shapes, types, store


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
