"""Execution of a network plan: values forwards, and derivatives backwards, in few large calls.

Written for numpy and for torch alike. Forwards and backwards are written out, since recording what
torch's autograd needs takes longer than a small network itself; through torch's tensors autograd
goes all the same, for higher derivatives. Refuses to know memory limits and caches, which are the
engine's (`pilotcut.backends.network`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from pilotcut.backends.network_plan import Axes, Group, NetworkPlan, Pairing, Source
from pilotcut.backends.pauli_network import HALVES

#: An array of numpy or a tensor of torch.
Array: TypeAlias = Any


class NumpyArrays:
    """What is called differently in numpy and in torch, in numpy."""

    module: Any = np

    def put(self, array: np.ndarray) -> Array:
        """Return an array of numpy as one of this library."""
        return array

    def numpy(self, array: Array) -> np.ndarray:
        """Return an array of this library as one of numpy."""
        return np.asarray(array)

    def zeros(self, shape: Sequence[int]) -> Array:
        """Return zeros."""
        return np.zeros(shape)

    def transposed(self, array: Array, order: Sequence[int]) -> Array:
        """Return an array with its axes in another order."""
        return array.transpose(order)

    def add_at(self, array: Array, places: Array, more: Array) -> None:
        """Add to some places, each as often as it is named."""
        np.add.at(array, places, more)


class TorchArrays:
    """The same in torch.

    Parameters
    ----------
    device, dtype
        Of all tensors; real.
    """

    module: Any = torch

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype

    def put(self, array: np.ndarray) -> Array:
        """Return an array of numpy as a tensor."""
        return torch.as_tensor(array, dtype=self._dtype, device=self._device)

    def numpy(self, array: Array) -> np.ndarray:
        """Return a tensor as an array of numpy."""
        return np.asarray(array.detach().cpu())

    def zeros(self, shape: Sequence[int]) -> Array:
        """Return zeros."""
        return torch.zeros(tuple(shape), dtype=self._dtype, device=self._device)

    def transposed(self, array: Array, order: Sequence[int]) -> Array:
        """Return a tensor with its axes in another order."""
        return array.permute(tuple(order))

    def add_at(self, array: Array, places: Array, more: Array) -> None:
        """Add to some places, each as often as it is named."""
        array.index_add_(0, torch.as_tensor(places, device=array.device), more)


@dataclass(frozen=True)
class Pass:
    """What is known after a pass forwards, and needed backwards.

    Parameters
    ----------
    angles
        Native angles (natives, rows).
    waves
        Their cosines and sines, of half of them behind where these are used.
    values
        Of each group (values, rows or 1, *shape).
    operands
        Of each group, as they were multiplied.
    """

    angles: Array
    waves: tuple[Array, ...]
    values: list[Array] = field(default_factory=list)
    operands: list[tuple[Array, ...]] = field(default_factory=list)


class NetworkSchedule:
    """A network plan with its constants as arrays of one library.

    Parameters
    ----------
    plan
        What is computed.
    arrays
        The library.
    """

    def __init__(self, plan: NetworkPlan, arrays: NumpyArrays | TorchArrays) -> None:
        self.plan, self.arrays, self._lib = plan, arrays, arrays.module
        self._constants = [
            None if group.constant is None else arrays.put(group.constant) for group in plan.groups
        ]

    def run(self, angles: Array) -> Pass:
        """Return a pass forwards, for native angles (natives, rows)."""
        found = Pass(angles, self._waves(angles))
        for group, constant in zip(self.plan.groups, self._constants, strict=True):
            found.values.append(self._group(group, constant, found))
        return found

    def terms(self, found: Pass) -> Array:
        """Return the terms (rows, terms) that a pass found."""
        rows = found.angles.shape[1]
        terms = [
            self._lib.broadcast_to(found.values[group][place].reshape(-1), (rows,))
            for group, place in self.plan.outputs
        ]
        return self._lib.stack(terms, 1)

    def pull_back(self, found: Pass, cotangents: Array) -> Array:
        """Return d sum_t c_t value_t / d native angles, (natives, rows), for c (rows, terms)."""
        sweep = _Sweep(self, found)
        for (number, place), c in zip(self.plan.outputs, cotangents.T, strict=True):
            sweep.whole(number)[place] += c
        slopes = self._lib.zeros_like(found.angles)
        for number in range(len(found.values) - 1, -1, -1):
            group, top = self.plan.groups[number], sweep.top(number)
            if top is None or group.kind == "constant":
                continue
            if group.kind == "harmonics":
                slopes[list(group.angles)] = _slopes(group, top, found.waves)
            else:
                self._push(number, top, found, sweep)
        return slopes

    # -- forwards ---------------------------------------------------------------------------

    def _waves(self, angles: Array) -> tuple[Array, ...]:
        """Return cosines and sines (natives, rows), of the half angles too where they are used."""
        whole = (self._lib.cos(angles), self._lib.sin(angles))
        if not any(group.shape == (HALVES,) for group in self.plan.groups if group.angles):
            return whole
        return (*whole, self._lib.cos(angles / 2), self._lib.sin(angles / 2))

    def _group(self, group: Group, constant: Array, found: Pass) -> Array:
        """Return a group's values (values, rows, *shape); constants have one row."""
        operands: tuple[Array, ...] = ()
        if group.operands:
            operands = tuple(self._operand(sources, found.values) for sources in group.operands)
            if group.pairing is not None:
                operands = self._matrices(operands, group.pairing)
        found.operands.append(operands)
        if group.kind == "constant":
            return constant
        if group.kind == "harmonics":
            some = list(group.angles)
            parts = [wave[some] for wave in found.waves[: group.shape[0] - 1]]
            return self._lib.stack([self._lib.ones_like(parts[0]), *parts], -1)
        if group.kind == "outer":
            a, b = operands
            return (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:2], -1)
        product = operands[0] @ (constant if group.kind == "core" else operands[1])
        return product.reshape(*product.shape[:2], *group.shape)

    def _operand(self, sources: Sequence[Source], found: Sequence[Array]) -> Array:
        """Return values of other groups as one operand (values, rows or 1, *shape)."""
        parts = [found[source.group][source.where] for source in sources]
        if len(parts) == 1:
            return parts[0]
        rows = max(part.shape[1] for part in parts)
        shapes = [(part.shape[0], rows, *part.shape[2:]) for part in parts]
        tall = [self._lib.broadcast_to(p, s) for p, s in zip(parts, shapes, strict=True)]
        return self._lib.concatenate(tall)

    def _matrices(self, operands: Sequence[Array], pairing: Pairing) -> tuple[Array, Array]:
        a, b = map(self._transposed, operands, pairing.orders)
        return (
            a.reshape(*a.shape[:2], pairing.rows, pairing.inner),
            b.reshape(*b.shape[:2], pairing.inner, pairing.columns),
        )

    def _transposed(self, array: Array, order: Axes) -> Array:
        return array if order is None else self.arrays.transposed(array, order)

    # -- backwards --------------------------------------------------------------------------

    def _push(self, number: int, top: Array, found: Pass, sweep: _Sweep) -> None:
        """Hand a group's derivatives (values, rows, *shape) on to its operands."""
        group, operands = self.plan.groups[number], found.operands[number]
        count, rows = top.shape[:2]
        if group.kind == "core":
            constant: Array = self._constants[number]
            slope = top.reshape(count, rows, -1) @ constant.swapaxes(-1, -2)
            sweep.add(group.operands[0], slope)
            return
        left, right = operands
        if group.kind == "outer":
            square = top.reshape(count, rows, left.shape[2], right.shape[2])
            sweep.add(group.operands[0], (square @ right[..., None])[..., 0])
            sweep.add(group.operands[1], (left[..., None, :] @ square)[..., 0, :])
            return
        pairing = group.pairing
        assert pairing is not None
        square = top.reshape(count, rows, pairing.rows, pairing.columns)
        for which, axes in enumerate((pairing.first, pairing.second)):
            sources = group.operands[which]
            if self.plan.is_constant(sources):
                continue
            swapped = operands[1 - which].swapaxes(-1, -2)
            slope = swapped @ square if which else square @ swapped
            shape = found.values[sources[0].group].shape
            slope = slope.reshape(count, rows, *(shape[2 + axis] for axis in axes))
            sweep.add(sources, self._transposed(slope, pairing.undone[which]))


