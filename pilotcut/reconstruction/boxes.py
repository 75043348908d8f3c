"""Boxes of a contraction: the parts of arrays that they touch, and their contraction one by one.

A contraction is a sum over the values of its site indices, for every row of the batch and every
term. So any *box*, a range of rows times a range of terms times ranges of some site indices, is a
contraction of its own along the same path, over parts of the same operands; the sum of the boxes
is the whole. Nothing here decides which boxes there are, or who contracts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from pilotcut.reconstruction.contraction import Contraction

#: Ranges of rows, terms and sliced indices; an index that is not named is whole.
Box: TypeAlias = Mapping[str, slice]

#: Part of an array: one range an axis.
Region: TypeAlias = tuple[slice, ...]


def region_of(names: Sequence[str], box: Box, shape: Sequence[int]) -> Region:
    """Return the part of an array with axes `names` that a box touches.

    An axis of length 1 stands for all values of its index (a bond without batch or terms).
    """
    return tuple(
        box[name] if name in box and size > 1 else slice(0, size)
        for name, size in zip(names, shape, strict=True)
    )


def contract_boxes(
    contraction: Contraction,
    boxes: Sequence[Box],
    load: Callable[[int, Box], np.ndarray],
    environments: bool = False,
) -> Iterator[tuple[Box, np.ndarray, list[np.ndarray]]]:
    """Contract box after box, and hold the operands of one at a time.

    Parameters
    ----------
    contraction
        What is contracted.
    boxes
        Which parts of it.
    load
        Returns the part of an operand that a box touches, given the operand's number.
    environments
        Whether to yield environments as well.

    Yields
    ------
    tuple
        The box; what it adds to the values of its rows and terms, (rows, terms); and, if
        wanted, what it adds to each operand's environment over the box's ranges of axes.
    """
    for box in boxes:
        operands = [load(k, box) for k in range(len(contraction.indices))]
        if environments:
            yield box, *contraction.values_and_environments(operands)
        else:
            yield box, contraction.values(operands), []


def touched(names: Sequence[str], boxes: Sequence[Box], shape: Sequence[int]) -> list[Region]:
    """Return the parts of an array that boxes touch, without those that lie in another."""
    regions = [region_of(names, box, shape) for box in boxes]
    different = list({tuple((o.start, o.stop) for o in one): one for one in regions}.values())
    return [
        one
        for one in different
        if not any(other is not one and _contains(other, one) for other in different)
    ]


@dataclass(frozen=True)
class ArrayParts:
    """The parts of one large array that a rank touches, and nothing else of it.

    Parameters
    ----------
    regions
        As returned by `touched`.
    arrays
        What stands there, by the number of its region.
    """

    regions: Sequence[Region]
    arrays: dict[int, np.ndarray] = field(default_factory=dict)

    def part(self, region: Region) -> np.ndarray:
        """Return a view of what a box touches."""
        number = self._holder(region)
        return self.arrays[number][within(region, self.regions[number])]

    def add(self, region: Region, part: np.ndarray) -> None:
        """Add to what a box touches; it is 0 at first."""
        number = self._holder(region)
        whole = self.regions[number]
        if number not in self.arrays and region == whole:
            self.arrays[number] = np.ascontiguousarray(part)
            return
        if number not in self.arrays:
            self.arrays[number] = np.zeros([one.stop - one.start for one in whole], part.dtype)
        self.arrays[number][within(region, whole)] += part

    def _holder(self, region: Region) -> int:
        return next(k for k, whole in enumerate(self.regions) if _contains(whole, region))


def within(part: Region, whole: Region) -> Region:
    """Return where `part` of an array lies in the piece that is its region `whole`."""
    return tuple(
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )


def _contains(whole: Region, part: Region) -> bool:
    return all(w.start <= p.start and p.stop <= w.stop for w, p in zip(whole, part, strict=True))


def shape_of(region: Region) -> tuple[int, ...]:
    """Return the shape of what a region holds."""
    return tuple(one.stop - one.start for one in region)
