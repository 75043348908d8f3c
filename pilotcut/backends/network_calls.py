"""Calls of a network: each group of a plan, forwards and backwards, with nothing left to decide.

A small network costs its calls and not its multiplications, so sizes, orders of axes and places are
found once. Refuses to know in which order groups are called, and arrays of which library they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from pilotcut.backends.network_plan import Axes, Group, Source

#: An array of numpy or a tensor of torch.
Array: TypeAlias = Any

#: How derivatives come to those that a group has: as all of them, as the first ones in their
#: places, added to others, or added with a place named more than once.
_ALL, _FIRST, _MORE, _REPEATED = range(4)


class Tops:
    """The derivatives by each group's values, on the way back.

    Parameters
    ----------
    arrays
        The library.
    groups
        The plan's groups.
    live
        Which of them have derivatives: those that depend on a wanted angle.
    rows
        Number of parameter sets.
    summed
        Whether derivatives by what all rows share are sums over the rows, of one row.
    """

    def __init__(
        self, arrays: Any, groups: Sequence[Group], live: Sequence[bool], rows: int, summed: bool
    ) -> None:
        self._arrays, self._groups, self._rows = arrays, groups, rows
        self.live, self.summed = live, summed
        self.known: list[Array | None] = [None] * len(groups)

    def rows_of(self, number: int) -> int:
        """Return the rows of a group's derivatives."""
        return 1 if self.summed and self._groups[number].shared else self._rows

    def whole(self, number: int) -> Array:
        """Return a group's derivatives (values, rows, *shape), to be added to."""
        top = self.known[number]
        if top is None:
            group = self._groups[number]
            shape = (group.count, self.rows_of(number), *group.shape)
            top = self.known[number] = self._arrays.zeros(shape)
        return top

    def take(self, number: int) -> Array:
        """Return a group's derivatives once all were added; their memory is free afterwards."""
        top, self.known[number] = self.known[number], None
        return top


