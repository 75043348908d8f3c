"""What runs subexperiments: anything with the one method of the `Backend` protocol."""

from __future__ import annotations

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
