"""Blocks: a statevector plan's operations, neighbours fused, with the layout of every state.

A product with a state costs little more for four wires than for two, since it is the state that is
read and written. Operations of large states are therefore multiplied into blocks of up to
`MOST_WIRES` wires. Each product leaves its wires in front, so that layouts are known beforehand.
Owns which operations are one block, and where axes stand; refuses to know of torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from pilotcut.backends.statevector_plan import Axis, Factor, StatevectorPlan, TensorOperation

#: States of so many amplitudes and more have their operations fused. Smaller ones are not larger
#: than the blocks' matrices.
FUSED_AMPLITUDES = 2**11

#: What a product with a block of so many wires costs. Measured with torch 2.13 on one thread, real
#: and complex states of 2^18 amplitudes: 0.9 : 1 : 1.3 : 1.8, copies in front included.
COSTS = {1: 0.9, 2: 1.0, 3: 1.3, 4: 1.8}

#: Wires of a block at most; larger gates stand alone.
MOST_WIRES = max(COSTS)

#: Largest condition number of a site's branches, stacked, for which its input is computed from its
#: output on the way back; in single precision it would lose more digits than there are to spare.
MOST_CONDITION, MOST_CONDITION_SINGLE = 1e3, 10.0


@dataclass(frozen=True)
class StateBlock:
    """One step of a sweep: start a wire, join two groups, or apply a matrix.

    Parameters
    ----------
    kind
        "start", "open", "join" or "apply", as of `TensorOperation`.
    group, sources
        The group that results; for a join, the groups that are joined.
    numbers
        For an application the operations whose matrices are multiplied, first applied first.
    places
        For each of them where its wires stand among the block's.
    shape, order
        For an application: the state's axes before, neighbours taken together, and their
        permutation that brings the block's wires to the front.
    size
        (D, d) of the block's matrix.
    scale
        ``c`` if the matrix is an isometry times ``sqrt(c)``: its adjoint undoes it but for ``c``. A
        gate has 1, and the branches of many cuts have one. None if it is not.
    invertible
        Whether its input can be computed from its output.
    free
        Whether it or anything before it in its group depends on an angle.
    """

    kind: str
    group: int
    sources: tuple[int, int] = (-1, -1)
    numbers: tuple[int, ...] = ()
    places: tuple[tuple[int, ...], ...] = ()
    shape: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    size: tuple[int, int] = (1, 1)
    scale: float | None = 1.0
    invertible: bool = True
    free: bool = False


class BlockPlan:
    """The blocks of a plan without density matrices.

    Parameters
    ----------
    plan
        Whose operations are fused.
    single
        Whether states are in single precision.

    Attributes
    ----------
    blocks
        In order.
    axes
        Of each group's final state, in the order in which they stand.
    """

    def __init__(self, plan: StatevectorPlan, single: bool = False) -> None:
        self._plan = plan
        self._most_condition = MOST_CONDITION_SINGLE if single else MOST_CONDITION
        self._sizes: list[int] = []  # of each axis, by its number
        self._nodes: list[_Node] = []
        self._layout: dict[int, list[int]] = {}  # numbers of axes as they stand, by group
        self._free: set[int] = set()  # groups that depend on an angle
        names = self._trace()
        self.blocks = list(self._fused())
        self.axes: dict[int, list[Axis]] = {
            group: [names[axis] for axis in self._layout[group]] for group in plan.axes
        }

    def _trace(self) -> dict[int, Axis]:
        """Walk through the plan with a number for each axis; return the names at the end."""
        axes: dict[int, list[int]] = {}  # by group, in the plan's order
        for operation in self._plan.operations:
            group = operation.group
            made: list[int] = []
            if operation.kind == "join":
                a, b = operation.sources
                axes[group] = used = [*axes.pop(a), *axes.pop(b)]
            elif operation.kind == "apply":
                assert operation.matrix is not None
                old = [axes[group][k] for k in operation.order]
                used = old[: len(operation.matrix.before)]
                made = self._new_axes(operation.shape[: len(operation.shape) - len(old)])
                axes[group] = [*made, *old]
            else:
                axes[group] = made = self._new_axes((2, 2) if operation.kind == "open" else (2,))
                used = made
            node = _Node.of(operation, tuple(used), tuple(made), self._most_condition)
            self._nodes.append(node)
        named = self._plan.axes
        return {n: name for g in named for n, name in zip(axes[g], named[g], strict=True)}

    def _new_axes(self, sizes: Sequence[int]) -> list[int]:
        first = len(self._sizes)
        self._sizes += sizes
        return list(range(first, len(self._sizes)))

    def _fused(self) -> Iterator[StateBlock]:
        queues = _Queues(self._nodes)
        fuses = self._plan.widest >= FUSED_AMPLITUDES
        for number, node in enumerate(self._nodes):
            if number in queues.done:
                continue
            operation = self._plan.operations[number]
            numbers = queues.best(number) if fuses and node.fusable else [number]
            queues.take(numbers)
            if operation.kind == "apply":
                yield self._application(numbers)
            else:
                yield self._other(operation, node)

    def _other(self, operation: TensorOperation, node: _Node) -> StateBlock:
        group = operation.group
        if operation.kind == "join":
            a, b = operation.sources
            self._layout[group] = [*self._layout.pop(a), *self._layout.pop(b)]
            if {a, b} & self._free:
                self._free.add(group)
        else:
            self._layout[group] = list(node.made)
        return StateBlock(operation.kind, group, operation.sources, free=group in self._free)

    def _application(self, numbers: list[int]) -> StateBlock:
        nodes = [self._nodes[k] for k in numbers]
        group = self._plan.operations[numbers[0]].group
        layout = self._layout[group]
        wires = {axis for node in nodes for axis in node.used}
        # As they stand, so that long pieces are moved as they are.
        front = [axis for axis in layout if axis in wires]
        if len(nodes) == 1:
            front = list(nodes[0].used)
        target = [*front, *(axis for axis in layout if axis not in wires)]
        shape, order = self._permutation(layout, target)
        (made,) = [node.made for node in nodes] if len(nodes) == 1 else [()]
        self._layout[group] = [*made, *target]
        if any(node.free for node in nodes):
            self._free.add(group)
        columns = prod(self._sizes[axis] for axis in front)
        return StateBlock(
            "apply",
            group,
            numbers=tuple(numbers),
            places=tuple(tuple(front.index(axis) for axis in node.used) for node in nodes),
            shape=shape,
            order=order,
            size=(columns * prod(self._sizes[axis] for axis in made), columns),
            scale=nodes[0].scale,
            invertible=all(node.invertible for node in nodes),
            free=group in self._free,
        )

    def _permutation(
        self, layout: list[int], target: list[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return sizes of pieces that stay together, and the order they come in."""
        place = {axis: k for k, axis in enumerate(layout)}
        pieces: list[list[int]] = []
        for axis in target:
            if pieces and place[axis] == place[pieces[-1][-1]] + 1:
                pieces[-1].append(axis)
            else:
                pieces.append([axis])
        before = sorted(pieces, key=lambda piece: place[piece[0]])
        shape = tuple(prod(self._sizes[axis] for axis in piece) for piece in before)
        return shape, tuple(before.index(piece) for piece in pieces)


