"""Lifetimes of a fragment's wires: from the first step on a wire to its last, or to the end.

A wire that ended leaves its qubit to one that begins later, so a fragment needs as many qubits as
it has wires alive at the same time. Refuses to know circuits, and which qubit a wire is put on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lifetimes:
    """When wires begin and end, counted in steps.

    Parameters
    ----------
    first, last
        Integer arrays (wires,): the steps at which each wire begins and ends, both included.
        Observed wires end behind the last step, at the number of steps.
    """

    first: np.ndarray
    last: np.ndarray

    @property
    def peak(self) -> int:
        """Most wires that are alive at the same time."""
        size = int(self.last.max(initial=0)) + 2
        alive = np.bincount(self.first, minlength=size)[:size]
        alive[1:] -= np.bincount(self.last, minlength=size)[: size - 1]
        return int(np.cumsum(alive).max())


def lifetimes(wires_of_steps: Sequence[Sequence[int]], observed: np.ndarray) -> Lifetimes:
    """Return the lifetimes of wires.

    Parameters
    ----------
    wires_of_steps
        The wires that each step acts on, in order.
    observed
        Boolean (wires,): those whose final state matters.

    Examples
    --------
    >>> ends = np.array([False, True, True])
    >>> lifetimes([(0, 1), (1, 2)], ends).peak
    2
    """
    count = len(wires_of_steps)
    # A wire without steps is alive at the end if it is observed, else never.
    first = np.where(observed, count, count + 1)
    last = np.full(len(observed), count)
    for place in range(count - 1, -1, -1):
        for wire in wires_of_steps[place]:
            if first[wire] >= count and not observed[wire]:
                last[wire] = place
            first[wire] = place
    return Lifetimes(first, last)


def narrow_order(
    wires_of_steps: Sequence[Sequence[int]],
    observed: np.ndarray,
    follows: Mapping[int, Sequence[int]],
) -> list[int]:
    """Return an order of the steps in which fewer wires are alive at a time, if one is found.

    Greedily (arXiv:2210.08039): next ends the wire that needs the fewest wires that have not
    begun, with all steps before its end. The given order is kept where this is no better.

    Parameters
    ----------
    wires_of_steps, observed
        See `lifetimes`.
    follows
        For some steps, others on other wires that they come behind: measurements they depend on.
    """
    given = list(range(len(wires_of_steps)))
    before = lifetimes(wires_of_steps, observed).peak
    # No order does with fewer than the observed wires and those of the largest step.
    if before <= max(int(observed.sum()), *map(len, wires_of_steps), 1):
        return given
    order = _greedy(wires_of_steps, observed, follows)
    after = lifetimes([wires_of_steps[k] for k in order], observed).peak
    return order if after < before else given


def _greedy(
    wires_of_steps: Sequence[Sequence[int]],
    observed: np.ndarray,
    follows: Mapping[int, Sequence[int]],
) -> list[int]:
    previous: list[list[int]] = []  # the steps that each step comes right behind
    needed: dict[int, int] = {}  # wires, as bits, that all steps up to a wire's last are on
    up_to: list[int] = []  # the same up to each step
    last: dict[int, int] = {}
    for place, wires in enumerate(wires_of_steps):
        behind = follows.get(place, ())
        previous.append([last[wire] for wire in wires if wire in last] + list(behind))
        both = 0
        for other in behind:
            both |= up_to[other]
        for wire in wires:
            both |= needed.get(wire, 1 << wire)
        up_to.append(both)
        needed |= dict.fromkeys(wires, both)
        last |= dict.fromkeys(wires, place)
    order: list[int] = []
    done: set[int] = set()
    begun = 0
    ending = [wire for wire in last if not observed[wire]]
    while ending:
        wire = min(ending, key=lambda w: ((needed[w] & ~begun).bit_count(), last[w], w))
        ending.remove(wire)
        begun |= needed[wire]
        order += _up_to(last[wire], previous, done)
    return order + [place for place in range(len(previous)) if place not in done]


def _up_to(place: int, previous: Sequence[Sequence[int]], done: set[int]) -> list[int]:
    """Return a step and all that it depends on but what is done; then that is done too."""
    found: list[int] = []
    stack = [place]
    while stack:
        one = stack.pop()
        if one not in done:
            done.add(one)
            found.append(one)
            stack += previous[one]
    return sorted(found)


@dataclass(frozen=True)
class Sharing:
    """Which qubit each wire is put on.

    Parameters
    ----------
    qubit
        Integer array (wires,): its qubit; -1 for wires that are never alive.
    reused
        Boolean array (wires,): whether another wire was on the qubit before.
    handed_on
        Boolean array (wires,): whether another wire is on the qubit afterwards.
    count
        Number of qubits.
    """

    qubit: np.ndarray
    reused: np.ndarray
    handed_on: np.ndarray
    count: int


def shared(lives: Lifetimes, kin: Sequence[int], most: int) -> Sharing:
    """Put wires on qubits: each on a fresh one while there are `most`, then on those left over.

    A wire follows one of its kin on the same qubit wherever it can: a qubit that is reset goes on
    where it is. There are more than `most` qubits only if more wires are alive at the same time.

    Parameters
    ----------
    lives
        When the wires are alive.
    kin
        For each wire the qubit of the circuit that it belongs to.
    most
        Number of qubits that are taken before one is reused.
    """
    wires = len(kin)
    qubit = np.full(wires, -1)
    reused, handed_on = np.zeros(wires, dtype=bool), np.zeros(wires, dtype=bool)
    alive: list[int] = []
    free: list[int] = []  # wires that ended, whose qubits nobody has since
    count = 0
    for wire in np.argsort(lives.first, kind="stable").tolist():
        if lives.first[wire] > lives.last[wire]:
            continue
        ended = [other for other in alive if lives.last[other] < lives.first[wire]]
        alive = [other for other in alive if other not in ended] + [wire]
        free += ended
        before = next((other for other in free if kin[other] == kin[wire]), None)
        if before is None and free and count >= most:
            before = free[0]
        if before is None:
            qubit[wire], count = count, count + 1
        else:
            free.remove(before)
            qubit[wire] = qubit[before]
            reused[wire] = handed_on[before] = True
    return Sharing(qubit, reused, handed_on, count)
