"""Which qubits are global when: a plan with little communication.

Of a state over 2^g ranks, g qubits are *global*: their bits are the rank's number. A gate needs
the qubits that it turns to be local; where it is diagonal or controls it does not matter. Between
two stages some global qubits change places with local ones, several at once: m of them move
1 - 2^-m of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from pilotcut.backends.distributed.gates import Reach
from pilotcut.backends.distributed.grouping import Front, Order

#: Plans that are looked at side by side, and qubits beyond the global ones that are tried.
_BEAM, _MORE = 6, 3


@dataclass(frozen=True)
class Stage:
    """Gates that run while the same qubits are global."""

    global_qubits: frozenset[int]
    gates: tuple[int, ...]


@dataclass(frozen=True)
class StagePlan:
    """Stages of a circuit.

    Parameters
    ----------
    prepared
        Gates on single qubits that are global from the start and not entangled yet: they only say
        how large each rank's part is.
    stages
        One behind the other; the first may have no gates.
    """

    prepared: tuple[int, ...]
    stages: tuple[Stage, ...]

    @property
    def volume(self) -> float:
        """What each rank sends, as a multiple of its part of the state."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        return sum(_moved(a.global_qubits, b.global_qubits) for a, b in pairs)


def plan_stages(reaches: Sequence[Reach], num_qubits: int, num_global: int) -> StagePlan:
    """Return stages for so many global qubits.

    Several plans are followed stage by stage; those that have come farthest are kept. Tried are
    the qubits that, global by themselves, would let most gates run: those needed last.

    Examples
    --------
    >>> ring = [Reach(1 << k | 1 << (k + 1) % 4, 1 << (k + 1) % 4) for k in range(4)]
    >>> plan = plan_stages(ring, num_qubits=4, num_global=1)
    >>> [sorted(stage.global_qubits) for stage in plan.stages], plan.volume
    ([[0], [1]], 0.5)
    """
    order = Order(reaches)
    everything = len(reaches)
    beam = [
        _Path.started(order, chosen) for chosen in _choices(order, None, num_qubits, num_global)
    ]
    while True:
        ended = [path for path in beam if path.front.done == everything]
        if ended:
            return min(ended, key=lambda path: path.volume).plan
        beam = sorted(beam, key=lambda path: (-path.front.done, path.volume))[:_BEAM]
        beam = [
            path.followed(chosen)
            for path in beam
            for chosen in _choices(order, path, num_qubits, num_global)
        ]


@dataclass(frozen=True)
class _Path:
    """A plan that has come so far."""

    front: Front
    prepared: tuple[int, ...]
    stages: tuple[Stage, ...]
    volume: float = 0.0

    @classmethod
    def started(cls, order: Order, chosen: frozenset[int]) -> _Path:
        front = Front(order)
        prepared = _prepared(front, chosen)
        return cls(front, prepared, (Stage(chosen, _run(front, chosen)),))

    def followed(self, chosen: frozenset[int]) -> _Path:
        front = self.front.copy()
        stage = Stage(chosen, _run(front, chosen))
        moved = _moved(self.stages[-1].global_qubits, chosen)
        return _Path(front, self.prepared, (*self.stages, stage), self.volume + moved)

    @property
    def plan(self) -> StagePlan:
        return StagePlan(self.prepared, self.stages)


def _moved(before: frozenset[int], after: frozenset[int]) -> float:
    return 1 - 0.5 ** len(after - before)


def _prepared(front: Front, chosen: frozenset[int]) -> tuple[int, ...]:
    """Take the gates on single global qubits that nothing has entangled."""
    reaches = front.order.reaches
    single = {1 << qubit for qubit in chosen}
    found, stopped = front.look(lambda number: reaches[number].qubits in single)
    front.take(found, stopped)
    return tuple(found)


def _run(front: Front, chosen: Iterable[int]) -> tuple[int, ...]:
    """Take all gates that need none of these qubits to be local."""
    found, stopped = front.look(_needs_none_of(front.order, chosen))
    front.take(found, stopped)
    return tuple(found)


def _needs_none_of(order: Order, chosen: Iterable[int]) -> Callable[[int], bool]:
    mask = sum(1 << qubit for qubit in chosen)
    return lambda number: not order.reaches[number].turned & mask


def _choices(
    order: Order, path: _Path | None, num_qubits: int, num_global: int
) -> list[frozenset[int]]:
    """Return global qubits to go on with: those needed last, and a few others."""
    if not num_global:
        return [frozenset()]

    def runs(qubit: int) -> int:
        if path is None:
            return _Path.started(order, frozenset([qubit])).front.done
        return len(path.front.look(_needs_none_of(order, [qubit]))[0])

    # Of equals those that are global already: what stays where it is costs nothing.
    old = path.stages[-1].global_qubits if path is not None else frozenset[int]()
    farthest = sorted(range(num_qubits), key=lambda q: (-runs(q), q not in old, q))
    return [frozenset(some) for some in combinations(farthest[: num_global + _MORE], num_global)]
