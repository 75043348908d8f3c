"""Slope of a value over the number of cuts, and whether it differs from 0."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Probability of calling a trend what is none.
LEVEL = 0.05


@dataclass(frozen=True)
class Trend:
    """A slope with its 95 % confidence interval, and the p-value of there being none."""

    slope: float
    low: float
    high: float
    p: float

    @property
    def exists(self) -> bool:
        """Whether the slope differs from 0 at the 5 % level."""
        return self.p < LEVEL

    def text(self, unit: float = 100, name: str = "points") -> str:
        """Return it in words, such as '+0.1 points a cut (95 % -0.5 to +0.7, p = 0.71)'."""
        low, high = unit * self.low, unit * self.high
        return (
            f"{unit * self.slope:+.2f} {name} a cut (95 % {low:+.2f} to {high:+.2f}, "
            f"p = {self.p:.2f})"
        )


def trend(x: Sequence[float], y: Sequence[float], blocks: Sequence[Hashable]) -> Trend | None:
    """Return the least-squares slope of y over x with a level of its own for every block.

    Blocks are what cells share beside x, a seed for example: its split of the data moves the
    accuracy at all numbers of cuts alike, and would drown a trend in what is no noise.

    Parameters
    ----------
    x, y, blocks
        One entry a measurement.

    Returns
    -------
    Trend or None
        Two-sided t-test with n - blocks - 1 degrees of freedom; None where none is left.

    Examples
    --------
    >>> found = trend([0, 1, 2, 0, 1, 2], [1, 1, 1, 5, 5, 5], "aaabbb")
    >>> found.slope, found.p
    (0.0, 1.0)
    """
    dx, dy = _within(np.asarray(x, float), blocks), _within(np.asarray(y, float), blocks)
    # A level for every block and the slope are what was fitted.
    freedom = len(dx) - len(set(blocks)) - 1
    spread = float(dx @ dx)
    if freedom < 1 or spread == 0:
        return None
    slope = float(dx @ dy) / spread
    residual = dy - slope * dx
    error = float(np.sqrt(residual @ residual / freedom / spread))
    if error < 1e-12:  # all on one line: level, or a slope without doubt
        return Trend(slope, slope, slope, 1.0 if abs(slope) < 1e-12 else 0.0)
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(slope) / error, freedom))
    return Trend(slope, slope - reach, slope + reach, p)


def _within(values: np.ndarray, blocks: Sequence[Hashable]) -> np.ndarray:
    """Return the differences from the means of the blocks."""
    # Hashes only tell blocks apart; their order, which differs from process to process, is no
    # matter.
    _, block = np.unique([hash(b) for b in blocks], return_inverse=True)
    means = np.bincount(block, values) / np.bincount(block)
    return values - means[block]
