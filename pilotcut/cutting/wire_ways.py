"""Ways to cut wires: each group of parallel ones the cheapest that the order of fragments allows.

With communication a receiver waits for its sender, so fragments that send to each other, over
however many others, cannot all communicate. Of their groups those do that save most; the others
are cut without an order: one wire by Paulis, several in randomised bases.

References
----------
gamma of n wires: 2^(n+1) - 1 with communication (arXiv:2302.03366), 2^(n+1) + 1 in randomised bases
(arXiv:2207.14734), 4^n by Paulis (arXiv:1904.00102).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

from pilotcut.circuits.program import AngleSum
from pilotcut.cutting.basis import CutBasis
from pilotcut.cutting.wires import basis_of_cut
from pilotcut.options import AUTO, COMMUNICATION, RANDOMISED, SEPARATE

#: Of so many fragments that send in circles the best order is found, of more a good one.
MOST_ORDERED = 10

#: A sender and a receiver.
Pair = tuple[int, int]


@dataclass(frozen=True)
class SentWires:
    """Wires that are one cut.

    Parameters
    ----------
    sender, receiver
        The fragments that they come from and go to.
    number
        How many there are.
    """

    sender: int
    receiver: int
    number: int = 1


@dataclass
class PlannedCut:
    """A cut on its way into a plan: the wires of its two sides and what joins them.

    Parameters
    ----------
    gate
        Name of what is cut.
    wires
        Of side 0 and of side 1.
    basis
        What joins them.
    angles
        Free angles of what is cut.
    way
        How wires are cut, "" for gates.
    """

    gate: str
    wires: tuple[tuple[int, ...], tuple[int, ...]]
    basis: CutBasis
    angles: tuple[AngleSum, ...] = ()
    way: str = ""


def settle(cuts: Iterable[PlannedCut], fragment_of_wire: Sequence[int], wires: str) -> None:
    """Give the cuts of wires among some the way that the order of fragments allows."""
    own = [cut for cut in cuts if cut.way]
    of = fragment_of_wire
    sent = [SentWires(of[a[0]], of[b[0]], len(a)) for a, b in (cut.wires for cut in own)]
    for cut, one, way in zip(own, sent, ways_of(sent, wires), strict=True):
        cut.way, cut.basis = way, basis_of_cut(way, one.number)


def ways_of(sent: Sequence[SentWires], wires: str) -> list[str]:
    """Return the way that each group of wires is cut: communication, randomised or separate.

    Parameters
    ----------
    sent
        The groups. In one that is cut separately there is one wire.
    wires
        What is asked for, one of `pilotcut.options.WIRES`.

    Examples
    --------
    >>> ways_of([SentWires(0, 1, 2), SentWires(1, 0), SentWires(0, 2)], "auto")  # 81 * 9 < 49 * 16
    ['randomised', 'communication', 'communication']
    """
    if wires in (RANDOMISED, SEPARATE):
        return [wires for _ in sent]
    saved: dict[Pair, float] = {}
    for one in sent:
        pair = one.sender, one.receiver
        saved[pair] = saved.get(pair, 0.0) + _saving(one.number)
    ordered = _in_one_order(saved)
    return [
        COMMUNICATION if (one.sender, one.receiver) in ordered else unordered_way(one.number)
        for one in sent
    ]


def unordered_way(number: int) -> str:
    """Return the cheapest way to cut so many parallel wires where no order of fragments suits."""
    return SEPARATE if number == 1 else RANDOMISED


def log_overhead_of_wires(way: str, number: int) -> float:
    """Return log gamma^2 of so many parallel wires that are cut one way.

    Examples
    --------
    >>> from math import exp
    >>> ways = ("communication", "randomised", "separate")
    >>> [[round(exp(log_overhead_of_wires(way, n))) for n in (1, 2, 3)] for way in ways]
    [[9, 49, 225], [25, 81, 289], [16, 256, 4096]]
    """
    if way == SEPARATE:
        return number * log(16)
    return 2 * log(2.0 ** (number + 1) + (1 if way == RANDOMISED else -1))


def cheapest_way(wires: str) -> str:
    """Return the way of a wire that any order suits."""
    return COMMUNICATION if wires == AUTO else wires


def _saving(number: int) -> float:
    """Return by how much log gamma^2 falls where wires communicate."""
    other = log_overhead_of_wires(unordered_way(number), number)
    return other - log_overhead_of_wires(COMMUNICATION, number)


# -- orders ------------------------------------------------------------------------------


def _in_one_order(saved: Mapping[Pair, float]) -> set[Pair]:
    """Return the pairs whose senders all come first in one order, of most weight together."""
    kept = {(a, b) for a, b in saved if a != b}
    core = _in_circles(kept)
    if not core:
        return kept
    order = _best_order(core, saved) if len(core) <= MOST_ORDERED else _good_order(core, saved)
    place = {fragment: k for k, fragment in enumerate(order)}
    # Whoever is in no circle comes before all of these, or behind.
    return {(a, b) for a, b in kept if a not in place or b not in place or place[a] < place[b]}


def _in_circles(pairs: set[Pair]) -> list[int]:
    """Return the fragments that are left when those without senders or receivers are taken away."""
    left = set(pairs)
    while True:
        senders, receivers = {a for a, _ in left}, {b for _, b in left}
        some = {(a, b) for a, b in left if a in receivers and b in senders}
        if some == left:
            return sorted(senders)
        left = some


def _best_order(core: Sequence[int], saved: Mapping[Pair, float]) -> list[int]:
    """Return the order of most weight: dynamic programming over who came first."""
    size = len(core)
    weight = [[saved.get((a, b), 0.0) for b in core] for a in core]
    best: list[tuple[float, int]] = [(0.0, -1)]
    for some in range(1, 1 << size):
        ends = (
            (
                best[some ^ 1 << last][0]
                + sum(weight[k][last] for k in range(size) if some >> k & 1),
                -last,
            )
            for last in range(size)
            if some >> last & 1
        )
        total, last = max(ends)
        best.append((total, -last))
    order, some = [], (1 << size) - 1
    while some:
        last = best[some][1]
        order.append(core[last])
        some ^= 1 << last
    return order[::-1]


def _good_order(core: Sequence[int], saved: Mapping[Pair, float]) -> list[int]:
    """Return an order of much weight: who sends most and receives least goes first, in turn."""
    left, order = list(core), []
    inside = set(core)
    pairs = [(a, b, w) for (a, b), w in saved.items() if a != b and a in inside and b in inside]
    score = dict.fromkeys(core, 0.0)
    for a, b, w in pairs:
        score[a] += w
        score[b] -= w
    while left:
        first = max(left, key=lambda f: (round(score[f], 9), -f))
        left.remove(first)
        order.append(first)
        for a, b, w in pairs:
            if a == first:
                score[b] += w
            if b == first:
                score[a] -= w
    return order