@dataclass(frozen=True)
class _Node:
    """An operation and its axes.

    Parameters
    ----------
    used, made
        Axes that it needs to itself, and new ones.
    """

    used: tuple[int, ...]
    made: tuple[int, ...]
    fusable: bool
    scale: float | None
    invertible: bool
    free: bool

    @classmethod
    def of(
        cls,
        operation: TensorOperation,
        used: tuple[int, ...],
        made: tuple[int, ...],
        most_condition: float,
    ) -> _Node:
        if operation.matrix is None:
            return cls(used, made, fusable=False, scale=1.0, invertible=True, free=False)
        factors = operation.matrix.factors
        scale = _scale(factors)
        invertible = all(
            factor.constant is None or np.linalg.cond(factor.constant) < most_condition
            for factor in factors
        )
        free = any(factor.constant is None for factor in factors)
        fusable = scale == 1.0 and not made and len(used) <= MOST_WIRES
        return cls(used, made, fusable, scale, invertible, free)


def _scale(factors: Sequence[Factor]) -> float | None:
    """Return ``c`` of a product of isometries times ``sqrt(c)``, None of any other."""
    product = 1.0
    for factor in factors:
        if factor.constant is None:
            continue  # gates of an angle are unitary
        square = factor.constant.conj().T @ factor.constant
        scale = float(square[0, 0].real)
        if not np.allclose(square, scale * np.eye(len(square)), rtol=0, atol=1e-12 * scale):
            return None
        product *= scale
    return 1.0 if abs(product - 1.0) < 1e-12 else product


class _Queues:
    """The operations that each axis still has before it."""

    def __init__(self, nodes: Sequence[_Node]) -> None:
        self.done: set[int] = set()
        self._nodes = nodes
        self._of: dict[int, list[int]] = {}
        for number, node in enumerate(nodes):
            for axis in node.used:
                self._of.setdefault(axis, []).append(number)
        self._next = dict.fromkeys(self._of, 0)

    def take(self, numbers: Sequence[int]) -> None:
        """Count operations as done."""
        self.done.update(numbers)
        for number in numbers:
            for axis in self._nodes[number].used:
                self._next[axis] += 1

    def best(self, number: int) -> list[int]:
        """Return the operations of the best block that begins with one."""
        start = frozenset(self._nodes[number].used)
        seen, todo = {start}, [start]
        best, least = [number], inf
        while todo:
            wires = todo.pop()
            inside, beside = self._within(wires)
            # By wires of operations: one of two wires is worth two of one.
            cost = COSTS[len(wires)] / sum(len(self._nodes[k].used) for k in inside)
            if cost < least:
                best, least = inside, cost
            for other in beside:
                larger = wires | set(self._nodes[other].used)
                if len(larger) <= MOST_WIRES and larger not in seen:
                    seen.add(larger)
                    todo.append(larger)
        return best

    def _within(self, wires: frozenset[int]) -> tuple[list[int], list[int]]:
        """Return the operations that can come next on some wires alone, and those in their way."""
        at = {axis: self._next[axis] for axis in wires}
        inside: list[int] = []
        beside: set[int] = set()
        todo = list(wires)
        while todo:
            axis = todo.pop()
            if at[axis] == len(self._of[axis]):
                continue
            number = self._of[axis][at[axis]]
            node = self._nodes[number]
            if not node.fusable:
                continue
            if not wires.issuperset(node.used):
                beside.add(number)
            elif all(at[k] < len(self._of[k]) and self._of[k][at[k]] == number for k in node.used):
                inside.append(number)
                for k in node.used:
                    at[k] += 1
                todo += node.used
        return inside, sorted(beside)