class _Sweep:
    """What is known of the derivatives by each group's values, on the way back."""

    def __init__(self, schedule: NetworkSchedule, found: Pass) -> None:
        self._values, self._rows = found.values, found.angles.shape[1]
        self._arrays = schedule.arrays
        self._tops: list[Array | None] = [None] * len(found.values)

    def top(self, group: int) -> Array | None:
        """Return a group's derivatives once all were added; their memory is free afterwards."""
        top, self._tops[group] = self._tops[group], None
        return top

    def whole(self, group: int) -> Array:
        """Return a group's derivatives, to be added to."""
        top = self._tops[group]
        if top is None:
            of = self._values[group]
            top = self._tops[group] = self._arrays.zeros((len(of), self._rows, *of.shape[2:]))
        return top

    def add(self, sources: Sequence[Source], slope: Array) -> None:
        """Add derivatives by an operand (values, rows, *shape)."""
        for source in sources:
            count = len(self._values[source.group])
            if self._tops[source.group] is None and source.is_whole(count):
                self._tops[source.group] = slope[source.to]  # all of them, and the first
                continue
            whole = self.whole(source.group)
            if source.repeated:
                self._arrays.add_at(whole, source.where, slope[source.to])
            else:
                whole[source.where] += slope[source.to]


def _slopes(group: Group, top: Array, waves: Sequence[Array]) -> Array:
    """Return the derivatives by angles (values, rows) from those by their harmonics."""
    some = list(group.angles)
    slope = top[..., 2] * waves[0][some] - top[..., 1] * waves[1][some]
    if group.shape == (HALVES,):
        slope = slope + (top[..., 4] * waves[2][some] - top[..., 3] * waves[3][some]) / 2
    return slope
