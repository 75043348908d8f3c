"""Division of a contraction into equal shares for several ranks.

Rows and terms divide for nothing: their boxes (`pilotcut.reconstruction.boxes`) share no work.
*Slices*, ranges of some site indices, repeat whatever does not depend on them, so they come last,
only where the rest does not balance, and cotengra chooses their indices.

Nothing here knows of MPI: `pilotcut.reconstruction.mpi_contraction` sends the parts and adds
the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations
from math import ceil, prod

import cotengra

from pilotcut.reconstruction.boxes import Box, Region
from pilotcut.reconstruction.contraction import BATCH, TERM, Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch, cost_of_box

#: A division is good enough when no rank has this many times its fair share of the flops.
GOOD_BALANCE = 1.05

#: Aim at this many units a rank, so that whole units can be shared out evenly.
UNITS_PER_RANK = 20

#: More sliced indices than this are not tried in every order.
MOST_ORDERED = 3


@dataclass(frozen=True)
class Division:
    """Units of a contraction in order, and where each rank's share of them starts.

    Units are numbered in mixed radix, so that a share, a range of units, is a few boxes at most.

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
    fair = cost_of_batch(contraction, rows).flops / ranks
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
    # Many slices share out more evenly, few repeat less of what does not hold their index.
    for wanted in {min(target, most), min(ceil(target / 5), most)}:
        for goal in ("flops", "size"):
            # No temperature, and seeded: equal contractions are divided equally.
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
            cost_of_box(self.contraction, box).bytes
            for rank in range(division.ranks)
            for box in division.boxes(rank)
        )


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
