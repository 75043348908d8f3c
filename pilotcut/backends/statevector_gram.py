"""Gram matrices of a fragment's final states: from the states of all branches to its tensor.

Owns what observables do to states, forwards and backwards. Refuses to know how states were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch

from pilotcut.backends.statevector_matrices import put_on
from pilotcut.backends.statevector_plan import MOST_AT_ONCE, Axis, StatevectorPlan
from pilotcut.cutting.fragment import Fragment

#: Amplitudes of states whose flips are looked up, not made wire by wire: a call takes as long.
MOST_INDEXED = 2**12

#: Products of single precision that are summed as such.
MOST_SINGLE = 2**8


class GramMatrices:
    """Gram matrices of one group's branches, for the letters that stand on its wires.

    A Pauli flips some bits, and then signs amplitudes: ``i^y (-1)^(z.s) phi(s ^ x)``. Letters of
    equal flips x share the products ``phi_a(s ^ x) conj phi_b(s)``, whose sums with the signs of
    all their z are one product of matrices.

    Parameters
    ----------
    plan, group
        Whose.
    axes
        Of the group's state, in the order in which it is given.
    device, dtype
        Of the state. Gram matrices are complex all the same, and in double precision.
    """

    def __init__(
        self,
        plan: StatevectorPlan,
        group: int,
        axes: Sequence[Axis],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        fragment, put = plan.fragment, put_on(device, torch.complex128)
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
            self._parts.append(
                _Letters(x[some[:, 0]], z[some], device, dtype, self._branches, self._mixed)
            )
            place[some] = np.arange(count, count + some.size).reshape(some.shape)
            count += some.size
        place[trivial] = count  # gates keep the norm
        self._one = bool(trivial.any())
        self._count = count
        self._place = torch.as_tensor(place[index.reshape(-1)], device=device)
        turned = (-1j) ** (x & z).sum(axis=1)[index.reshape(-1)]
        self._turned = put(turned[:, None, None, None])

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        """Return (rows, observables, ket branches, bra branches)."""
        kets = self._kets(state)
        found = [sums for part in self._parts for sums in part(kets)]
        if self._one:
            found.append(kets.new_ones(1, len(state), 1, 1, dtype=torch.float64))
        grams = torch.cat(found)[self._place] * self._turned
        return grams.transpose(0, 1)

    def _kets(self, state: torch.Tensor) -> torch.Tensor:
        """Return (2^wires, rows, branches), or of a density matrix both sides of each."""
        # The sites' axes last: what belongs to an amplitude stays together when bits are flipped.
        rows = len(state)
        half = len(self._wires) + len(self._sites)
        sides = (0, half) if self._mixed else (0,)
        order = [axis + side for side in sides for axis in self._wires]
        order += [0, *(axis + side for side in sides for axis in self._sites)]
        shape = [2 ** len(self._wires)] * len(sides) + [rows] + [self._branches] * len(sides)
        return state.permute(order).reshape(shape)

    def cotangent(self, state: torch.Tensor, grams: torch.Tensor) -> torch.Tensor:
        """Return the cotangent (rows, *axes) of a pure state, for that of its Gram matrices.

        Parameters
        ----------
        state
            (rows, *axes).
        grams
            (rows, observables, ket branches, bra branches), as torch counts: the slope by the
            real part plus i times that by the imaginary part.
        """
        # Re sum_ab conj(g_ab) <b|P|a> changes with |a> as ket and as bra; P is Hermitian.
        both = (grams + grams.mH).transpose(0, 1) * self._turned
        weights = both.new_zeros(self._count + 1, *both.shape[1:])
        weights.index_add_(0, self._place, both)
        kets = self._kets(state)
        found, first = torch.zeros_like(kets), 0
        for part in self._parts:
            some = weights[first : (first := first + part.count)]
            some = some if kets.is_complex() else some.real
            part.add_cotangent(found, kets, some.to(kets.dtype))
        order = [*self._wires, 0, *self._sites]
        return found.reshape([state.shape[k] for k in order]).permute(*np.argsort(order).tolist())


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
    device, dtype, branches, mixed
        Of the state.
    """

    def __init__(
        self,
        x: np.ndarray,
        z: np.ndarray,
        device: torch.device,
        dtype: torch.dtype,
        branches: int,
        mixed: bool,
    ) -> None:
        self._wires = x.shape[1]
        self.count = z.shape[0] * z.shape[1]
        self._flips = [[int(k) for k in np.flatnonzero(one)] for one in x]
        number = np.arange(2**self._wires)
        bits = 1 << np.arange(self._wires)[::-1]  # the first wire is the highest bit
        odd = np.bitwise_count((z @ bits)[..., None] & number) & 1
        self._signs = 1.0 - 2.0 * torch.as_tensor(odd, dtype=dtype.to_real(), device=device)
        self._index = None
        if x.any() and (mixed or len(number) <= MOST_INDEXED):
            self._index = torch.as_tensor((x @ bits)[:, None] ^ number, device=device)
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
        if not pairs.is_complex():
            sums = summed(signs, pairs.reshape(len(signs), signs.shape[-1], -1))
            return sums.reshape(-1, *pairs.shape[2:])
        parts = torch.view_as_real(pairs.contiguous())
        sums = summed(signs, parts.reshape(len(signs), signs.shape[-1], -1))
        return torch.view_as_complex(sums.reshape(-1, *parts.shape[2:]))

    def _by_kets(
        self, kets: torch.Tensor, flipped: torch.Tensor, signs: torch.Tensor
    ) -> torch.Tensor:
        size, rows, branches = kets.shape
        changed = flipped[:, None] * signs[..., None, None]
        flat = changed.permute(3, 0, 1, 4, 2).reshape(rows, -1, size)
        sums = summed(flat, kets.conj().transpose(0, 1))
        return sums.reshape(rows, -1, branches, branches).transpose(0, 1)

    def add_cotangent(self, found: torch.Tensor, kets: torch.Tensor, weights: torch.Tensor) -> None:
        """Add to (2^wires, rows, branches) each letter's states times weights, summed.

        Parameters
        ----------
        found
            What is added to.
        kets
            (2^wires, rows, branches).
        weights
            (letters, rows, branches, branches), of the branch that results and the one it is from.
        """
        flips, letters = self._signs.shape[:2]
        _, rows, branches = kets.shape
        weights = weights.reshape(flips, letters, rows, branches, branches)
        for k in range(flips):
            (flipped,) = self._flipped(kets, slice(k, k + 1))
            if letters <= branches:
                for signs, some in zip(self._signs[k], weights[k], strict=True):
                    changed = (flipped * signs[:, None, None]).transpose(0, 1)
                    found += (changed @ some.mT).transpose(0, 1)
                continue
            parts = torch.view_as_real(weights[k]) if weights.is_complex() else weights[k]
            sums = (self._signs[k].T @ parts.reshape(letters, -1)).reshape(-1, *parts.shape[1:])
            mixing = torch.view_as_complex(sums) if weights.is_complex() else sums
            found += (
                (mixing @ flipped[..., None])[..., 0]
                if branches > 1
                else (mixing[..., 0] * flipped)
            )