class Touched:
    """What of each group's derivatives is known, on the way back through a plan.

    Parameters
    ----------
    groups
        The plan's groups.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self._places = [np.zeros(group.count, dtype=bool) for group in groups]

    def way(self, source: Source) -> int:
        """Take note of derivatives by a source, and return how they are added."""
        places = self._places[source.group]
        is_first, is_new = not places.any(), not places[source.where].any()
        places[source.where] = True
        if source.repeated:
            return _REPEATED
        if is_first and source.is_whole(len(places)):
            return _ALL
        return _FIRST if is_new else _MORE


class Operand:
    """Values of other groups as one array, and the way of its derivatives back to them.

    Parameters
    ----------
    arrays
        The library.
    sources
        Where the values are.
    touched
        What is known on the way back before this operand's derivatives are.
    """

    def __init__(self, arrays: Any, sources: Sequence[Source], touched: Touched) -> None:
        self._arrays, self._lib = arrays, arrays.module
        groups = touched.groups
        self._sources = sources
        self._single = sources[0] if len(sources) == 1 else None
        if self._single and self._single.is_whole(groups[self._single.group].count):
            self._whole: int | None = self._single.group
        else:
            self._whole = None
        self._groups = sorted({source.group for source in sources})
        self.shared = all(groups[number].shared for number in self._groups)
        self._back = [
            (source.group, source.where, None if self._single else source.to, touched.way(source))
            for source in sources
            if groups[source.group].kind != "constant"
        ]

    def is_live(self, tops: Tops) -> bool:
        """Return whether derivatives by it are needed."""
        return any(tops.live[number] for number in self._groups)

    def of(self, values: Sequence[Array]) -> Array:
        """Return the operand (values, rows or 1, *shape) from the values of all groups."""
        if self._whole is not None:
            return values[self._whole]
        if self._single is not None:
            return values[self._single.group][self._single.where]
        parts = [values[source.group][source.where] for source in self._sources]
        rows = max(part.shape[1] for part in parts)
        shapes = [(part.shape[0], rows, *part.shape[2:]) for part in parts]
        tall = [self._lib.broadcast_to(p, s) for p, s in zip(parts, shapes, strict=True)]
        return self._lib.concatenate(tall)

    def add(self, slope: Array, tops: Tops) -> None:
        """Add derivatives by the operand (values, rows, *shape)."""
        for group, where, to, way in self._back:
            if not tops.live[group]:
                continue
            part = slope if to is None else slope[to]
            if part.shape[1] != tops.rows_of(group):
                part = part.sum(axis=1, keepdims=True)
            if way == _ALL:
                tops.known[group] = part
            elif way == _FIRST:
                tops.whole(group)[where] = part
            elif way == _MORE:
                tops.whole(group)[where] += part
            else:
                self._arrays.add_at(tops.whole(group), where, part)


class GroupCall(Protocol):
    """A group as one call."""

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return its values (values, rows, *shape), and its operands as they were multiplied.

        From the values of all groups before, and the native angles (natives, rows).
        """

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Hand its derivatives on to its operands."""


class Constants:
    """Values that depend on no angle, of one row."""

    def __init__(self, constant: Array) -> None:
        self._constant = constant

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return them."""
        return self._constant, ()

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Do nothing."""


class Harmonics:
    """Harmonics of some angles."""

    def __init__(self, arrays: Any, group: Group) -> None:
        self._arrays = arrays
        self.angles, self._size = _as_slice(group.angles), group.shape[0]
        self._rows = slice(1) if group.shared else slice(None)

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return 1, cosines and sines, those of half the angles behind them where they are used."""
        return self._arrays.waves(angles[self.angles][:, self._rows], self._size > 3), ()

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Do nothing: see `slopes`."""

    def slopes(self, top: Array, own: Array) -> Array:
        """Return the derivatives by the angles (values, rows) from those by the harmonics."""
        slope = top[..., 2] * own[..., 1] - top[..., 1] * own[..., 2]
        if self._size > 3:
            slope = slope + (top[..., 4] * own[..., 3] - top[..., 3] * own[..., 4]) / 2
        return slope


class Outer:
    """Outer products of harmonics."""

    def __init__(self, group: Group, operands: Sequence[Operand]) -> None:
        self._left, self._right = operands
        self._shape = (group.count, -1, *group.shape)

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return them, the left harmonics first."""
        left, right = self._left.of(known), self._right.of(known)
        return (left[..., :, None] * right[..., None, :]).reshape(self._shape), (left, right)

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Hand on the derivatives by both sides."""
        left, right = operands
        square = top.reshape(*top.shape[:2], left.shape[2], right.shape[2])
        if self._left.is_live(tops):
            self._left.add((square @ right[..., None])[..., 0], tops)
        if self._right.is_live(tops):
            self._right.add((left[..., None, :] @ square)[..., 0, :], tops)


class Moved:
    """Values with their axes in another order."""

    def __init__(self, arrays: Any, group: Group, operands: Sequence[Operand]) -> None:
        self._arrays = arrays
        (self._operand,) = operands
        self._order = (0, 1, *(2 + axis for axis in group.moved))
        self._undone = tuple(np.argsort(self._order).tolist())

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return them."""
        return self._arrays.transposed(self._operand.of(known), self._order), ()

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Hand on their derivatives."""
        self._operand.add(self._arrays.transposed(top, self._undone), tops)


class Cores:
    """Values linear in harmonics, by matrices (harmonics, entries), alike or one for each."""

    def __init__(self, group: Group, constant: Array, operands: Sequence[Operand]) -> None:
        (self._harmonics,) = operands
        self._constant, self._back = constant, constant.swapaxes(-1, -2)
        self._shape = (group.count, -1, *group.shape)
        self._flat = (group.count, -1, constant.shape[-1])

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return them."""
        return (self._harmonics.of(known) @ self._constant).reshape(self._shape), ()

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Hand on the derivatives by the harmonics."""
        self._harmonics.add(top.reshape(self._flat) @ self._back, tops)


class Pairs:
    """Products of two values, as matrices."""

    def __init__(
        self, arrays: Any, group: Group, groups: Sequence[Group], operands: Sequence[Operand]
    ) -> None:
        pairing, count = group.pairing, group.count
        assert pairing is not None
        self._arrays = arrays
        self._left, self._right = operands
        self._orders, self._undone = pairing.orders, pairing.undone
        # One product for all rows, where they are multiplied by the same.
        self._folds = self._right.shared and not self._left.shared
        self._left_shape, self._square = (
            (count, 1, -1, size) if self._folds else (count, -1, pairing.rows, size)
            for size in (pairing.inner, pairing.columns)
        )
        self._right_shape = (count, -1, pairing.inner, pairing.columns)
        self._row_shapes = [
            (count, -1, pairing.rows, size) for size in (pairing.inner, pairing.columns)
        ]
        self._shape = (count, -1, *group.shape)
        self._moved = [
            (count, -1, *(groups[sources[0].group].shape[axis] for axis in axes))
            for sources, axes in zip(group.operands, (pairing.first, pairing.second), strict=True)
        ]

    def values(self, known: Sequence[Array], angles: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return them."""
        order, other = self._orders
        left = self._transposed(self._left.of(known), order).reshape(self._left_shape)
        right = self._transposed(self._right.of(known), other).reshape(self._right_shape)
        return (left @ right).reshape(self._shape), (left, right)

    def push(self, top: Array, operands: tuple[Array, ...], tops: Tops) -> None:
        """Hand on the derivatives by both, where they are needed."""
        left, right = operands
        square = top.reshape(self._square)
        if self._left.is_live(tops):
            slope = (square @ right.swapaxes(-1, -2)).reshape(self._moved[0])
            self._left.add(self._transposed(slope, self._undone[0]), tops)
        if self._right.is_live(tops):
            if self._folds and not tops.summed:
                left, square = (
                    array.reshape(shape)
                    for array, shape in zip((left, square), self._row_shapes, strict=True)
                )
            slope = (left.swapaxes(-1, -2) @ square).reshape(self._moved[1])
            self._right.add(self._transposed(slope, self._undone[1]), tops)

    def _transposed(self, array: Array, order: Axes) -> Array:
        return array if order is None else self._arrays.transposed(array, order)


def _as_slice(angles: Sequence[int]) -> slice | list[int]:
    """Return places as a slice where they follow each other: that is no copy."""
    first, count = angles[0], len(angles)
    follow = list(angles) == list(range(first, first + count))
    return slice(first, first + count) if follow else list(angles)
