"""Dividing a contraction: what it costs, and equal shares of it for several ranks.

A contraction is a sum over the values of its site indices, for every row of the batch and
every term. So any box, a range of rows times a range of terms times ranges of some site
indices (*slices*), is a contraction of its own along the same path, over parts of the same
operands; the sum of the boxes is the whole. Rows and terms divide for nothing. Slices repeat
what does not depend on them, so they come last, and cotengra chooses their indices.

Nothing here knows of MPI: `pilotcut.reconstruction.mpi_contraction` sends the parts and adds
the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations
from math import ceil, prod
from typing import TypeAlias

import cotengra
import numpy as np

from pilotcut.reconstruction.contraction import BATCH, TERM, Contraction

#: Ranges of rows, terms and sliced indices; an index that is not named is whole.
Box: TypeAlias = Mapping[str, slice]

#: Part of an array: one range an axis.
Region: TypeAlias = tuple[slice, ...]

#: A division is good enough when no rank has this many times its fair share of the flops.
GOOD_BALANCE = 1.05

#: What one core does, roughly: seconds of a pairwise product whatever its size, and flops a
#: second of large ones (measured with numpy's OpenBLAS, benchmarks/reconstruction.py).
PRODUCT_S, FLOPS_PER_S = 20e-6, 5e9

#: Aim at this many units a rank, so that whole units can be shared out evenly.
UNITS_PER_RANK = 20

#: More sliced indices than this are not tried in every order.
MOST_ORDERED = 3


# -- what it costs ---------------------------------------------------------------------


@dataclass(frozen=True)
class ContractionCost:
    """What contracting in one process takes.

    Parameters
    ----------
    flops
        Multiplications and additions of numbers, real or complex.
    bytes
        Most bytes of arrays at any time, operands included.
    largest
        Entries of the largest array.
    products
        Number of pairwise products.
    """

    flops: float
    bytes: int
    largest: int
    products: int

    @property
    def seconds(self) -> float:
        """Seconds on one core, within a factor of about three."""
        return self.products * PRODUCT_S + self.flops / FLOPS_PER_S


def predicted(
    contraction: Contraction, rows: int, environments: bool = False, itemsize: int = 8
) -> ContractionCost:
    """Return what the serial contraction of a batch takes.

    Parameters
    ----------
    contraction
        What is contracted.
    rows
        Size of the batch.
    environments
        Whether environments are wanted as well: three times the flops, and all results of
        the forward sweep are kept.
    itemsize
        Bytes of a number: 8 if real, 16 if complex.
    """
    lengths = _lengths(contraction, rows)
    return _predicted(contraction, lengths, environments, itemsize)


def _lengths(contraction: Contraction, rows: int) -> dict[str, int]:
    return {BATCH: rows, TERM: len(contraction.term_index), **contraction.sizes}


def _predicted(
    contraction: Contraction, lengths: Mapping[str, int], environments: bool, itemsize: int
) -> ContractionCost:
    """Walk the path as `Contraction` does, and add up what lives at each moment.

    A product copies both factors into the order of a matrix product. Bonds are counted as
    having no batch axis.
    """
    fragments = contraction.term_index.shape[1]
    sizes = [
        prod(lengths[i] for i in (names if k < fragments else names[2:]))
        for k, names in enumerate(contraction.indices)
    ]
    live = most = sum(sizes)
    flops = 0
    names = list(contraction.indices)
    for a, b, out in contraction.steps:
        flops += 2 * prod(lengths[i] for i in {*names[a], *names[b]})
        names.append(out)
        sizes.append(prod(lengths[i] for i in out))
        most = max(most, live + sizes[a] + sizes[b] + sizes[-1])
        live += sizes[-1]
        if not environments:
            live -= sum(sizes[k] for k in (a, b) if k >= len(contraction.indices))
    if environments:
        flops *= 3
        full = [prod(lengths[i] for i in one) for one in names]  # a bond's has batch and terms
        live += full[-1]
        for number, (a, b) in reversed(list(enumerate(contraction.path))):
            top = full[len(contraction.indices) + number]
            live -= top  # the forward result; its adjoint is still needed
            most = max(
                most,
                live + top + sizes[b] + full[a],
                live + full[a] + top + sizes[a] + full[b],
            )
            live += full[a] + full[b] - top
    products = len(contraction.path) * (3 if environments else 1)
    return ContractionCost(float(flops), most * itemsize, max(sizes), products)


# -- who does what ---------------------------------------------------------------------


@dataclass(frozen=True)
class Division:
    """The units of a contraction in order, and where each rank's share of them starts.

    Parameters
    ----------
    digits
        What a unit is one value of: rows, terms and sliced indices with their sizes. Units
        are numbered with the last digit running fastest.
    bounds
        (ranks + 1,): rank r has the units from ``bounds[r]`` to ``bounds[r + 1]``.
    whole
        The box of everything.
    """

    digits: tuple[tuple[str, int], ...]
    bounds: tuple[int, ...]
    whole: Box = field(repr=False)

    @property
    def ranks(self) -> int:
        """Number of shares."""
        return len(self.bounds) - 1

    @property
    def sliced(self) -> tuple[str, ...]:
        """The site indices that are sliced."""
        return tuple(name for name, _ in self.digits if name not in (BATCH, TERM))

    def boxes(self, rank: int) -> list[Box]:
        """Return the share of a rank in as few boxes as units in order allow."""
        names = [name for name, _ in self.digits]
        first, last = self.bounds[rank : rank + 2]
        ranges = _ranges(first, last, [size for _, size in self.digits])
        return [{**self.whole, **dict(zip(names, one, strict=True))} for one in ranges]


@lru_cache(maxsize=32)
def divide(contraction: Contraction, rows: int, ranks: int) -> Division:
    """Return shares of nearly equal predicted flops: by rows, then terms, then slices.

    Parameters
    ----------
    contraction
        What is contracted.
    rows
        Size of the batch.
    ranks
        Number of shares; there may be more of them than units, and then some are empty.

    Returns
    -------
    Division
        By rows alone, or rows and terms, where that balances within `GOOD_BALANCE`. Else
        the best of several choices of slices; of those that are equally fast, the one
        whose largest box takes the least memory.
    """
    terms = len(contraction.term_index)
    whole = {BATCH: slice(0, rows), TERM: slice(0, terms)}
    digits: tuple[tuple[str, int], ...] = ((BATCH, rows),)
    fair = predicted(contraction, rows).flops / ranks
    tried = []
    for extra in ((), ((TERM, terms),)):
        digits += extra
        candidate = _Candidate.of(contraction, digits, whole)
        division = candidate.balanced(ranks)
        slowest = candidate.slowest(division)
        if slowest <= GOOD_BALANCE * fair:
            return division
        tried.append((slowest, candidate, division))
    kept = tuple(digit for digit in digits if digit[1] > 1)
    for sliced in _slicings(contraction, ceil(UNITS_PER_RANK * ranks / max(1, rows * terms))):
        candidate, division = _best_order(contraction, kept, sliced, whole, ranks)
        tried.append((candidate.slowest(division), candidate, division))
    fastest = min(slowest for slowest, _, _ in tried)
    good = [(c, d) for slowest, c, d in tried if slowest <= GOOD_BALANCE * fastest]
    return min(good, key=lambda one: one[0].bytes(one[1]))[1]


def _slicings(contraction: Contraction, target: int) -> list[tuple[str, ...]]:
    """Return sets of indices that cotengra would slice for up to `target` slices."""
    if not contraction.path:
        return []
    tree = cotengra.ContractionTree.from_path(
        [names[2:] for names in contraction.indices],
        output=(),
        size_dict=dict(contraction.sizes),
        ssa_path=contraction.path,
    )
    found = set()
    most = prod(contraction.sizes.values())
    for wanted in {min(target, most), min(ceil(target / 5), most)}:
        for goal in ("flops", "size"):
            sliced = tree.slice(
                target_slices=wanted, minimize=goal, temperature=0.0, max_repeats=1, seed=0
            )
            found.add(tuple(sorted(sliced.sliced_inds)))
    return sorted(found - {()})


def _best_order(
    contraction: Contraction,
    digits: tuple[tuple[str, int], ...],
    sliced: tuple[str, ...],
    whole: Box,
    ranks: int,
) -> tuple[_Candidate, Division]:
    """Return the slicing with its indices in the order that repeats least."""
    orders = permutations(sliced) if len(sliced) <= MOST_ORDERED else [sliced]
    candidates = [
        _Candidate.of(contraction, digits + tuple((i, contraction.sizes[i]) for i in order), whole)
        for order in orders
    ]
    best = min(candidates, key=lambda c: c.slowest(c.even(ranks)))
    return best, best.balanced(ranks)


@dataclass(frozen=True)
class _Candidate:
    """A choice of digits, with the flops of any range of its units.

    `groups` holds, for each set of digits (as positions), the flops of all products that
    run over just these, at one value of each.
    """

    contraction: Contraction
    digits: tuple[tuple[str, int], ...]
    whole: Box
    groups: tuple[tuple[tuple[int, ...], float], ...]

    @classmethod
    def of(
        cls, contraction: Contraction, digits: tuple[tuple[str, int], ...], whole: Box
    ) -> _Candidate:
        lengths = dict(contraction.sizes)
        lengths |= {name: one.stop - one.start for name, one in whole.items()}
        places = {name: k for k, (name, _) in enumerate(digits)}
        lengths |= dict.fromkeys(places, 1)
        groups: dict[tuple[int, ...], float] = {}
        names = list(contraction.indices)
        for a, b, out in contraction.steps:
            involved = {*names[a], *names[b]}
            names.append(out)
            key = tuple(sorted(places[i] for i in involved if i in places))
            groups[key] = groups.get(key, 0.0) + 2.0 * prod(lengths[i] for i in involved)
        return cls(contraction, digits, whole, tuple(groups.items()))

    @property
    def units(self) -> int:
        return prod(size for _, size in self.digits)

    def flops(self, first: int, last: int) -> float:
        """Return the flops of the units from `first` to `last`, joined to boxes."""
        total = 0.0
        for box in _ranges(first, last, [size for _, size in self.digits]):
            lengths = [one.stop - one.start for one in box]
            total += sum(one * prod(lengths[k] for k in key) for key, one in self.groups)
        return total

    def even(self, ranks: int) -> Division:
        bounds = tuple(self.units * rank // ranks for rank in range(ranks + 1))
        return Division(self.digits, bounds, self.whole)

    def balanced(self, ranks: int) -> Division:
        """Return the division whose slowest share has the fewest flops, to one in a thousand."""
        division = self.even(ranks)
        low, high = self.flops(0, self.units) / ranks, self.slowest(division)
        while high - low > 1e-3 * high:
            cap = (low + high) / 2
            bounds = self._packed(ranks, cap)
            if bounds is None:
                low = cap
            else:
                high, division = cap, Division(self.digits, bounds, self.whole)
        return division

    def _packed(self, ranks: int, cap: float) -> tuple[int, ...] | None:
        """Give each rank in turn as many units as stay below the cap, if that takes all."""
        bounds = [0]
        for _ in range(ranks):
            bounds.append(_last(lambda n: self.flops(bounds[-1], n) <= cap, bounds[-1], self.units))
        return tuple(bounds) if bounds[-1] == self.units else None

    def slowest(self, division: Division) -> float:
        """Return the flops of the largest share."""
        return max(self.flops(*division.bounds[rank : rank + 2]) for rank in range(division.ranks))

    def bytes(self, division: Division) -> int:
        """Return the most bytes that a box of any share takes, for values of eight bytes."""
        return max(
            predicted_of_box(self.contraction, box).bytes
            for rank in range(division.ranks)
            for box in division.boxes(rank)
        )


def predicted_of_box(
    contraction: Contraction, box: Box, environments: bool = False, itemsize: int = 8
) -> ContractionCost:
    """Return what contracting one box takes; see `predicted`."""
    lengths = dict(contraction.sizes) | {i: one.stop - one.start for i, one in box.items()}
    return _predicted(contraction, lengths, environments, itemsize)


def _last(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number up to `high` that fits, where `low` does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _ranges(first: int, last: int, sizes: Sequence[int]) -> list[Region]:
    """Return the units from `first` to `last` as boxes, ranges of each digit."""
    if first >= last:
        return []
    if not sizes:
        return [()]
    below = prod(sizes[1:])
    head, tail = -(-first // below), last // below
    if head > tail:  # within one value of the first digit
        inner = _ranges(first - tail * below, last - tail * below, sizes[1:])
        return [(slice(tail, head), *one) for one in inner]
    before = _ranges(first - (head - 1) * below, below, sizes[1:]) if first < head * below else []
    middle = [(slice(head, tail), *(slice(0, size) for size in sizes[1:]))] if head < tail else []
    after = _ranges(0, last - tail * below, sizes[1:])
    return [
        *((slice(head - 1, head), *one) for one in before),
        *middle,
        *((slice(tail, tail + 1), *one) for one in after),
    ]


# -- doing it --------------------------------------------------------------------------


def region_of(names: Sequence[str], box: Box, shape: Sequence[int]) -> Region:
    """Return the part of an array with axes `names` that a box touches.

    An axis of length 1 stands for all values of its index (a bond without batch or terms).
    """
    return tuple(
        box[name] if name in box and size > 1 else slice(0, size)
        for name, size in zip(names, shape, strict=True)
    )


def evaluated(
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
class Blocks:
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
