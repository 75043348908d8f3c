"""Network plan: everything that a fragment's networks multiply, as a few large products.

The terms' networks are read as one graph of values. Equal values are one, whichever term they are
of; values of the same kind and shapes that do not wait for each other are computed in one call, as
an array of them. The plan knows all sizes before anything is allocated. Refuses to know arrays of
which library are multiplied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from math import inf, prod
from typing import TypeAlias

import numpy as np

from pilotcut.backends.native_gates import NativeFragment
from pilotcut.backends.network_order import Pair, contraction_order, multiplications
from pilotcut.backends.pauli_network import Core, cores_of, tensors_of

#: Multiplications of a term, entries of a value, and of all constants, at most: more is another
#: engine's.
MOST_MULTIPLICATIONS, MOST_ENTRIES, MOST_CONSTANT = 2**32, 2**25, 2**26

#: Shape of a value for one parameter set.
Shape: TypeAlias = tuple[int, ...]

#: An order of axes, None for that in which they are.
Axes: TypeAlias = tuple[int, ...] | None


@dataclass(frozen=True)
class Pairing:
    """How two values are multiplied: as matrices, once their axes are in order.

    Parameters
    ----------
    first, second
        The axes of each, those that are summed over last and first.
    rows, inner, columns
        Sizes of the matrices.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    rows: int
    inner: int
    columns: int

    # Asked for at every call, of what never changes.
    @cached_property
    def orders(self) -> tuple[Axes, Axes]:
        """How values (values, rows, *shape) are transposed to matrices, None where they are not."""
        return _order(self.first), _order(self.second)

    @cached_property
    def undone(self) -> tuple[Axes, Axes]:
        """How derivatives by the matrices are transposed back."""
        return _order(np.argsort(self.first)), _order(np.argsort(self.second))


@dataclass(frozen=True)
class Value:
    """One value of the graph.

    Parameters
    ----------
    kind
        "constant", "harmonics" of an angle, their "outer" product, a "core" that is linear in
        such, a "pair", or another one's axes "moved".
    sources
        Numbers of the values that it is made of.
    shape
        For one parameter set.
    constant
        The array of a constant, or the matrix (harmonics, entries) of a core.
    angle
        The native angle.
    pairing
        Of a pair.
    moved
        The order of the other one's axes.
    """

    kind: str
    sources: tuple[int, ...]
    shape: Shape
    constant: np.ndarray | None = field(default=None, compare=False)
    angle: int = -1
    pairing: Pairing | None = None
    moved: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """Some values of one group, as operands of another.

    Parameters
    ----------
    group
        Which group they are in.
    where
        Their places in it, as a slice wherever that is possible.
    to
        Their places among the operands.
    repeated
        Whether a value stands there more than once.
    """

    group: int
    where: slice | np.ndarray
    to: slice
    repeated: bool

    def is_whole(self, count: int) -> bool:
        """Return whether it is a group of so many values as it stands."""
        return isinstance(self.where, slice) and self.where == slice(0, count, 1)


@dataclass(frozen=True)
class Group:
    """Values that are computed in one call.

    Parameters
    ----------
    kind, shape, pairing, moved
        See `Value`.
    count
        How many they are.
    operands
        For each operand where its values come from.
    constant
        The array (values, 1, *shape) of constants, or the matrix (harmonics, entries) of cores,
        (values, harmonics, entries) where they differ.
    angles
        Their native angles.
    shared
        Whether they depend on shared angles alone, or on none: they have one row.
    """

    kind: str
    shape: Shape
    count: int
    operands: tuple[tuple[Source, ...], ...] = ()
    constant: np.ndarray | None = None
    angles: tuple[int, ...] = ()
    pairing: Pairing | None = None
    moved: tuple[int, ...] = ()
    shared: bool = False

    @property
    def size(self) -> int:
        """Entries of all its values, for one parameter set."""
        return self.count * prod(self.shape)

    @property
    def products(self) -> int:
        """Products of matrices, for one parameter set."""
        return 0 if self.pairing is None else self.count

    @property
    def multiplications(self) -> int:
        """Multiplications for one parameter set."""
        if self.kind == "core":
            assert self.constant is not None
            return self.count * prod(self.constant.shape[-2:])
        if self.pairing is not None:
            return self.count * self.pairing.rows * self.pairing.inner * self.pairing.columns
        return self.size


class NetworkTooLargeError(Exception):
    """A network that is not worth contracting."""


