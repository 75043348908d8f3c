"""Tori: groups of devices that behave unlike while their models have the same place in a cycle.

The construction of ArbiterQ (Chu et al., "ArbiterQ: improving QNN convergency and accuracy by
applying personalized model on heterogeneous quantum devices", DAC 2025; no public code):
behavioural and model vectors are each laid on a line, the models as a sequence over the
behaviour have a strongest frequency, the line of behaviour is wound on a ring of that period,
and the ring is cut into arcs. Devices of one arc come from different turns. What is our choice
and not the paper's, the docstring of the function says.

Pure functions of arrays, one row a device. What the vectors mean, and what is run on a torus,
is not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pilotcut.errors import UserError
from pilotcut.options import counted

#: Least turns of the ring that the devices should make. With one turn an arc is a stretch of
#: the line, so that a torus would hold the devices that are most alike, not unlike.
LEAST_TURNS = 2.0

#: Frequencies tried in the width of a spectral peak, 1 / span.
OVERSAMPLING = 10

#: Strengths, gaps and weights that differ by less than this share are equal.
EQUAL = 1e-9

#: A difference or sum below this share of its terms is nothing but their rounding.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Torus:
    """Devices that share the shots of a task.

    Parameters
    ----------
    devices
        Their numbers, ascending.
    """

    devices: tuple[int, ...]


def tori(behaviour: np.ndarray, models: np.ndarray, count: int | None = None) -> tuple[Torus, ...]:
    """Return the tori of a fleet, every device in exactly one, in their order on the ring.

    A ring has no beginning; where it is cut, and into how many tori, is our choice and not
    taken from the paper: sizes differ by one device at most, and of all ways to cut the ring
    so, the cuts go through the widest gaps in total. Equal phases are in the order of their
    positions on the line, equal positions in that of the devices' numbers.

    Parameters
    ----------
    behaviour
        Behavioural vectors (devices, n).
    models
        Model vectors (devices, p).
    count
        Number of tori; by default the whole part of the root of the number of devices, so
        that a larger fleet has both more and larger tori: 1 up to 3 devices, 2 up to 8.

    Raises
    ------
    UserError
        If vectors are missing or not finite, or if there are more tori than devices.

    Examples
    --------
    Six devices whose models alternate along the behaviour: every second is in the same torus.

    >>> line = np.arange(6.0)[:, None]
    >>> for torus in tori(line, (-1) ** line):
    ...     print(torus.devices)
    (0, 2, 4)
    (1, 3, 5)
    """
    behaviour, models = _checked("behaviour", behaviour), _checked("models", models)
    devices = len(behaviour)
    if len(models) != devices:
        raise UserError(
            f"models: has {len(models)} vectors, expected {devices}, one for each behavioural "
            f"vector; give both for the same devices"
        )
    count = max(1, math.isqrt(devices)) if count is None else _checked_count(count, devices)
    positions = one_dimension(behaviour)
    turns = phases(positions, period(positions, one_dimension(models)))
    return tuple(Torus(tuple(sorted(arc.tolist()))) for arc in _arcs(turns, positions, count))


def one_dimension(vectors: np.ndarray) -> np.ndarray:
    """Return the positions (devices,) on a line that classical scaling gives to vectors.

    Torgerson's scaling of Euclidean distances is the projection on the first principal axis,
    computed as that: the doubly centred matrix of squared distances is the Gram matrix of the
    centred vectors. The positions have mean 0. They grow with the component of the vectors
    that weighs most in the axis, the first of equals; that settles the sign, whatever the order
    of the devices. Where two axes explain equally much, the axis is arbitrary.

    Parameters
    ----------
    vectors
        (devices, n), in any units that make distances sensible.

    Returns
    -------
    np.ndarray
        (devices,) in the units of the vectors; zeros if all are equal to rounding.

    Examples
    --------
    >>> one_dimension(np.array([[0.0, 1.0], [3.0, 5.0], [6.0, 9.0]])).round(6)
    array([-5.,  0.,  5.])
    """
    vectors = _checked("vectors", vectors)
    centred = vectors - vectors[:1]
    if np.all(np.abs(centred) <= ROUNDING * np.abs(vectors).max(initial=0)):
        return np.zeros(len(vectors))
    centred -= centred.mean(axis=0)
    left, singular, axes = np.linalg.svd(centred, full_matrices=False)
    weights = np.abs(axes[0])
    first = np.argmax(weights >= (1 - EQUAL) * weights.max())
    return np.sign(axes[0, first]) * singular[0] * left[:, 0]


def spectrum(positions: np.ndarray, values: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Return the non-uniform Fourier transform of values at positions.

    ``F(f) = sum_j (y_j - mean y) exp(-2 pi i f x_j)``, summed directly: for the tens of devices
    of a fleet the sum is exact and takes less time than setting up a fast transform. Crowded
    positions count as often as they occur.

    Parameters
    ----------
    positions, values
        x and y, (devices,).
    frequencies
        f, (frequencies,), cycles in a unit of the positions.

    Returns
    -------
    np.ndarray
        Complex, (frequencies,).
    """
    waves = np.exp(-2j * np.pi * np.outer(frequencies, positions))
    return waves @ (values - np.mean(values))


