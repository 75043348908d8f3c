"""Statevector plan: the tensor operations of a fragment, written down before any is done.

Wires are joined lazily into groups, and one-qubit gates wait until a gate or a site takes
them along. A wire that ended without being observed (a reset qubit) stays in its group's state,
which purifies what is left, or is traced out of it: the group is a density matrix from then on,
whose ket and bra have the same axes. The plan knows the axes and sizes of every state, so that
memory can be checked before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from pilotcut.backends.native_gates import MatrixGate, over_native_gates
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.cutting.liveness import lifetimes
from pilotcut.io.large_numbers import bounded

#: Bytes that a batch's states may take, with what their derivatives need.
MEMORY_BYTES = 2 * 2**30

#: Numbers of products of amplitudes that are summed at once: they should stay in the caches.
MOST_AT_ONCE = 2**16

#: How much more an amplitude costs where there are density matrices: autograd records every state,
#: real or not, and nothing is fused.
MIXING_COST = 4

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
    """The matrix that is applied to some wires, as factors still to be multiplied.

    Parameters
    ----------
    before, after
        For each wire, one-qubit factors, first applied first.
    own
        The gate of several wires, or a site's branches (R * 2, 2), or None.
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
        "start", "open" (a wire cut's new wire), "join", "apply", "mix" (a state becomes a density
        matrix of some of its axes) or "trace" (wires leave a density matrix).
    group
        The group that results.
    sources
        For a join, the groups that are joined.
    order, shape
        For an application: the axes to bring to the front, as a permutation of all, and
        the shape afterwards, both without the batch. For a mix: the axes that stay, then those
        that are traced out, and the shape of those that stay; for a trace: the axes that leave.
    matrix
        For an application.
    mixed
        For a join and an application, whether on density matrices: ket and bra.
    """

    kind: str
    group: int
    sources: tuple[int, int] = (-1, -1)
    order: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    matrix: Matrix | None = None
    mixed: bool = False


@dataclass(frozen=True)
class GramSize:
    """What the Gram matrices of a group are made of, for one parameter set.

    Parameters
    ----------
    letters
        Distinct Paulis on its wires that are not known beforehand.
    flips
        Distinct sets of bits that these flip; letters of equal flips share products.
    branches, amplitudes
        Of its state.
    """

    letters: int
    flips: int
    branches: int
    amplitudes: float

    @property
    def products(self) -> float:
        """Products of amplitudes, one by one."""
        # As in the schedule: of two branches' for each flip, or of one's and each letter's sign.
        paired = 2 * self.letters > self.branches * self.flips
        count = self.flips * self.branches if paired else self.letters
        return count * self.branches * self.amplitudes

    @property
    def sums(self) -> float:
        """Terms of the sums over pairs of branches, which are products of matrices."""
        return self.letters * self.branches**2 * self.amplitudes


class StatevectorPlan:
    """Walks a fragment and writes down the operations, keeping track of axes.

    Parameters
    ----------
    fragment
        The fragment.
    mixing
        Whether states whose ended wires outweigh the others become density matrices.
    """

    def __init__(self, fragment: Fragment, mixing: bool = False) -> None:
        self.fragment = fragment
        self.operations: list[TensorOperation] = []
        self.harmonics: dict[int, list[np.ndarray]] = {}  # by number of wires
        self.angles: dict[int, list[int]] = {}
        self.axes: dict[int, list[Axis]] = {}
        self.mixed: set[int] = set()  # groups that are density matrices
        self.amplitudes = 0  # of all states that are made, for one row
        self.joined = 0  # of all states that others were joined from
        self.widest = 0  # of the largest one
        self._mixing = mixing
        self._dead: set[int] = set()  # wires that ended and are not observed
        self._last: dict[int, Chain] = {}  # where a wire's last matrix takes factors after it
        self._group_of: dict[int, int] = {}
        self._count = 0
        self.native = over_native_gates(fragment)
        wires = self.native.num_wires
        self._waiting: list[Chain] = [[] for _ in range(wires)]
        # The wires of measured values are not observed.
        more = ((0, 0), (0, wires - fragment.num_wires))
        self.x, self.z = (np.pad(a, more) for a in (fragment.observables.x, fragment.observables.z))
        opened = {s.wire for s in fragment.sites if s.kind == "start"}
        for wire in set(range(wires)) - opened:
            self._start("start", [("wire", wire)])
        self._walk()
        for wire in sorted(self._group_of):
            self._flush(wire)

    @classmethod
    def cheapest(cls, fragment: Fragment) -> StatevectorPlan:
        """Return the cheaper plan, of those with and without density matrices."""
        pure, mixing = cls(fragment), cls(fragment, mixing=True)
        return mixing if mixing.amplitudes * MIXING_COST < pure.amplitudes else pure

    @cached_property
    def final(self) -> int:
        """Amplitudes of all groups' final states."""
        return sum(prod(self.sizes(axes)) for axes in self.axes.values())

    @property
    def row_bytes(self) -> int:
        """Bytes that states of one row take at a time in double precision, derivatives included."""
        if self.mixed:
            return 16 * self.amplitudes  # recorded by autograd
        return (self.kept + 2 * self.per_output) * (8 if self.real else 16)

    @property
    def kept(self) -> int:
        """Amplitudes of a row that an adjoint sweep keeps to the end."""
        return self.final + self.joined

    @property
    def per_output(self) -> int:
        """Amplitudes of a row that it holds for each cotangent state, and for the state itself."""
        return self.final + self.widest  # the widest once more while a matrix is applied to it

    @cached_property
    def real(self) -> bool:
        """Whether all matrices are real, and so all states."""
        matrices = [m for some in self.harmonics.values() for m in some]
        matrices += [
            factor.constant
            for operation in self.operations
            if operation.matrix is not None
            for factor in operation.matrix.factors
            if factor.constant is not None
        ]
        return not any(matrix.imag.any() for matrix in matrices)

    @cached_property
    def grams(self) -> list[GramSize]:
        """The Gram matrices of each group of entangled wires."""
        found = []
        for axes in self.axes.values():
            wires = [k for kind, k in axes if kind == "wire"]
            branches = prod(self.fragment.sites[k].rank for kind, k in axes if kind == "site")
            letters = np.unique(np.hstack([self.x[:, wires], self.z[:, wires]]), axis=0)
            if branches == 1:  # the identity's is the norm
                letters = letters[letters.any(axis=1)]
            flips = len(np.unique(letters[:, : len(wires)], axis=0))
            found.append(GramSize(len(letters), flips, branches, bounded(2 ** len(wires))))
        return found

    def _walk(self) -> None:
        steps = _seen(self.native.steps, (self.x | self.z).any(axis=0))
        last = lifetimes([step.wires for step in steps], (self.x | self.z).any(axis=0)).last
        for place, step in enumerate(steps):
            self._step(step)
            for wire in step.wires:
                if last[wire] == place and wire in self._group_of:
                    self._dead.add(wire)
                    # Whatever turns it now, nobody sees.
                    self._waiting[wire] = []

    def _step(self, step: MatrixGate | Site) -> None:
        if isinstance(step, Site):
            self._site(step)
        elif len(step.wires) == 1:
            self._wait(step.wires[0], self._factor(step))
        else:
            for wire in step.wires[1:]:
                self._join(step.wires[0], wire)
            self._apply(step.wires, self._factor(step))

    def _factor(self, gate: MatrixGate) -> Factor:
        if gate.angle is None:
            return Factor(constant=gate.matrix)
        size = len(gate.wires)
        self.harmonics.setdefault(size, []).append(gate.matrix)
        self.angles.setdefault(size, []).append(gate.angle)
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
        size = prod(self.sizes(axes)) ** (2 if group in self.mixed else 1)
        # The sum and not the most, since autograd keeps the result of every operation.
        self.amplitudes += size
        self.widest = max(self.widest, size)

    def sizes(self, axes: Sequence[Axis]) -> tuple[int, ...]:
        """Return the sizes of axes: 2 of a wire, the rank of a site."""
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
            self._settle(self._group_of[site.wire])
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
        if a == b:
            self._settle(a)
            return
        for group in (a, b):
            self._settle(group)
        mixed = bool({a, b} & self.mixed)
        for group in (a, b):
            if mixed and group not in self.mixed:
                self._mix(group)
        self.mixed -= {a, b}
        if mixed:
            self.mixed.add(self._count)
        self.joined += sum(prod(self.sizes(self.axes[group])) for group in (a, b))
        group = self._new_group([*self.axes.pop(a), *self.axes.pop(b)])
        self.operations.append(TensorOperation("join", group, sources=(a, b), mixed=mixed))

    def _settle(self, group: int) -> None:
        """Trace out a group's ended wires before it grows, if that makes it smaller."""
        axes = self.axes[group]
        ended = [axis for axis in axes if axis[0] == "wire" and axis[1] in self._dead]
        if not ended or not self._mixing:
            return
        if group in self.mixed:
            order = tuple(axes.index(axis) for axis in ended)
            self._leave(group, ended)
            self.operations.append(TensorOperation("trace", group, order=order))
        # The density matrix of what is left, squared in size, against a state with all of it.
        elif prod(self.sizes(axes)) >= prod(self.sizes(_without(axes, ended))) ** 2:
            self._mix(group, ended)

    def _mix(self, group: int, ended: Sequence[Axis] = ()) -> None:
        axes = self.axes[group]
        order = tuple(axes.index(axis) for axis in [*_without(axes, ended), *ended])
        self.mixed.add(group)
        self._leave(group, ended)
        shape = self.sizes(self.axes[group])
        self.operations.append(TensorOperation("mix", group, order=order, shape=shape))

    def _leave(self, group: int, ended: Sequence[Axis]) -> None:
        for _, wire in ended:
            del self._group_of[wire]
        self._place(group, _without(self.axes[group], ended))

    def _apply(
        self, wires: tuple[int, ...], own: Factor | None, new: list[Axis] | None = None
    ) -> None:
        group = self._group_of[wires[0]]
        old = self.axes[group]
        front = [("wire", w) for w in wires]
        rest = _without(old, front)
        axes = [*(new or []), *front, *rest]
        place = {axis: k for k, axis in enumerate(old)}  # of hundreds, each looked for
        order = tuple(place[axis] for axis in [*front, *rest])
        matrix = Matrix(tuple(self._waiting[w] for w in wires), own, tuple([] for _ in wires))
        for wire, after in zip(wires, matrix.after, strict=True):
            self._waiting[wire] = []
            self._last[wire] = after
        self._place(group, axes)
        mixed = group in self.mixed
        if mixed:  # once for the kets, once for the bras
            self._place(group, axes)
        self.operations.append(
            TensorOperation("apply", group, (-1, -1), order, self.sizes(axes), matrix, mixed)
        )


def _without(axes: Sequence[Axis], some: Sequence[Axis]) -> list[Axis]:
    others = set(some)
    return [axis for axis in axes if axis not in others]


def _seen(
    steps: Sequence[MatrixGate | Site], observed: np.ndarray
) -> tuple[MatrixGate | Site, ...]:
    """Return the steps without gates that cancel between ket and bra.

    Those are the gates on whose wires nothing is observed afterwards and no site stands: they are
    outside the light cone of all observables and sites. A site has branches that do not cancel.
    """
    inside = set(np.flatnonzero(observed).tolist())
    kept = []
    for step in reversed(steps):
        if isinstance(step, Site) or not inside.isdisjoint(step.wires):
            inside.update(step.wires)
            kept.append(step)
    return tuple(reversed(kept))