class NetworkPlan:
    """The networks of all terms of a fragment.

    A term's value has an axis for each site, in order, of Hermitian combinations (`SiteTensors`).

    Parameters
    ----------
    native
        The fragment over native gates.
    letters
        Boolean (terms, 2, wires): x and z of each term.
    most
        Multiplications of a term that are worth it.

    Attributes
    ----------
    groups
        In the order in which they are computed.
    outputs
        Where the terms' values are.

    Raises
    ------
    NetworkTooLargeError
        If a term takes more than is worth it; nothing large has been computed then.
    """

    def __init__(self, native: NativeFragment, letters: np.ndarray, most: float = inf) -> None:
        self._values: list[Value] = []
        self._known: dict[Hashable, int] = {}
        self._most, self._constants = min(most, MOST_MULTIPLICATIONS), 0
        tensors = tensors_of(native.steps)
        self._networks: list[tuple[list[Core], list[Pair]]] = []
        self._shared: frozenset[int] = frozenset()
        self._make(self._ordered(cores_of(tensors, one)) for one in letters)

    def sharing(self, angles: Iterable[int]) -> NetworkPlan:
        """Return the plan of the same values where some native angles are equal in all rows.

        What depends on these alone has one row, and is multiplied apart from all else.
        """
        other = copy(self)
        other._values, other._known, other._constants = [], {}, 0
        other._networks, other._shared = [], frozenset(angles)
        other._make(self._networks)
        return other

    def is_folded(self, group: Group) -> bool:
        """Return whether a group's products are one each for all rows, and not for each row."""
        if group.pairing is None:
            return group.shared
        # The first factor's rows are rows of one matrix, where the second is the same for all.
        return all(self.groups[source.group].shared for source in group.operands[1])

    # -- the graph ------------------------------------------------------------------------

    def _make(self, networks: Iterable[tuple[list[Core], list[Pair]]]) -> None:
        terms = []
        for cores, pairs in networks:
            self._networks.append((cores, pairs))
            terms.append(self._term(cores, pairs))
        place = self._grouped(set(terms))
        self.outputs = tuple(_sources([place[term] for term in terms]))

    def _ordered(self, cores: list[Core]) -> tuple[list[Core], list[Pair]]:
        """Return a network with the order in which it is contracted."""
        sizes = {leg: core.size_of(leg) for core in cores for leg in core.legs}
        legs = [core.legs for core in cores]
        pairs = contraction_order(legs, sizes, self._most) if cores else []
        largest = max((prod(sizes[leg] for leg in pair.legs) for pair in pairs), default=1)
        if largest > MOST_ENTRIES or multiplications(legs, pairs, sizes) > self._most:
            raise NetworkTooLargeError
        return cores, pairs

    def _term(self, cores: Sequence[Core], pairs: Sequence[Pair]) -> int:
        """Add a network and return the number of its value."""
        if not cores:  # the identity
            return self._constant(np.ones(()))
        numbers = [self._core(core) for core in cores]
        legs = [core.legs for core in cores]
        for pair in pairs:
            a, b = pair.a, pair.b
            numbers.append(self._pair(numbers[a], legs[a], numbers[b], legs[b]))
            legs.append(pair.legs)
        return self._moved(numbers[-1], legs[-1])

    def _moved(self, number: int, legs: Sequence[int]) -> int:
        """Return a value whose legs are open with its sites in order."""
        axes = tuple(sorted(range(len(legs)), key=lambda k: -legs[k]))
        if list(axes) == list(range(len(legs))):
            return number
        value = self._values[number]
        if value.constant is not None and value.kind == "constant":
            return self._constant(value.constant.transpose(axes))
        shape = tuple(value.shape[axis] for axis in axes)
        return self._add(Value("moved", (number,), shape, moved=axes))

    def _add(self, value: Value, *key: Hashable) -> int:
        """Return the number of a value, which is added if it is new."""
        known = (value, *key)
        if known not in self._known:
            self._known[known] = len(self._values)
            self._values.append(value)
        return self._known[known]

    def _constant(self, array: np.ndarray) -> int:
        array = np.array(array, order="C")  # and of no axis, where `ascontiguousarray` makes one
        return self._add(Value("constant", (), array.shape, array), array.tobytes())

    def _core(self, core: Core) -> int:
        if not core.angles:
            return self._constant(core.values)
        own = [k for k, angle in enumerate(core.angles) if angle not in self._shared]
        shared = [k for k, angle in enumerate(core.angles) if angle in self._shared]
        shape, sizes = core.values.shape[len(core.angles) :], core.values.shape
        if not (own and shared):
            return self._linear(self._products(core, own or shared), shape, core.values)
        # Linear in the shared ones' products, as matrices that are applied to those of the others.
        order = (*shared, *own, *range(len(core.angles), core.values.ndim))
        rows, columns = prod(sizes[k] for k in own), prod(shape)
        moved = core.values.transpose(order).reshape(-1, rows, columns)
        matrix = self._linear(self._products(core, shared), (rows, columns), moved)
        pairing = Pairing((0,), (0, 1), 1, rows, columns)
        sources = (self._products(core, own), matrix)
        return self._add(Value("pair", sources, shape, pairing=pairing))

    def _products(self, core: Core, axes: Sequence[int]) -> int:
        """Return the products of a core's harmonics on some of its axes."""
        parts = [
            self._add(Value("harmonics", (), core.values.shape[k : k + 1], angle=core.angles[k]))
            for k in axes
        ]
        # By halves, the first ones first, as the axes of the core are in order.
        while len(parts) > 1:
            left = parts[-1:] if len(parts) % 2 else []
            parts = [
                self._outer(a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)
            ] + left
        return parts[0]

    def _linear(self, harmonics: int, shape: Shape, values: np.ndarray) -> int:
        matrix = np.ascontiguousarray(values.reshape(-1, prod(shape)))
        return self._add(Value("core", (harmonics,), shape, matrix), matrix.tobytes())

    def _outer(self, a: int, b: int) -> int:
        size = self._values[a].shape[0] * self._values[b].shape[0]
        return self._add(Value("outer", (a, b), (size,)))

    def _pair(self, a: int, on_a: Sequence[int], b: int, on_b: Sequence[int]) -> int:
        shared = [leg for leg in on_a if leg in on_b]
        left = [leg for leg in on_a if leg not in on_b]
        right = [leg for leg in on_b if leg not in on_a]
        size = dict(zip(on_a, self._values[a].shape, strict=True))
        size |= zip(on_b, self._values[b].shape, strict=True)
        pairing = Pairing(
            tuple(on_a.index(leg) for leg in (*left, *shared)),
            tuple(on_b.index(leg) for leg in (*shared, *right)),
            *(prod(size[leg] for leg in some) for some in (left, shared, right)),
        )
        shape = tuple(size[leg] for leg in (*left, *right))
        both = [self._values[k].constant for k in (a, b) if self._values[k].kind == "constant"]
        if len(both) == 2:
            self._constants += prod(shape)
            if self._constants > MOST_CONSTANT:
                raise NetworkTooLargeError
            return self._constant(_product(both[0], both[1], pairing, shape))
        return self._add(Value("pair", (a, b), shape, pairing=pairing))

    # -- its groups -----------------------------------------------------------------------

    def _grouped(self, wanted: set[int]) -> dict[int, tuple[int, int]]:
        """Make the groups; return each value's group and place."""
        level, shared = [0] * len(self._values), [False] * len(self._values)
        alike: defaultdict[Hashable, list[int]] = defaultdict(list)
        for number in sorted(self._needed(wanted)):
            value = self._values[number]
            level[number] = 1 + max((level[k] for k in value.sources), default=-1)
            shared[number] = (
                value.angle in self._shared
                if value.kind == "harmonics"
                else all(shared[k] for k in value.sources)
            )
            about = tuple(
                (self._values[k].shape, self._values[k].kind == "constant", shared[k])
                for k in value.sources
            )
            kind = (value.kind, value.shape, value.pairing, value.moved)
            alike[level[number], *kind, about, shared[number]].append(number)
        self.groups: list[Group] = []
        place: dict[int, tuple[int, int]] = {}
        for numbers in sorted(alike.values(), key=lambda some: level[some[0]]):
            # In the order of the operands, so that these are slices.
            numbers.sort(key=lambda k: [place[source] for source in self._values[k].sources])
            place |= {number: (len(self.groups), k) for k, number in enumerate(numbers)}
            group = self._group([self._values[k] for k in numbers], place)
            self.groups.append(replace(group, shared=shared[numbers[0]]))
        return place

    def _needed(self, wanted: set[int]) -> set[int]:
        needed, stack = set(wanted), list(wanted)
        while stack:
            more = set(self._values[stack.pop()].sources) - needed
            needed |= more
            stack += more
        return needed

    def _group(self, values: list[Value], place: dict[int, tuple[int, int]]) -> Group:
        first = values[0]
        operands = zip(*([place[k] for k in value.sources] for value in values), strict=True)
        constant = None
        if first.constant is not None:
            arrays = [value.constant for value in values if value.constant is not None]
            if first.kind == "constant":
                constant = np.array(arrays)[:, None]
            elif all(np.array_equal(array, arrays[0]) for array in arrays):
                constant = arrays[0]
            else:
                constant = np.array(arrays)
        return Group(
            first.kind,
            first.shape,
            len(values),
            tuple(tuple(_sources(places)) for places in operands),
            constant,
            tuple(value.angle for value in values if value.angle >= 0),
            first.pairing,
            first.moved,
        )


