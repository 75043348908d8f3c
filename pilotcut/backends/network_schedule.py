"""Execution of a network plan: values forwards, and derivatives backwards, in few large calls.

Written for numpy and for torch alike. Forwards and backwards are written out, since recording what
torch's autograd needs takes longer than a small network itself; through torch's tensors autograd
goes all the same, for higher derivatives. Refuses to know memory limits and caches, which are the
engine's (`pilotcut.backends.network`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pilotcut.backends.cache import Cache
from pilotcut.backends.network_calls import (
    Array,
    Constants,
    Cores,
    GroupCall,
    Harmonics,
    Moved,
    Operand,
    Outer,
    Pairs,
    Tops,
    Touched,
)
from pilotcut.backends.network_plan import Group, NetworkPlan
from pilotcut.backends.pauli_network import HALVES


class NumpyArrays:
    """What is called differently in numpy and in torch, in numpy.

    Parameters
    ----------
    dtype
        Of all arrays but angles; real.
    """

    module: Any = np

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)

    def put(self, array: np.ndarray) -> Array:
        """Return an array of numpy as one of this library."""
        return array.astype(self.dtype, copy=False)

    def wide(self, array: Array) -> Array:
        """Return an array of either library in double precision."""
        return np.asarray(array, dtype=np.float64)

    def numpy(self, array: Array) -> np.ndarray:
        """Return an array of this library as one of numpy."""
        return np.asarray(array)

    def zeros(self, shape: Sequence[int]) -> Array:
        """Return zeros."""
        return np.zeros(shape, self.dtype)

    def transposed(self, array: Array, order: Sequence[int]) -> Array:
        """Return an array with its axes in another order."""
        return array.transpose(order)

    def waves(self, angles: Array, halves: bool) -> Array:
        """Return 1, cosines and sines (.., harmonics) of angles, those of half of them too."""
        found = np.ones((*angles.shape, HALVES if halves else 3), self.dtype)
        for k, of in enumerate((angles, angles / 2)[: 1 + halves]):
            np.cos(of, out=found[..., 1 + 2 * k])
            np.sin(of, out=found[..., 2 + 2 * k])
        return found

    def add_at(self, array: Array, places: Array, more: Array) -> None:
        """Add to some places, each as often as it is named."""
        np.add.at(array, places, more)


class TorchArrays:
    """The same in torch.

    Parameters
    ----------
    device, dtype
        Of all tensors but angles; real.
    """

    module: Any = torch

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self.dtype = device, dtype

    def put(self, array: np.ndarray) -> Array:
        """Return an array of numpy as a tensor."""
        return torch.as_tensor(array, dtype=self.dtype, device=self._device)

    def wide(self, array: Array) -> Array:
        """Return an array of either library in double precision."""
        return torch.as_tensor(array, dtype=torch.float64, device=self._device)

    def numpy(self, array: Array) -> np.ndarray:
        """Return a tensor as an array of numpy."""
        return np.asarray(array.detach().cpu())

    def zeros(self, shape: Sequence[int]) -> Array:
        """Return zeros."""
        return torch.zeros(tuple(shape), dtype=self.dtype, device=self._device)

    def transposed(self, array: Array, order: Sequence[int]) -> Array:
        """Return a tensor with its axes in another order."""
        return array.permute(tuple(order))

    def waves(self, angles: Array, halves: bool) -> Array:
        """Return 1, cosines and sines (.., harmonics) of angles, those of half of them too."""
        parts = [torch.ones_like(angles)]
        for of in (angles, angles / 2)[: 1 + halves]:
            parts += [torch.cos(of), torch.sin(of)]
        return torch.stack(parts, -1).to(self.dtype)

    def add_at(self, array: Array, places: Array, more: Array) -> None:
        """Add to some places, each as often as it is named."""
        array.index_add_(0, torch.as_tensor(places, device=array.device), more)


@dataclass(frozen=True)
class Pass:
    """What is known after a pass forwards, and needed backwards.

    Parameters
    ----------
    angles
        The native angles (natives, rows).
    values
        Of each group (values, rows or 1, *shape).
    operands
        Of each group, as they were multiplied.
    """

    angles: Array
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
        self._groups, self._arrays, self._lib = plan.groups, arrays, arrays.module
        # In the order of the way back, for what comes there first.
        touched = Touched(plan.groups)
        self._outputs = Operand(arrays, plan.outputs, touched)
        self._calls: list[GroupCall] = [self._call(group, touched) for group in plan.groups[::-1]][
            ::-1
        ]
        # A training asks for the same ones at each step.
        self._live: Cache[bytes, list[bool]] = Cache(4)

    def _call(self, group: Group, touched: Touched) -> GroupCall:
        operands = [Operand(self._arrays, sources, touched) for sources in group.operands]
        constant = None if group.constant is None else self._arrays.put(group.constant)
        if group.kind == "constant":
            return Constants(constant)
        if group.kind == "harmonics":
            return Harmonics(self._arrays, group)
        if group.kind == "outer":
            return Outer(group, operands)
        if group.kind == "core":
            return Cores(group, constant, operands)
        if group.kind == "moved":
            return Moved(self._arrays, group, operands)
        return Pairs(self._arrays, group, touched.groups, operands)

    def run(self, angles: Array) -> Pass:
        """Return a pass forwards, for native angles (natives, rows)."""
        found = Pass(angles)
        for call in self._calls:
            values, operands = call.values(found.values, angles)
            found.values.append(values)
            found.operands.append(operands)
        return found

    def terms(self, found: Pass) -> Array:
        """Return the terms (rows, terms, *sites) that a pass found."""
        terms, rows = self._outputs.of(found.values), found.angles.shape[1]
        # Where none differs between rows they have one row.
        if terms.shape[1] != rows:
            terms = self._lib.broadcast_to(terms, (len(terms), rows, *terms.shape[2:]))
        return terms.swapaxes(0, 1)

    def pull_back(
        self, found: Pass, cotangents: Array, wanted: np.ndarray, summed: bool = False
    ) -> Array:
        """Return d sum c value / d native angles, (natives, rows), for c (rows, terms, *sites).

        Parameters
        ----------
        found
            Of the pass forwards.
        cotangents
            c.
        wanted
            Boolean (natives,): others may be zero.
        summed
            Whether the sum over rows is enough: it is returned, (natives, 1).
        """
        natives, rows = found.angles.shape
        live = self._live.get(wanted.tobytes(), lambda: self._depend_on(wanted))
        tops = Tops(self._arrays, self._groups, live, rows, summed)
        # A copy, as it is added to.
        self._outputs.add(cotangents.swapaxes(0, 1) * 1, tops)
        slopes = self._arrays.zeros((natives, 1 if summed else rows))
        for number in range(len(self._calls) - 1, -1, -1):
            if not live[number]:
                continue
            call, top = self._calls[number], tops.take(number)
            if isinstance(call, Harmonics):
                slope = call.slopes(top, found.values[number])
                slopes[call.angles] = slope.sum(axis=1, keepdims=True) if summed else slope
            else:
                call.push(top, found.operands[number], tops)
        return slopes

    def _depend_on(self, wanted: np.ndarray) -> list[bool]:
        """Return which groups depend on a wanted native angle, (natives,)."""
        live: list[bool] = []
        for group in self._groups:
            sources = {source.group for operand in group.operands for source in operand}
            own = any(wanted[angle] for angle in group.angles)
            live.append(own or any(live[number] for number in sources))
        return live
