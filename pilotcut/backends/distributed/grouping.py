"""Which gates may come next, and sequences of gates within few qubits.

The same greedy growth makes gates into blocks of four qubits, and blocks into passes over memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from pilotcut.backends.distributed.gates import Reach


class Order:
    """What must come before what: gates that share a qubit commute if both are diagonal on it.

    Parameters
    ----------
    reaches
        Of the gates, in their order.
    """

    def __init__(self, reaches: Sequence[Reach]) -> None:
        self.reaches = tuple(reaches)
        self.followers: list[list[int]] = [[] for _ in reaches]
        self.waits: list[int] = []
        # For each qubit the last gate that turns it, and those behind that are diagonal on it.
        turning: dict[int, list[int]] = defaultdict(list)
        since: dict[int, list[int]] = defaultdict(list)
        for number, reach in enumerate(reaches):
            before: set[int] = set()
            for qubit in ones(reach.qubits):
                if reach.turned >> qubit & 1:
                    before.update(since[qubit] or turning[qubit])
                    turning[qubit], since[qubit] = [number], []
                else:
                    before.update(turning[qubit])
                    since[qubit].append(number)
            self.waits.append(len(before))
            for other in before:
                self.followers[other].append(number)


class Front:
    """How far a sequence of gates is done.

    Parameters
    ----------
    order
        Of the gates.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.waits = list(order.waits)
        self.ready = [number for number, waits in enumerate(order.waits) if not waits]
        self.done = 0

    def copy(self) -> Front:
        """Return another front at the same place."""
        other = object.__new__(Front)
        other.order, other.waits, other.ready = self.order, list(self.waits), list(self.ready)
        other.done = self.done
        return other

    def look(self, may: Callable[[int], bool]) -> tuple[list[int], list[int]]:
        """Return which gates can be done one after the other if these may, and what stops there."""
        waits: dict[int, int] = {}
        found, stopped = [], []
        queue = list(self.ready)
        for number in queue:
            if not may(number):
                stopped.append(number)
                continue
            found.append(number)
            for follower in self.order.followers[number]:
                waits[follower] = waits.get(follower, self.waits[follower]) - 1
                if not waits[follower]:
                    queue.append(follower)
        return found, stopped

    def take(self, numbers: Iterable[int], stopped: Iterable[int]) -> None:
        """Go on behind what `look` has found."""
        for number in numbers:
            self.done += 1
            for follower in self.order.followers[number]:
                self.waits[follower] -= 1
        self.ready = sorted(stopped)


def grouped(reaches: Sequence[Reach], most: int) -> list[tuple[int, list[int]]]:
    """Return gates in groups within at most so many qubits: (qubits as bits, numbers of gates).

    Groups follow each other as a whole. Each starts with the first gate that may come next, and
    grows by the qubits that let most gates join.

    Examples
    --------
    >>> chain = [Reach(0b11, 0b11), Reach(0b110, 0b110), Reach(0b1100, 0b1100)]
    >>> grouped(chain, 3)
    [(7, [0, 1]), (12, [2])]
    """
    front = Front(Order(reaches))
    groups = []
    while front.ready:
        qubits = reaches[front.ready[0]].qubits
        found, stopped = _within(front, qubits)
        while True:
            wider = {qubits | reaches[number].qubits for number in stopped}
            fitting = sorted(one for one in wider if one.bit_count() <= most)
            looks = [(one, *_within(front, one)) for one in fitting]
            if not looks:
                break
            before, size = len(found), qubits.bit_count()
            qubits, found, stopped = max(
                looks, key=lambda look: (len(look[1]) - before) / (look[0].bit_count() - size)
            )
        front.take(found, stopped)
        groups.append((qubits, found))
    return groups


def _within(front: Front, qubits: int) -> tuple[list[int], list[int]]:
    reaches = front.order.reaches
    return front.look(lambda number: not reaches[number].qubits & ~qubits)


def ones(bits: int) -> list[int]:
    """Return the places of a number's ones.

    Examples
    --------
    >>> ones(0b1010)
    [1, 3]
    """
    return [place for place in range(bits.bit_length()) if bits >> place & 1]
