"""Outcome tensors: the bits in which a fragment ends, as much of them as is asked for.

Where an expectation has sub-observables, a distribution has the final bits of those of the
fragment's wires that end as qubits of the circuit. The tensor ``T[outcome, *sites]`` has 2^wires
entries a variant and is never formed: states of branches, or what shots found, are kept, and a
query says which wires' bits stay open, which are fixed, and all others are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.cutting.fragment import Fragment


class OutcomeTensor(Protocol):
    """Outcome tensor: the final bits of some wires, open to queries."""

    @property
    def wires(self) -> tuple[int, ...]:
        """The fragment's wires whose bits these are."""
        ...

    @property
    def sites(self) -> tuple[int, ...]:
        """The fragment's sites, in the order of the tensor's axes."""
        ...

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Sizes of the tensor's axes of sites."""
        ...

    def tensor(self, kept: Sequence[int], fixed: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the tensor (rows, 2^kept, *site_shape), wires not named summed over.

        Parameters
        ----------
        kept
            Wires whose bits stay open; the first is the lowest bit of the outcome.
        fixed, bits
            Wires whose bits are given, (rows, fixed) of 0 and 1.
        """
        ...


def outcome_wires(fragment: Fragment) -> tuple[int, ...]:
    """Return the wires that end as qubits of the circuit, of a fragment that observes Z on all."""
    return tuple(int(w) for w in np.flatnonzero(fragment.observables.z.any(axis=0)))


@dataclass(frozen=True)
class StateOutcomes:
    """Exact outcomes of wires that are entangled: the states of all branches.

    Its tensor is ``sum_s phi_a(x, s) conj phi_b(x, s)`` with x the kept and s the summed bits;
    a site's axis holds its branch pairs (ket a, bra b).

    Parameters
    ----------
    amplitudes
        Complex, one axis a site in the order of `sites`, then one for each of `all_wires`.
    sites, all_wires
        What the axes stand for.
    wires
        Those of `all_wires` that end as qubits.
    """

    amplitudes: np.ndarray
    sites: tuple[int, ...]
    all_wires: tuple[int, ...]
    wires: tuple[int, ...]

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Number of branch pairs at each site."""
        return tuple(rank**2 for rank in self._ranks)

    @property
    def _ranks(self) -> tuple[int, ...]:
        return self.amplitudes.shape[: len(self.sites)]

    def tensor(self, kept: Sequence[int], fixed: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the complex tensor; see `OutcomeTensor.tensor`."""
        open_wires = [*reversed(fixed), *reversed(kept)]
        summed = [w for w in self.all_wires if w not in open_wires]
        first = len(self.sites)
        order = [first + self.all_wires.index(w) for w in open_wires]
        order += [*range(first), *(first + self.all_wires.index(w) for w in summed)]
        states = self.amplitudes.transpose(order)
        states = states.reshape(1 << len(fixed), 1 << len(kept), prod(self._ranks), -1)
        chosen = states[numbers(bits)]
        grams = chosen @ chosen.conj().swapaxes(-1, -2)
        return self._by_site(grams.reshape(*grams.shape[:2], *self._ranks, *self._ranks))

    def _by_site(self, grams: np.ndarray) -> np.ndarray:
        """Bring ket and bra of each site together."""
        count = len(self.sites)
        order = [2 + k + side * count for k in range(count) for side in (0, 1)]
        return grams.transpose(0, 1, *order).reshape(*grams.shape[:2], *self.site_shape)


@dataclass(frozen=True)
class CountedOutcomes:
    """Outcomes that shots found, each with the signs of its mid-circuit measurements.

    Parameters
    ----------
    wires, sites, site_shape
        See `OutcomeTensor`; the fragment has `prod(site_shape)` variants.
    variants
        Integer array (entries,): the variant that each entry belongs to.
    bits
        (entries, wires) of 0 and 1, `uint8`.
    weights, shares
        (entries,): shares of the variant's shots, with the sign of each shot and without.
    spread
        (variants,): 1 / (N - 1) for N shots of a variant's setting, 0 where it has none: what the
        variance of a shot is multiplied by.
    found
        For each site, how many of its operations are outcomes of one setting.
    """

    wires: tuple[int, ...]
    sites: tuple[int, ...]
    site_shape: tuple[int, ...]
    variants: np.ndarray
    bits: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    spread: np.ndarray
    found: tuple[int, ...]

    def tensor(self, kept: Sequence[int], fixed: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the real tensor of quasi-probabilities; see `OutcomeTensor.tensor`."""
        return self._summed(self.weights, kept, fixed, bits)

    def squares(self, kept: Sequence[int], fixed: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the mean squares of what a shot adds to `tensor`: 1, -1 or 0."""
        return self._summed(self.shares, kept, fixed, bits)

    def _summed(
        self, values: np.ndarray, kept: Sequence[int], fixed: Sequence[int], bits: np.ndarray
    ) -> np.ndarray:
        """Sum the entries' values by outcome and variant."""
        row = _rows_of(self.bits[:, [self.wires.index(w) for w in fixed]], bits)
        outcome = numbers(self.bits[:, [self.wires.index(w) for w in kept]])
        found = row >= 0
        shape = (len(bits), 1 << len(kept), *self.site_shape)
        place = (row * shape[1] + outcome) * prod(self.site_shape) + self.variants
        return np.bincount(place[found], values[found], prod(shape)).reshape(shape)

    @classmethod
    def of(
        cls, fragment: Fragment, parts: Sequence[Tally], shots: int | np.ndarray
    ) -> CountedOutcomes:
        """Return what parts of a fragment's subexperiments found.

        Variants that need no circuit measure nothing and have weight 1.

        Parameters
        ----------
        fragment, parts
            The fragment, with Z on all that it can observe, and what was found.
        shots
            Of every subexperiment, or (subexperiments,) of each.
        """
        wires = outcome_wires(fragment)
        silent = np.flatnonzero(fragment.trivial.all(axis=0))
        empty = np.zeros((len(silent), len(wires)), dtype=np.uint8)
        ones = np.ones(len(silent))
        tally = Tally.joined([*parts, Tally(silent, empty, ones, ones)])
        sites = tuple(range(len(fragment.sites)))
        shape = fragment.site_shape
        found = (tally.variants, tally.bits, tally.weights, tally.shares)
        outcomes = tuple(site.outcomes for site in fragment.sites)
        return cls(wires, sites, shape, *found, _spread(fragment, shots), outcomes)


@dataclass(frozen=True)
class Tally:
    """Outcomes that one work unit found, as shares of shots; see `CountedOutcomes`.

    `usage` is what that took of a device.
    """

    variants: np.ndarray
    bits: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    usage: Usage = NOTHING

    @classmethod
    def joined(cls, parts: Sequence[Tally]) -> Tally:
        """Return parts as one, with one entry for each outcome of a variant."""
        variants = np.concatenate([part.variants for part in parts])
        bits = np.concatenate([part.bits for part in parts])
        parted = [(part.weights, part.shares) for part in parts]
        both = [np.concatenate(some) for some in zip(*parted, strict=True)]
        _, alike = np.unique(_keys(bits), return_inverse=True)
        code = variants * (len(alike) + 1) + alike.reshape(-1)
        _, first, which = np.unique(code, return_index=True, return_inverse=True)
        weights, shares = (np.bincount(which.reshape(-1), some) for some in both)
        return cls(variants[first], bits[first], weights, shares)


def _spread(fragment: Fragment, shots: int | np.ndarray) -> np.ndarray:
    """Return 1 / (N - 1) for each variant, N the shots of its setting; 0 where there are none."""
    of_variant = np.zeros(prod(fragment.site_shape), dtype=int)
    each = np.broadcast_to(shots, fragment.num_subexperiments)
    first = 0
    for template in fragment.templates:
        own = each[first : first + len(template.variants)]
        of_variant[fragment.outcome_variants[template.variants]] = own[:, None]
        first += len(template.variants)
    return np.where(of_variant > 0, 1.0 / np.maximum(1, of_variant - 1), 0.0)


def numbers(bits: np.ndarray) -> np.ndarray:
    """Return rows of bits as numbers, the first column the lowest bit, (rows,).

    Examples
    --------
    >>> numbers(np.array([[1, 0, 0], [0, 1, 1]])).tolist()
    [1, 6]
    """
    return bits.astype(np.int64) @ (1 << np.arange(bits.shape[1], dtype=np.int64))


def _rows_of(bits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return which of the distinct rows `wanted` each row of `bits` is, or -1."""
    found, which = np.unique(
        _keys(np.concatenate([wanted, bits]).astype(np.uint8)), return_inverse=True
    )
    which = which.reshape(-1)
    number = np.full(len(found), -1)
    number[which[: len(wanted)]] = np.arange(len(wanted))
    return number[which[len(wanted) :]]


def _keys(bits: np.ndarray) -> np.ndarray:
    """Return rows of any number of bits as sortable bytes, (rows,)."""
    packed = np.packbits(bits, axis=1) if bits.shape[1] else np.zeros((len(bits), 1), np.uint8)
    return np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).reshape(-1)
