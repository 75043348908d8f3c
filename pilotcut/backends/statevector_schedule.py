"""Execution of a statevector plan in torch: all states of a batch, and their Gram matrices.

Owns the order of tensor operations and the batching of small products: the many 2x2 and 4x4
matrices of a fragment are multiplied as a few large batches, since a call of torch costs more
than such a product. Refuses to know of memory limits, threads and caches, which are the engine's
(`pilotcut.backends.statevector`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from math import prod

import numpy as np
import torch

from pilotcut.backends.statevector_plan import (
    Chain,
    Factor,
    Matrix,
    StatevectorPlan,
    TensorOperation,
)
from pilotcut.cutting.fragment import Fragment

# Brings a constant to an engine's device and dtype.
_Put = Callable[[np.ndarray], torch.Tensor]

#: Amplitudes of states whose flips are looked up, not made wire by wire: a call takes as long.
MOST_INDEXED = 2**12

#: Numbers of the products that are summed at once: they should stay in the caches.
MOST_AT_ONCE = 2**16


class Schedule:
    """A planned fragment with its constants on a device."""

    def __init__(self, plan: StatevectorPlan, device: torch.device, dtype: torch.dtype) -> None:
        self.plan, fragment = plan, plan.fragment
        self._device, self._dtype = device, dtype
        self._real = torch.float64 if dtype == torch.complex128 else torch.float32
        native = self.plan.native
        self._linear = torch.as_tensor(native.linear, dtype=self._real, device=device)
        self._offset = torch.as_tensor(native.offset, dtype=self._real, device=device)
        self._harmonics = {n: self._complex(np.array(h)) for n, h in self.plan.harmonics.items()}
        self._eye = torch.eye(2, dtype=dtype, device=device)
        # Matrices of one pattern are multiplied as one batch: a call of torch costs more than a
        # product of 2x2 matrices.
        alike: dict[tuple[object, ...], list[int]] = {}
        for number, operation in enumerate(self.plan.operations):
            if operation.matrix is not None:
                alike.setdefault(operation.matrix.pattern, []).append(number)
        self._products = [
            _Product([self.plan.operations[k].matrix for k in some], some, self._complex)
            for some in alike.values()
        ]
        self._grams = [_Gram(plan, group, self._complex) for group in self.plan.axes]
        self._outer = _Outer(fragment, [gram.sites for gram in self._grams])

    def _complex(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=self._dtype, device=self._device)

    def run(self, angles: torch.Tensor) -> torch.Tensor:
        """Return the tensor (rows, observables, *R^2) for angles (rows, angles)."""
        states = self.states(angles)
        grams = [
            gram(states[group]) for group, gram in zip(self.plan.axes, self._grams, strict=True)
        ]
        return self._outer(grams)

    def states(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return the final state of each group, (rows, *axes of the plan).

        Of a group that is a density matrix the axes stand twice, for ket and bra.
        """
        rows = len(angles)
        free = self._free_matrices(angles.to(self._real))
        matrices = {n: m for product in self._products for n, m in product(free)}
        states: dict[int, torch.Tensor] = {}
        for number, operation in enumerate(self.plan.operations):
            group = operation.group
            if operation.kind == "apply":
                states[group] = _applied(operation, matrices[number], states[group])
            elif operation.kind == "join":
                a, b = (states.pop(k) for k in operation.sources)
                states[group] = _joined(a, b, operation.mixed)
            elif operation.kind == "mix":
                states[group] = _mixed(operation, states[group])
            elif operation.kind == "trace":
                states[group] = _traced(operation, states[group])
            else:
                # A wire behind a cut has its branches |r> as states, which are the rows of the
                # identity.
                fresh = self._eye if operation.kind == "open" else self._eye[0]
                states[group] = fresh.expand(rows, *fresh.shape)
        return states

    def _free_matrices(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return all free gates' matrices, size -> (gates, rows, d, d)."""
        half = (angles @ self._linear + self._offset) / 2
        free = {}
        for size, columns in self.plan.angles.items():
            if columns:
                x = half[:, columns].T
                harmonics = torch.stack([torch.ones_like(x), torch.cos(x), torch.sin(x)], dim=-1)
                free[size] = torch.einsum(
                    "nrk,nkij->nrij", harmonics.to(self._dtype), self._harmonics[size]
                )
        return free


def _applied(operation: TensorOperation, matrix: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Return M phi, or M rho M^dagger."""
    if not operation.mixed:
        return _product(operation, matrix, state)
    # The bras are the kets of the adjoint: one product serves both sides.
    kets = len(operation.shape)
    half = _adjoint(_product(operation, matrix, state), kets)
    return _adjoint(_product(operation, matrix, half), kets)


def _adjoint(rho: torch.Tensor, kets: int) -> torch.Tensor:
    """Return the adjoint of matrices (rows, *kets, *bras)."""
    return rho.conj().permute(0, *range(kets + 1, rho.ndim), *range(1, kets + 1))


def _product(operation: TensorOperation, matrix: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Return the product with the first axes of a state, what is behind them left alone."""
    count = len(operation.order)
    behind = range(count + 1, state.ndim)
    front = state.permute(0, *(k + 1 for k in operation.order), *behind)
    flat = matrix @ front.reshape(len(state), matrix.shape[-1], -1)
    return flat.reshape(len(state), *operation.shape, *state.shape[count + 1 :])


def _joined(a: torch.Tensor, b: torch.Tensor, mixed: bool) -> torch.Tensor:
    """Return the product state of two groups."""
    rows = len(a)
    outer = a.reshape(rows, -1, 1) * b.reshape(rows, 1, -1)
    outer = outer.reshape(rows, *a.shape[1:], *b.shape[1:])
    if not mixed:
        return outer
    # Kets of both before bras of both.
    m, n = (a.ndim - 1) // 2, (b.ndim - 1) // 2
    axes = list(range(1, outer.ndim))
    order = axes[:m] + axes[2 * m : 2 * m + n] + axes[m : 2 * m] + axes[2 * m + n :]
    return outer.permute(0, *order)


def _mixed(operation: TensorOperation, state: torch.Tensor) -> torch.Tensor:
    """Return the density matrix of some of a state's axes."""
    rows, shape = len(state), operation.shape
    flat = state.permute(0, *(k + 1 for k in operation.order)).reshape(rows, prod(shape), -1)
    return (flat @ flat.mH).reshape(rows, *shape, *shape)


def _traced(operation: TensorOperation, rho: torch.Tensor) -> torch.Tensor:
    """Return a density matrix without some of its axes."""
    for gone in sorted(operation.order, reverse=True):
        half = (rho.ndim - 1) // 2
        rho = rho.diagonal(dim1=1 + gone, dim2=1 + half + gone).sum(-1)
    return rho


class _Product:
    """Multiplies the factors of many matrices of one pattern as one batch."""

    def __init__(self, matrices: Sequence[Matrix | None], numbers: list[int], put: _Put) -> None:
        some = [matrix for matrix in matrices if matrix is not None]
        self._numbers = numbers
        self._before = [self._chain([m.before[w] for m in some], put) for w in _wires(some)]
        self._after = [self._chain([m.after[w] for m in some], put) for w in _wires(some)]
        own = [m.own for m in some if m.own is not None]
        self._own = self._stack(own, put) if own else None
        self._size = len(self._before)
        self._eye = put(np.eye(2))

    def _chain(self, chains: list[Chain], put: _Put) -> list[torch.Tensor | list[int]]:
        return [self._stack(list(factors), put) for factors in zip(*chains, strict=True)]

    @staticmethod
    def _stack(factors: list[Factor], put: _Put) -> torch.Tensor | list[int]:
        """Return constants (matrices, 1, d, d), or the numbers of free gates."""
        constants = [f.constant for f in factors if f.constant is not None]
        return put(np.array(constants)[:, None]) if constants else [f.index for f in factors]

    def __call__(self, free: dict[int, torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
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
        return zip(self._numbers, result, strict=True)

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


class _Gram:
    """Gram matrices of one group's branches, for the letters that stand on its wires.

    A Pauli flips some bits, and then signs amplitudes: ``i^y (-1)^(z.s) phi(s ^ x)``. Letters of
    equal flips x share the products ``phi_a(s ^ x) conj phi_b(s)``, whose sums with the signs of
    all their z are one product of matrices.
    """

    def __init__(self, plan: StatevectorPlan, group: int, put: _Put) -> None:
        fragment, axes = plan.fragment, plan.axes[group]
        self.sites = [k for kind, k in axes if kind == "site"]
        wires = [k for kind, k in axes if kind == "wire"]
        self._mixed = group in plan.mixed
        self._sites = [1 + axes.index(("site", s)) for s in self.sites]
        self._wires = [1 + axes.index(("wire", w)) for w in wires]
        self._branches = prod(fragment.sites[s].rank for s in self.sites)
        both = np.hstack([plan.x[:, wires], plan.z[:, wires]])
        # Observables that agree on these wires share one Gram matrix.
        letters, index = np.unique(both, axis=0, return_inverse=True)
        x, z = letters[:, : len(wires)], letters[:, len(wires) :]
        trivial = np.full(len(letters), not self.sites) & ~letters.any(axis=1)
        place = np.zeros(len(letters), dtype=int)
        self._parts = []
        count = 0
        for some in _alike(x, np.flatnonzero(~trivial)):
            self._parts.append(_Letters(x[some[:, 0]], z[some], put, self._branches, self._mixed))
            place[some] = np.arange(count, count + some.size).reshape(some.shape)
            count += some.size
        place[trivial] = count  # gates keep the norm
        self._one = bool(trivial.any())
        self._place = torch.as_tensor(place[index.reshape(-1)], device=put(np.zeros(0)).device)
        turned = (-1j) ** (x & z).sum(axis=1)[index.reshape(-1)]
        self._turned = put(turned[:, None, None, None])

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        """Return (rows, observables, ket branches, bra branches)."""
        # The sites' axes last: what belongs to an amplitude stays together when bits are flipped.
        rows = len(state)
        half = len(self._wires) + len(self._sites)
        sides = (0, half) if self._mixed else (0,)
        order = [axis + side for side in sides for axis in self._wires]
        order += [0, *(axis + side for side in sides for axis in self._sites)]
        shape = [2 ** len(self._wires)] * len(sides) + [rows] + [self._branches] * len(sides)
        kets = state.permute(order).reshape(shape)
        found = [sums for part in self._parts for sums in part(kets)]
        if self._one:
            found.append(torch.ones_like(kets.reshape(-1)[:rows]).reshape(1, rows, 1, 1))
        grams = torch.cat(found)[self._place] * self._turned
        return grams.transpose(0, 1)


def _alike(x: np.ndarray, letters: np.ndarray) -> Iterator[np.ndarray]:
    """Yield letters by their flips, (flips, letters of each), where about as many share them.

    Where fewer do, the last one is repeated. Letters without a flip come by themselves.
    """
    by_flips: dict[bytes, list[int]] = {}
    for letter in letters.tolist():
        by_flips.setdefault(x[letter].tobytes(), []).append(letter)
    by_size: dict[int, list[list[int]]] = {}
    for some in by_flips.values():
        size = (len(some) - 1).bit_length() if x[some[0]].any() else -1
        by_size.setdefault(size, []).append(some)
    for alike in by_size.values():
        most = max(map(len, alike))
        yield np.array([some + some[-1:] * (most - len(some)) for some in alike])


class _Letters:
    """Letters of some flips, equally many of each.

    Parameters
    ----------
    x, z
        Boolean (flips, wires) and (flips, letters, wires).
    put
        Brings a constant to the device.
    branches, mixed
        Of the state.
    """

    def __init__(self, x: np.ndarray, z: np.ndarray, put: _Put, branches: int, mixed: bool) -> None:
        self._wires = x.shape[1]
        self._flips = [[int(k) for k in np.flatnonzero(one)] for one in x]
        number = np.arange(2**self._wires)
        bits = 1 << np.arange(self._wires)[::-1]  # the first wire is the highest bit
        odd = np.bitwise_count((z @ bits)[..., None] & number) & 1
        real = put(np.ones(1)).real
        self._signs = 1.0 - 2.0 * torch.as_tensor(odd, dtype=real.dtype, device=real.device)
        self._index = None
        if x.any() and (mixed or len(number) <= MOST_INDEXED):
            self._index = torch.as_tensor((x @ bits)[:, None] ^ number, device=real.device)
        self._mixed = mixed
        # Products of all pairs of branches, or a sign to each branch for each letter.
        self._paired = mixed or 2 * z.shape[1] > branches

    def __call__(self, kets: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield (letters, rows, branches, branches), for kets (2^wires, rows, branches).

        Of a density matrix (2^wires, 2^wires, rows, branches, branches).
        """
        flips = len(self._flips)
        size = kets.numel() * (1 if self._mixed or not self._paired else kets.shape[-1])
        step = max(1, MOST_AT_ONCE // max(1, size))
        for some in (slice(k, k + step) for k in range(0, flips, step)):
            signs = self._signs[some]
            flipped = self._flipped(kets, some)
            yield (self._by_pairs if self._paired else self._by_kets)(kets, flipped, signs)

    def _flipped(self, kets: torch.Tensor, some: slice) -> torch.Tensor:
        """Return (flips, 2^wires, rows, branches), or the diagonals of density matrices."""
        if self._mixed:
            places = torch.arange(len(kets), device=kets.device)
            return kets[places if self._index is None else self._index[some], places].reshape(
                -1, *kets.shape[1:]
            )
        if self._index is not None:
            return kets[self._index[some]]
        bits = kets.reshape([2] * self._wires + [-1])
        whole = [bits.flip(flips) if flips else bits for flips in self._flips[some]]
        return torch.stack(whole).reshape(len(whole), *kets.shape)

    def _by_pairs(
        self, kets: torch.Tensor, flipped: torch.Tensor, signs: torch.Tensor
    ) -> torch.Tensor:
        pairs = flipped
        if not self._mixed:
            pairs = flipped[..., None] * kets.conj()[:, :, None, :]
        parts = torch.view_as_real(pairs.contiguous())
        sums = signs @ parts.reshape(len(signs), signs.shape[-1], -1)
        return torch.view_as_complex(sums.reshape(-1, *parts.shape[2:]))

    def _by_kets(
        self, kets: torch.Tensor, flipped: torch.Tensor, signs: torch.Tensor
    ) -> torch.Tensor:
        size, rows, branches = kets.shape
        changed = flipped[:, None] * signs[..., None, None]
        flat = changed.permute(3, 0, 1, 4, 2).reshape(rows, -1, size)
        sums = flat @ kets.conj().transpose(0, 1)
        return sums.reshape(rows, -1, branches, branches).transpose(0, 1)


class _Outer:
    """Puts the groups' Gram matrices together in the order of the fragment's sites."""

    def __init__(self, fragment: Fragment, groups: list[list[int]]) -> None:
        ranks = [site.rank for site in fragment.sites]
        self._shapes = [tuple(2 * [ranks[s] for s in sites]) for sites in groups]
        axes = [(s, side) for sites in groups for side in (0, 1) for s in sites]
        order = [axes.index((s, side)) for s in range(len(ranks)) for side in (0, 1)]
        self._order = (0, 1, *(k + 2 for k in order))
        self._final = tuple(rank**2 for rank in ranks)

    def __call__(self, grams: list[torch.Tensor]) -> torch.Tensor:
        rows, observables = grams[0].shape[:2]
        whole = grams[0].reshape(rows, observables, -1)
        for gram in grams[1:]:
            whole = whole[..., :, None] * gram.reshape(rows, observables, 1, -1)
            whole = whole.reshape(rows, observables, -1)
        shape = [size for one in self._shapes for size in one]
        whole = whole.reshape(rows, observables, *shape).permute(self._order)
        return whole.reshape(rows, observables, *self._final)
