"""What runs subexperiments: anything with the one method of the `Backend` protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pilotcut.cutting.fragment import Block, Fragment


@dataclass(frozen=True)
class Measurement:
    """What a backend measured, and what it took.

    Parameters
    ----------
    blocks
        The reduced estimates; counts never leave the worker.
    run_s
        Seconds spent running circuits.
    reduce_s
        Seconds spent turning counts into expectations.
    """

    blocks: tuple[Block, ...]
    run_s: float
    reduce_s: float


def pieces_of(fragment: Fragment, part: slice) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of a template, positions among its variants) for a part of a fragment."""
    start = 0
    for number, template in enumerate(fragment.templates):
        size = len(template.variants)
        first, last = max(part.start - start, 0), min(part.stop - start, size)
        if first < last:
            yield number, np.arange(first, last)
        start += size


class Backend(Protocol):
    """Estimates the variants of a fragment."""

    name: str

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: int, seed: int
    ) -> Measurement:
        """Run a contiguous part of the fragment's subexperiments.

        Parameters
        ----------
        fragment
            The fragment; backends cache what they compile for it by its fingerprint.
        angles
            (rows, angles), one row for each parameter set, in radians.
        part
            Which subexperiments, counted through `fragment.templates` in order.
        shots
            Shots for each subexperiment and row.
        seed
            The same seed gives the same numbers on any worker.
        """
        ...
