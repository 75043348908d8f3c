"""Statevector plan: the tensor operations of a fragment, written down before any is done.

Wires are joined lazily into groups, and one-qubit gates wait until a gate or a site takes
them along. The plan knows the axes and sizes of every state, so that memory can be checked
before anything is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from pilotcut.backends.native_gates import MatrixGate, over_native_gates
from pilotcut.cutting.fragment import Fragment, Site

# An axis of a state: ("wire", w) or ("site", s).
Axis = tuple[str, int]


@dataclass
class Factor:
    """A matrix of a product: a constant, or number `index` of the free gates of its size."""

    constant: np.ndarray | None = None
    index: int = -1


Chain = list[Factor]


@dataclass
class Matrix:
    """The matrix that is applied to one or two wires, as factors still to be multiplied.

    Parameters
    ----------
    before, after
        For each wire, one-qubit factors, first applied first.
    own
        The two-qubit gate, or a site's branches (R * 2, 2), or None.
    """

    before: tuple[Chain, ...]
    own: Factor | None
    after: tuple[Chain, ...]

    @property
    def factors(self) -> list[Factor]:
        """Return all matrices that are multiplied."""
        own = [] if self.own is None else [self.own]
        return [factor for chain in (*self.before, own, *self.after) for factor in chain]

    @property
    def pattern(self) -> tuple[object, ...]:
        """Return what must agree for several matrices to be multiplied as one batch."""
        chains = tuple(tuple(f.constant is None for f in c) for c in (*self.before, *self.after))
        own = self.own
        shape = None if own is None else own.constant is None or own.constant.shape
        return (len(self.before), chains, tuple(len(c) for c in self.before), shape)


@dataclass(frozen=True)
class TensorOperation:
    """One tensor operation: start a wire, join two groups, or apply a matrix.

    Parameters
    ----------
    kind
        "start", "open" (a wire cut's new wire), "join" or "apply".
    group
        The group that results.
    sources
        For a join, the groups that are joined.
    order, shape
        For an application: the axes to bring to the front, as a permutation of all, and
        the shape afterwards, both without the batch.
    matrix
        For an application.
    """

    kind: str
    group: int
    sources: tuple[int, int] = (-1, -1)
    order: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    matrix: Matrix | None = None


class StatevectorPlan:
    """Walks a fragment and writes down the operations, keeping track of axes."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        self.operations: list[TensorOperation] = []
        self.harmonics: dict[int, list[np.ndarray]] = {1: [], 2: []}
        self.angles: dict[int, list[int]] = {1: [], 2: []}
        self.axes: dict[int, list[Axis]] = {}
        self.amplitudes = 0  # of all states that are made, for one row
        self.widest = 0  # of the largest one
        self._waiting: list[Chain] = [[] for _ in range(fragment.width)]
        self._last: dict[int, Chain] = {}  # where a wire's last matrix takes factors after it
        self._group_of: dict[int, int] = {}
        self._count = 0
        self.native = over_native_gates(fragment)
        opened = {s.wire for s in fragment.sites if s.kind == "start"}
        for wire in set(range(fragment.width)) - opened:
            self._start("start", [("wire", wire)])
        for step in self.native.steps:
            self._step(step)
        for wire in sorted(self._group_of):
            self._flush(wire)

    def _step(self, step: MatrixGate | Site) -> None:
        if isinstance(step, Site):
            self._site(step)
        elif len(step.wires) == 1:
            self._wait(step.wires[0], self._factor(step))
        else:
            self._join(*step.wires)
            self._apply(step.wires, self._factor(step))

    def _factor(self, gate: MatrixGate) -> Factor:
        if gate.angle is None:
            return Factor(constant=gate.matrix)
        size = len(gate.wires)
        self.harmonics[size].append(gate.matrix)
        self.angles[size].append(gate.angle)
        return Factor(index=len(self.angles[size]) - 1)

    def _wait(self, wire: int, factor: Factor) -> None:
        waiting = self._waiting[wire]
        if waiting and waiting[-1].constant is not None and factor.constant is not None:
            # Multiplied here, once, and not with every batch.
            waiting[-1] = Factor(constant=factor.constant @ waiting[-1].constant)
        else:
            waiting.append(factor)

    def _start(self, kind: str, axes: list[Axis]) -> None:
        self.operations.append(TensorOperation(kind, self._new_group(axes)))

    def _new_group(self, axes: list[Axis]) -> int:
        group, self._count = self._count, self._count + 1
        self._place(group, axes)
        return group

    def _place(self, group: int, axes: list[Axis]) -> None:
        self.axes[group] = axes
        self._group_of.update({number: group for kind, number in axes if kind == "wire"})
        size = prod(self._sizes(axes))
        # The sum and not the most, since autograd keeps the result of every operation.
        self.amplitudes += size
        self.widest = max(self.widest, size)

    def _sizes(self, axes: list[Axis]) -> tuple[int, ...]:
        return tuple(2 if kind == "wire" else self.fragment.sites[k].rank for kind, k in axes)

    def _site(self, site: Site) -> None:
        wire, branch = ("wire", site.wire), ("site", site.axis)
        if site.kind == "start":
            self._start("open", [branch, wire])
        elif site.kind == "end":
            # Before the wire goes: afterwards nothing could take along what waits on it.
            self._flush(site.wire)
            axes = self.axes[self._group_of.pop(site.wire)]
            axes[axes.index(wire)] = branch  # the wire itself becomes the branch
        else:
            branches = Factor(constant=site.branches.reshape(-1, 2))
            self._apply((site.wire,), branches, [branch])

    def _flush(self, wire: int) -> None:
        """Give what waits on a wire to the wire's last matrix, or apply it alone."""
        # A pass over the whole state is saved for every factor that another matrix takes along.
        if self._waiting[wire] and wire in self._last:
            # These commute with whatever the group's other wires had since.
            self._last[wire].extend(self._waiting[wire])
            self._waiting[wire] = []
        elif self._waiting[wire]:
            self._apply((wire,), None)

    def _join(self, first: int, second: int) -> None:
        a, b = self._group_of[first], self._group_of[second]
        if a != b:
            group = self._new_group([*self.axes.pop(a), *self.axes.pop(b)])
            self.operations.append(TensorOperation("join", group, sources=(a, b)))

    def _apply(
        self, wires: tuple[int, ...], own: Factor | None, new: list[Axis] | None = None
    ) -> None:
        group = self._group_of[wires[0]]
        old = self.axes[group]
        front = [("wire", w) for w in wires]
        rest = [axis for axis in old if axis not in front]
        axes = [*(new or []), *front, *rest]
        order = tuple(old.index(axis) for axis in [*front, *rest])
        matrix = Matrix(tuple(self._waiting[w] for w in wires), own, tuple([] for _ in wires))
        for wire, after in zip(wires, matrix.after, strict=True):
            self._waiting[wire] = []
            self._last[wire] = after
        self._place(group, axes)
        self.operations.append(
            TensorOperation("apply", group, (-1, -1), order, self._sizes(axes), matrix)
        )
