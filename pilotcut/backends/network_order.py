"""The order in which the tensors of a network are contracted: pair by pair, many pairs at a time.

What a small pair costs is its call, and pairs of the same shapes are one call if neither waits for
the other. So pairs are taken in rounds, each of as many disjoint ones as are cheap, which makes a
chain a balanced tree. Where products are large, the call does not matter and cotengra's search for
few multiplications is better. Refuses to know what the tensors are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod

import cotengra

#: Multiplications above which cotengra is asked, and tensors up to which it is.
WORTH_SEARCHING, MOST_SEARCHED = 2**16, 400

#: How many times fewer multiplications a search is hoped to find: 1 to 8 where either order is of
#: use (the cases of `benchmarks/step_cases.py`).
SEARCH_GAIN = 8

_SEARCHES = 16


@dataclass(frozen=True)
class Pair:
    """Two tensors and the number of their product; `legs` are those of the product."""

    a: int
    b: int
    product: int
    legs: tuple[int, ...]


def contraction_order(
    legs: Sequence[Sequence[int]], sizes: Mapping[int, int], most: float = inf
) -> list[Pair]:
    """Return the pairs of a network; products are numbered behind the tensors.

    Parameters
    ----------
    legs
        The names of each tensor's axes; a name stands on two tensors, or on one if it is open.
    sizes
        Of each name.
    most
        Multiplications of an order that is of use.
    """
    found = _in_rounds(legs, sizes)
    products = multiplications(legs, found, sizes)
    if products < WORTH_SEARCHING or len(legs) > MOST_SEARCHED or products > SEARCH_GAIN * most:
        return found
    # Seeded and in this process: the same order, and the same last bits, each time.
    search = cotengra.RandomGreedyOptimizer(max_repeats=_SEARCHES, seed=0, parallel=False)
    names = [[str(leg) for leg in one] for one in legs]
    path = cotengra.array_contract_path(
        names,
        output=_once(name for one in names for name in one),
        size_dict={str(k): v for k, v in sizes.items()},
        optimize=search,
    )
    other = _with_legs(legs, numbered(path, len(legs)))
    return min(found, other, key=lambda pairs: multiplications(legs, pairs, sizes))


def _once(names: Iterable[str]) -> list[str]:
    """Return what is named only once."""
    return [name for name, times in Counter(names).items() if times == 1]


def multiplications(
    legs: Sequence[Sequence[int]], pairs: Sequence[Pair], sizes: Mapping[int, int]
) -> int:
    """Return how many multiplications an order takes."""
    known = dict(enumerate(legs))
    total = 0
    for pair in pairs:
        total += prod(sizes[leg] for leg in {*known[pair.a], *known[pair.b]})
        known[pair.product] = pair.legs
    return total


def _joined(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    return (*(leg for leg in a if leg not in b), *(leg for leg in b if leg not in a))


def _in_rounds(legs: Sequence[Sequence[int]], sizes: Mapping[int, int]) -> list[Pair]:
    """Return pairs round by round, of those that grow least."""
    known = {number: tuple(one) for number, one in enumerate(legs)}
    pairs: list[Pair] = []
    count = len(known)
    while len(known) > 1:
        scored = sorted(_neighbours(known, sizes))
        # What shrinks is worth its call whoever is next; what grows has to be the least of all.
        most = max(scored[0][0], 0)
        busy: set[int] = set()
        for growth, a, b in scored:
            if growth > most:
                break
            if not busy & {a, b}:
                busy |= {a, b}
                joined = _joined(known.pop(a), known.pop(b))
                pairs.append(Pair(a, b, count, joined))
                known[count] = joined
                count += 1
    return pairs


def _neighbours(
    known: Mapping[int, tuple[int, ...]], sizes: Mapping[int, int]
) -> list[tuple[int, int, int]]:
    """Return (growth, tensor, tensor) for all that share a leg, or for any if none do."""
    owners: defaultdict[int, list[int]] = defaultdict(list)
    for number, one in known.items():
        for leg in one:
            owners[leg].append(number)
    pairs = {(both[0], both[1]) for both in owners.values() if len(both) == 2}
    if not pairs:  # parts that nothing joins are numbers by now, or have open legs alone
        numbers = sorted(known)
        pairs = set(zip(numbers[::2], numbers[1::2], strict=False))
    size = {number: prod(sizes[leg] for leg in one) for number, one in known.items()}
    return [
        (prod(sizes[leg] for leg in _joined(known[a], known[b])) - size[a] - size[b], a, b)
        for a, b in pairs
    ]


def numbered(path: Sequence[Sequence[int]], operands: int) -> tuple[tuple[int, int], ...]:
    """Turn a path over a shrinking list into pairs over a growing one, two at a time."""
    alive = list(range(operands))
    pairs = []
    count = operands
    for step in path:
        taken = [alive[k] for k in step]
        for k in sorted(step, reverse=True):
            del alive[k]
        while len(taken) > 1:
            pairs.append((taken[0], taken[1]))
            taken = [count, *taken[2:]]
            count += 1
        alive.append(taken[0])
    return tuple(pairs)


def _with_legs(legs: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]]) -> list[Pair]:
    """Return pairs with the legs of their products."""
    known = [tuple(one) for one in legs]
    found = []
    for a, b in pairs:
        found.append(Pair(a, b, len(known), _joined(known[a], known[b])))
        known.append(found[-1].legs)
    return found