def period(positions: np.ndarray, values: np.ndarray, least_turns: float = LEAST_TURNS) -> float:
    """Return the period T = 1/f of the strongest frequency f of values over positions.

    The frequencies tried are our choice, the paper is silent about them: from `least_turns` /
    span to the mean Nyquist frequency (devices - 1) / (2 span), whose period is two mean
    spacings, in steps of at most 0.1 / span; the lowest of equals is taken. A trend of the
    models over the whole span is strongest below that range and shows at its low end,
    T = span / least_turns, half the span by default.

    Parameters
    ----------
    positions, values
        (devices,): behaviour and models on a line.
    least_turns
        Least number of periods in the span of the positions.

    Returns
    -------
    float
        In units of the positions. Where Nyquist lies below `least_turns` (at most 4 devices at
        the default) it is 2 span / (devices - 1): neighbours at even distances are half a turn
        apart. Where values are all equal, span / least_turns. Infinite for one device or equal
        positions: there is no turn to make.

    Examples
    --------
    >>> x = np.arange(25.0)
    >>> round(period(x, np.cos(2 * np.pi * x / 4)), 1)
    4.0
    """
    span = float(np.ptp(positions)) if len(positions) else 0.0
    if span == 0:
        return math.inf
    most = (len(positions) - 1) / 2
    least = min(least_turns, most)
    turns = np.linspace(least, most, 1 + math.ceil((most - least) * OVERSAMPLING))
    strength = np.abs(spectrum(np.asarray(positions) / span, np.asarray(values), turns))
    slack = EQUAL * strength.max() + ROUNDING * np.abs(values).sum()
    return span / float(turns[np.argmax(strength >= strength.max() - slack)])


def phases(positions: np.ndarray, ring: float) -> np.ndarray:
    """Return the places of positions on a ring of that circumference, in turns from 0 to 1.

    Parameters
    ----------
    positions
        (devices,); the least of them has phase 0.
    ring
        Circumference, the period; all phases are 0 if it is infinite.
    """
    turns = (positions - np.min(positions)) / ring
    # Rounded, lest a whole number of turns less a rounding error is at the other end.
    return np.round(np.mod(turns, 1.0), 9) % 1.0


def _arcs(turns: np.ndarray, positions: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the devices of `count` arcs of the ring, which is cut at its widest gaps."""
    # Both ends of the line have phase 0 whenever its span is a whole number of turns.
    order = np.lexsort((positions, turns))
    ring = turns[order]
    gaps = np.diff(ring, prepend=ring[-1] - 1.0)  # before each device, round the ring
    sizes = np.full(count, len(order) // count)
    sizes[: len(order) % count] += 1
    cuts = np.cumsum(sizes) - sizes
    width = np.array([np.roll(gaps, -start)[cuts].sum() for start in range(len(order))])
    start = int(np.argmax(width >= width.max() - EQUAL))
    return np.split(np.roll(order, -start), cuts[1:])


def _checked(name: str, vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=float)
    if vectors.ndim != 2 or not len(vectors):
        raise UserError(
            f"{name}: has shape {vectors.shape}, expected (devices, n) with at least one device; "
            f"give one vector for each device"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"{name}: the vector of device {bad[0]} has numbers that are not finite, expected "
            f"finite ones; leave that device out or measure it again"
        )
    return vectors


def _checked_count(count: int, devices: int) -> int:
    if int(count) != count or not 1 <= count <= devices:
        raise UserError(
            f"count is {count} tori of {counted(devices, 'device')}, expected from 1 to {devices}; "
            "every "
            f"torus needs a device"
        )
    return int(count)
