"""Counts as expectations of ±1 products, with their covariances, vectorised over many circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

#: Outcomes of up to this many bits are handled as machine integers.
MACHINE_BITS = 63

#: Outcomes whose numbers are kept; all that packed circuits can have, and some more.
KEPT_OUTCOMES = 1 << 16


def parities(counts: Sequence[Mapping[str, int]], masks: Sequence[int], shots: int) -> np.ndarray:
    """Return the mean sign of each mask's bits, (circuits, masks).

    Parameters
    ----------
    counts
        For each circuit, hexadecimal outcome -> number of shots.
    masks
        Bit masks; the sign of an outcome is -1 where an odd number of its bits is set.
    shots
        Shots of each circuit.

    Examples
    --------
    >>> parities([{"0x0": 3, "0x3": 1, "0x1": 4}], [0b01, 0b11], 8).tolist()
    [[-0.25, 0.0]]
    """
    sizes = np.array([len(c) for c in counts])
    total = int(sizes.sum())
    weights = np.fromiter(chain.from_iterable(c.values() for c in counts), float, total)
    outcomes = map(_numbers.__getitem__, chain.from_iterable(counts))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    means = np.empty((len(counts), len(masks)))
    # reduceat returns an element where it should sum none: every circuit has an outcome, since what
    # has no shots is not run.
    for k, odd in enumerate(_odd(list(outcomes), masks)):
        means[:, k] = 1 - 2 * np.add.reduceat(weights * odd, starts) / shots
    return means


class _Numbers(dict[str, int]):
    """Hexadecimal outcomes as numbers, kept: reading them is most of the work on counts."""

    def __missing__(self, key: str) -> int:
        number = int(key, 16)
        if len(self) < KEPT_OUTCOMES:
            self[key] = number
        return number


_numbers = _Numbers()


def _odd(outcomes: list[int], masks: Sequence[int]) -> list[np.ndarray]:
    if max(masks, default=0) >> MACHINE_BITS:
        return _odd_of_any(outcomes, masks)
    try:
        array = np.array(outcomes, dtype=np.int64)
    except OverflowError:
        return _odd_of_any(outcomes, masks)
    return [np.bitwise_count(array & mask) & 1 for mask in masks]


def _odd_of_any(outcomes: list[int], masks: Sequence[int]) -> list[np.ndarray]:
    """Return the same of numbers that no machine integer holds."""
    return [np.array([(o & mask).bit_count() & 1 for o in outcomes]) for mask in masks]


def bits_of(
    counts: Sequence[Mapping[str, int]], copies: int, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outcomes bit by bit, of circuits that hold several subexperiments side by side.

    Parameters
    ----------
    counts
        For each circuit, hexadecimal outcome -> number of shots.
    copies, bits
        Subexperiments in a circuit, and bits of each.

    Returns
    -------
    which, outcomes, shots
        For each outcome of each circuit and copy: the subexperiment (entries,), its bits
        (entries, bits), the first measured first, and its shots (entries,).

    Examples
    --------
    >>> which, outcomes, shots = bits_of([{"0x1": 3, "0x6": 1}], copies=2, bits=2)
    >>> which.tolist(), outcomes.tolist(), shots.tolist()
    ([0, 1, 0, 1], [[1, 0], [0, 0], [0, 1], [1, 0]], [3, 3, 1, 1])
    """
    size = max(1, (copies * bits + 7) // 8)
    packed = b"".join(int(key, 16).to_bytes(size, "little") for c in counts for key in c)
    flat = np.frombuffer(packed, dtype=np.uint8).reshape(-1, size)
    whole = np.unpackbits(flat, axis=1, count=copies * bits, bitorder="little")
    circuit = np.repeat(np.arange(len(counts)), [len(c) for c in counts])
    shots = np.array([n for c in counts for n in c.values()])
    which = circuit[:, None] * copies + np.arange(copies)
    return which.reshape(-1), whole.reshape(len(flat) * copies, bits), np.repeat(shots, copies)


def by_outcome(signs: np.ndarray) -> np.ndarray:
    """Return expectations with each outcome of some bits, from those with each of their parities.

    Parameters
    ----------
    signs
        (..., 2^n) mean signs, the last axis over sets of n bits.

    Returns
    -------
    np.ndarray
        (..., 2^n) means over all shots of the sign where the bits were that number, else 0.

    Examples
    --------
    >>> by_outcome(np.array([1.0, 0.5])).tolist()
    [0.75, 0.25]
    """
    numbers = np.arange(signs.shape[-1])
    parity = 1.0 - 2.0 * (np.bitwise_count(numbers[:, None] & numbers) & 1)
    return signs @ parity / len(numbers)


def products_of_outcomes(products: np.ndarray) -> np.ndarray:
    """Return products of estimates that belong to outcomes, (..., g x outcomes, g x outcomes).

    Parameters
    ----------
    products
        (..., g, g, outcomes) expectations of the products of members, with each outcome; of two
        outcomes only one can be found, so others' products are 0.
    """
    *front, g, _, outcomes = products.shape
    whole = np.zeros((*front, g, outcomes, g, outcomes))
    found = np.arange(outcomes)
    whole[..., :, found, :, found] = np.moveaxis(products, -1, 0)
    return whole.reshape(*front, g * outcomes, g * outcomes)


def covariances(means: np.ndarray, products: np.ndarray, shots: int | np.ndarray) -> np.ndarray:
    """Return unbiased covariances (..., g, g) of means of variables of -1, 0 and 1.

    Parameters
    ----------
    means
        (..., g) expectations.
    products
        (..., g, g) expectations of the pairwise products; of signs the diagonal is 1.
    shots
        Shots behind each mean, one number or (...). A single shot says nothing about its
        spread, so 1 is taken.
    """
    # Of one shot the spread is n/(n-1) times this, and of the mean of n shots 1/n of that.
    spread = products - means[..., :, None] * means[..., None, :]
    behind = np.asarray(shots)[..., None, None]
    return np.where(behind > 1, spread / np.maximum(behind - 1, 1), np.eye(means.shape[-1]))
