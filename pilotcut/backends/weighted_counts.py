"""Counts as means of products of weights, one for each bit, where the weights are no signs.

Signs multiply to signs, so that a product of two members is a parity again. Weights of bits that
both have are squared instead, and members' products are summed as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pilotcut.backends.counts import bits_of
from pilotcut.backends.readout import BitWeights

#: Numbers that are held at a time.
CHUNK = 1 << 22


@dataclass(frozen=True)
class Moments:
    """Sums over the shots of each circuit; columns are members x outcomes.

    Parameters
    ----------
    firsts
        (circuits, columns).
    seconds
        (circuits, columns, columns): of the products of columns.
    slopes
        (circuits, parameters, columns): by the parameters of the readout, in their errors.
    """

    firsts: np.ndarray
    seconds: np.ndarray
    slopes: np.ndarray


def moments(
    counts: Sequence[Mapping[str, int]],
    bits: int,
    masks: Sequence[int],
    found: int,
    weights: BitWeights,
) -> Moments:
    """Return the sums of each mask's product of weights, with every outcome of the last bits.

    Parameters
    ----------
    counts
        For each circuit, hexadecimal outcome -> number of shots.
    bits
        Bits of an outcome.
    masks
        Which bits belong to each member's product.
    found
        How many bits, the last, are an outcome's number instead: a member counts with outcome x
        as the product times what makes 1 of x and 0 of the others on average.
    weights
        What each bit counts.

    Examples
    --------
    >>> perfect = BitWeights(np.array([[1.0, -1.0]] * 2), np.zeros((2, 2, 2)),
    ...                      np.zeros((2, 2), int), 0)
    >>> moments([{"0x0": 3, "0x3": 1, "0x1": 4}], 2, [0b01, 0b11], 0, perfect).firsts.tolist()
    [[-2.0, 0.0]]
    """
    columns = len(masks) << found
    each = sum(map(len, counts)) * (columns**2 + bits * columns) // max(1, len(counts)) + 1
    step = max(1, CHUNK // each)
    edges = [*range(0, len(counts), step), len(counts)]
    parts = [
        _moments(counts[first:last], bits, masks, found, weights)
        for first, last in pairwise(edges)
        if last > first
    ]
    names = ("firsts", "seconds", "slopes")
    return Moments(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _moments(
    counts: Sequence[Mapping[str, int]],
    bits: int,
    masks: Sequence[int],
    found: int,
    weights: BitWeights,
) -> Moments:
    circuit, outcomes, shots = bits_of(counts, 1, bits)
    columns = _columns(bits, masks, found)
    factors = _factors(outcomes, weights.values, columns)
    product = factors.prod(axis=1)
    counted = product * shots[:, None]
    starts = np.searchsorted(circuit, np.arange(len(counts)))
    firsts = np.add.reduceat(counted, starts)
    seconds = np.add.reduceat(counted[:, :, None] * product[:, None, :], starts)
    slopes = np.zeros((len(counts), weights.number, product.shape[1]))
    for bit in range(bits if weights.number else 0):
        kind = columns[bit]
        others = np.delete(factors, bit, axis=1).prod(axis=1) * shots[:, None] * (kind.scale != 0)
        for which, parameter in enumerate(weights.parameters[bit]):
            turn = weights.slopes[bit, which][outcomes[:, bit]][:, None] * kind.scale
            slopes[:, parameter] += np.add.reduceat(turn * others, starts)
    return Moments(firsts, seconds, slopes)


@dataclass(frozen=True)
class _Column:
    """What a bit is to each column: ``offset + scale * weight``, both (columns,)."""

    offset: np.ndarray
    scale: np.ndarray


def _columns(bits: int, masks: Sequence[int], found: int) -> list[_Column]:
    first, outcomes = bits - found, np.arange(1 << found)
    columns = []
    for bit in range(bits):
        if bit < first:
            scale = np.repeat([float(mask >> bit & 1) for mask in masks], len(outcomes))
            columns.append(_Column(1 - scale, scale))
        else:  # (1 + w) / 2 is 1 on average where the bit is 0, and (1 - w) / 2 where it is 1
            sign = np.tile(0.5 - (outcomes >> (bit - first) & 1), len(masks))
            columns.append(_Column(np.full(len(sign), 0.5), sign))
    return columns


def _factors(outcomes: np.ndarray, values: np.ndarray, columns: Sequence[_Column]) -> np.ndarray:
    """Return what each bit contributes, (entries, bits, columns)."""
    weights = values[np.arange(len(columns)), outcomes]
    offset = np.array([column.offset for column in columns])
    scale = np.array([column.scale for column in columns])
    return np.asarray(offset + scale * weights[:, :, None])