def _product(
    a: np.ndarray | None, b: np.ndarray | None, pairing: Pairing, shape: Shape
) -> np.ndarray:
    """Return the product of two constants."""
    assert a is not None
    assert b is not None
    left = a.transpose(pairing.first).reshape(pairing.rows, pairing.inner)
    right = b.transpose(pairing.second).reshape(pairing.inner, pairing.columns)
    return (left @ right).reshape(shape)


def _order(axes: Sequence[int] | np.ndarray) -> Axes:
    """Return the order of all axes of an array of values."""
    order = tuple(int(axis) + 2 for axis in axes)
    return None if order == tuple(range(2, len(order) + 2)) else (0, 1, *order)


def _sources(places: Sequence[tuple[int, int]]) -> Iterator[Source]:
    """Yield runs of places in the same group."""
    start = 0
    for group, run in groupby(places, key=lambda place: place[0]):
        numbers = [number for _, number in run]
        to = slice(start, start + len(numbers))
        start = to.stop
        repeated = len(set(numbers)) < len(numbers)
        yield Source(group, _as_slice(numbers), to, repeated)


def _as_slice(numbers: list[int]) -> slice | np.ndarray:
    steps = set(np.diff(numbers).tolist()) or {1}
    step = steps.pop()
    if steps or step < 1:
        return np.array(numbers)
    return slice(numbers[0], numbers[-1] + 1, step)
