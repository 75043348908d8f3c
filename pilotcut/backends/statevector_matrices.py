"""Matrices of a statevector plan: what its operations apply, for a batch of angles.

The many 2x2 and 4x4 matrices of a fragment are multiplied as a few large batches, since a call of
torch costs more than such a product. Refuses to know of states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import numpy as np
import torch

from pilotcut.backends.statevector_plan import Chain, Factor, Matrix, StatevectorPlan

#: Brings a constant to an engine's device and dtype.
Put = Callable[[np.ndarray], torch.Tensor]


def put_on(device: torch.device, dtype: torch.dtype) -> Put:
    """Return what brings constants to a device; real dtypes take real constants only."""

    def put(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array if dtype.is_complex else array.real, dtype=dtype, device=device)

    return put


class OperationMatrices:
    """The matrices of a plan's applications, as a function of the fragment's angles.

    Parameters
    ----------
    plan
        Whose.
    device, dtype
        Of the matrices; a real dtype only where `StatevectorPlan.real` is true.
    """

    def __init__(self, plan: StatevectorPlan, device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        # Multiplied in double precision, whatever the states are in: they are small, and in single
        # a large angle would lose as many digits as it has.
        wide = torch.complex128 if dtype.is_complex else torch.float64
        put = put_on(device, wide)
        self._columns = plan.angles
        native = plan.native
        self._linear = torch.as_tensor(native.linear, dtype=torch.float64, device=device)
        self._offset = torch.as_tensor(native.offset, dtype=torch.float64, device=device)
        self._harmonics = {n: put(np.array(h)) for n, h in plan.harmonics.items()}
        alike: dict[tuple[object, ...], list[int]] = {}
        for number, operation in enumerate(plan.operations):
            if operation.matrix is not None:
                alike.setdefault(operation.matrix.pattern, []).append(number)
        self._products = [
            _Product([plan.operations[k].matrix for k in some], some, put)
            for some in alike.values()
        ]

    def __call__(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return operation -> (rows, or 1 if constant, D, d) for angles (rows, angles)."""
        free = self._free(angles.to(torch.float64))
        return {n: m for product in self._products for n, m in product(free, self._dtype)}

    def _free(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return all free gates' matrices, size -> (gates, rows, d, d)."""
        half = (angles @ self._linear + self._offset) / 2
        free = {}
        for size, columns in self._columns.items():
            if columns:
                x = half[:, columns].T
                harmonics = torch.stack([torch.ones_like(x), torch.cos(x), torch.sin(x)], dim=-1)
                free[size] = torch.einsum(
                    "nrk,nkij->nrij",
                    harmonics.to(self._harmonics[size].dtype),
                    self._harmonics[size],
                )
        return free


class _Product:
    """Multiplies the factors of many matrices of one pattern as one batch."""

    def __init__(self, matrices: Sequence[Matrix | None], numbers: list[int], put: Put) -> None:
        some = [matrix for matrix in matrices if matrix is not None]
        self._numbers = numbers
        self._before = [self._chain([m.before[w] for m in some], put) for w in _wires(some)]
        self._after = [self._chain([m.after[w] for m in some], put) for w in _wires(some)]
        own = [m.own for m in some if m.own is not None]
        self._own = self._stack(own, put) if own else None
        self._size = len(self._before)
        self._eye = put(np.eye(2))

    def _chain(self, chains: list[Chain], put: Put) -> list[torch.Tensor | list[int]]:
        return [self._stack(list(factors), put) for factors in zip(*chains, strict=True)]

    @staticmethod
    def _stack(factors: list[Factor], put: Put) -> torch.Tensor | list[int]:
        """Return constants (matrices, 1, d, d), or the numbers of free gates."""
        constants = [f.constant for f in factors if f.constant is not None]
        return put(np.array(constants)[:, None]) if constants else [f.index for f in factors]

    def __call__(
        self, free: dict[int, torch.Tensor], dtype: torch.dtype
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (operation, matrix (rows or 1, D, d)) for free gates (gates, rows, d, d)."""
        result = self._both([self._multiplied(c, free) for c in self._before])
        if self._own is not None:
            own = _value(self._own, free, self._size)
            result = own if result is None else own @ result
        after = self._both([self._multiplied(c, free) for c in self._after])
        assert result is not None
        if after is not None:
            # A site's branches stand above each other: the factor applies to each of them.
            height = after.shape[-1]
            tall = result.reshape(*result.shape[:2], -1, height, result.shape[-1])
            result = (after[:, :, None] @ tall).flatten(2, 3)
        return zip(self._numbers, result.to(dtype), strict=True)

    def _multiplied(
        self, chain: list[torch.Tensor | list[int]], free: dict[int, torch.Tensor]
    ) -> torch.Tensor | None:
        product = None
        for factor in chain:
            value = _value(factor, free, 1)
            product = value if product is None else value @ product
        return product

    def _both(self, sides: list[torch.Tensor | None]) -> torch.Tensor | None:
        """Return the Kronecker product of all wires' matrices, or the one wire's."""
        if len(sides) == 1 or all(side is None for side in sides):
            return sides[0]
        first, *others = (self._eye[None, None] if side is None else side for side in sides)
        return reduce(_kron, others, first)


def _kron(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    product = a[..., :, None, :, None] * b[..., None, :, None, :]
    size = a.shape[-1] * b.shape[-1]
    return product.reshape(*product.shape[:2], size, size)


def _wires(matrices: Sequence[Matrix]) -> range:
    return range(len(matrices[0].before))


def _value(
    factor: torch.Tensor | list[int], free: dict[int, torch.Tensor], size: int
) -> torch.Tensor:
    return factor if isinstance(factor, torch.Tensor) else free[size][factor]
