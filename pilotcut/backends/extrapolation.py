"""Extrapolation to no noise: measured at some noise factors, a combination of them at factor 0.

Owns the coefficients, and how shots are dealt over the factors. Refuses to know circuits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotcut.backends.base import Measurement
from pilotcut.cutting.fragment_tensor import Block

#: Shots are dealt in multiples of this where there are many: Aer runs a job for every binary digit.
STEP = 16

#: Shots of a factor, at least, on average.
LEAST = 2


def linear(factors: Sequence[float]) -> np.ndarray:
    """Return the coefficients (factors,) of what a straight line through the values says at 0.

    Examples
    --------
    >>> linear([1, 3, 5]).round(3).tolist()
    [1.083, 0.333, -0.417]
    """
    x = np.asarray(factors, float)
    from_middle = x - x.mean()
    return np.asarray(1 / len(x) - x.mean() * from_middle / (from_middle**2).sum())


def dealt(shots: np.ndarray, coefficients: np.ndarray) -> list[np.ndarray]:
    """Return shots of each factor for those of each subexperiment, which they add up to.

    In proportion to the coefficients' sizes, which is best where all factors have the same
    variance. A subexperiment of too few shots has them all at the first factor.

    Examples
    --------
    >>> [n.tolist() for n in dealt(np.array([1000, 10, 2, 0]), linear([1, 3, 5]))]
    [[600, 7, 2, 0], [176, 1, 0, 0], [224, 2, 0, 0]]
    """
    share = np.abs(coefficients) / np.abs(coefficients).sum()
    others = []
    enough = shots >= LEAST * len(share)
    for part in share[1:]:
        exact = shots * part
        step = np.where(exact >= 8 * STEP, STEP, 1)
        found = np.maximum(1, np.floor(exact / step).astype(int) * step)
        others.append(np.where(enough, found, 0))
    return [shots - sum(others), *others]


def combined(
    found: Sequence[Measurement], shots: Sequence[np.ndarray], coefficients: np.ndarray
) -> Measurement:
    """Return what measurements at all factors say of factor 0, covariances with them.

    Parameters
    ----------
    found
        Of each factor, with blocks of the same settings in the same order.
    shots
        Of each factor, (rows, subexperiments).
    coefficients
        Of each factor.
    """
    blocks, first = [], 0
    for same in zip(*(one.blocks for one in found), strict=True):
        last = first + len(same[0].variants)
        weights = np.broadcast_to(coefficients[:, None, None], (len(coefficients), *shots[0].shape))
        # What has no shots at the other factors is as it was found.
        alone = shots[-1][:, first:last] == 0
        unit = np.zeros(len(coefficients))
        unit[0] = 1.0
        some = np.where(alone, unit[:, None, None], weights[:, :, first:last])
        means = sum(w[..., None] * b.means for w, b in zip(some, same, strict=True))
        spread = sum(
            w[..., None, None] ** 2 * b.covariances for w, b in zip(some, same, strict=True)
        )
        blocks.append(Block(same[0].group, same[0].variants, np.asarray(means), np.asarray(spread)))
        first = last
    run_s, reduce_s = (sum(getattr(one, name) for one in found) for name in ("run_s", "reduce_s"))
    return Measurement(tuple(blocks), run_s, reduce_s)