def summed(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return products of matrices (.., m, n) and (.., n, k) in double precision.

    Single precision is summed in pieces: 2^16 squares of amplitudes lost two more digits as one.
    """
    if torch.finfo(a.dtype).bits == 64:
        return a @ b
    pieces = max(1, a.shape[-1] // MOST_SINGLE)
    a = a.unflatten(-1, (pieces, -1)).movedim(-2, -3)
    b = b.unflatten(-2, (pieces, -1))
    products = a @ b
    wide = torch.complex128 if products.is_complex() else torch.float64
    return products.sum(-3, dtype=wide)


class GramProduct:
    """Puts the groups' Gram matrices together in the order of the fragment's sites.

    Parameters
    ----------
    fragment
        Whose tensor results.
    groups
        The sites of each group.
    """

    def __init__(self, fragment: Fragment, groups: list[list[int]]) -> None:
        ranks = [site.rank for site in fragment.sites]
        self._shapes = [tuple(2 * [ranks[s] for s in sites]) for sites in groups]
        axes = [(s, side) for sites in groups for side in (0, 1) for s in sites]
        order = [axes.index((s, side)) for s in range(len(ranks)) for side in (0, 1)]
        self._order = (0, 1, *(k + 2 for k in order))
        self._final = tuple(rank**2 for rank in ranks)

    def __call__(self, grams: list[torch.Tensor]) -> torch.Tensor:
        """Return (rows, observables, *R^2) of Gram matrices (rows, observables, kets, bras)."""
        rows, observables = grams[0].shape[:2]
        whole = grams[0].reshape(rows, observables, -1)
        for gram in grams[1:]:
            whole = whole[..., :, None] * gram.reshape(rows, observables, 1, -1)
            whole = whole.reshape(rows, observables, -1)
        shape = [size for one in self._shapes for size in one]
        whole = whole.reshape(rows, observables, *shape).permute(self._order)
        return whole.reshape(rows, observables, *self._final)
