"""Backends: anything that runs subexperiments by the two methods of the `Backend` protocol.

Refuses to know why something is run, and who puts the results together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np

from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.backends.outcomes import Tally
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.cutting.fragment_tensor import Block

#: One number for all, or an integer array (rows, subexperiments).
Shots: TypeAlias = int | np.ndarray


@dataclass(frozen=True)
class Measurement:
    """Estimates that a backend measured, and the seconds that it took.

    Parameters
    ----------
    blocks
        The reduced estimates; counts never leave the worker.
    run_s
        Seconds spent running circuits.
    reduce_s
        Seconds spent turning counts into expectations.
    usage
        What it took of a device that runs circuits itself.
    """

    blocks: tuple[Block, ...]
    run_s: float
    reduce_s: float
    usage: Usage = NOTHING


@dataclass(frozen=True)
class DeviceFit:
    """Predicted quality of a fragment's circuits on a device.

    Parameters
    ----------
    error
        Probability that something goes wrong in a shot: 1 minus the product of what all gates
        and measurements of the circuit leave.
    shot_s
        Seconds of a shot.
    lack
        Why the device cannot run them, "" if it can.
    gate_error
        The same as `error` without measurements.
    shot_cost
        What a shot costs, in the currency of the description.
    """

    error: float
    shot_s: float
    lack: str = ""
    gate_error: float = 0.0
    shot_cost: float = 0.0


def templates_in(fragment: Fragment, part: slice) -> Iterator[tuple[Template, slice]]:
    """Yield the templates of a part of a fragment's subexperiments, and their places in it.

    Their variants are those within the part.
    """
    start = 0
    for template in fragment.templates:
        size = len(template.variants)
        first, last = max(part.start - start, 0), min(part.stop - start, size)
        if first < last:
            choices, variants = template.choices[first:last], template.variants[first:last]
            place = start + first - part.start
            yield (
                replace(template, choices=choices, variants=variants),
                slice(place, place + last - first),
            )
        start += size


def shots_of(shots: Shots, rows: int, place: slice) -> np.ndarray:
    """Return the shots of each row and of the subexperiments in `place`, (rows, subexperiments)."""
    if isinstance(shots, np.ndarray):
        return shots[:, place]
    return np.full((rows, place.stop - place.start), shots)


class Backend(Protocol):
    """Estimates the variants of a fragment, or the final bits of its wires."""

    name: str

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
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
            Shots of every subexperiment, or (rows, subexperiments of the part) of each; what
            has none is not run, and its estimate is 0.
        seed
            The same seed gives the same numbers on any worker.
        """
        ...

    def tally(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Tally:
        """Run a part of the subexperiments of a fragment that observes Z on all that it can.

        Parameters
        ----------
        fragment, part, shots, seed
            As in `run`.
        angles
            (1, angles) in radians.

        Returns
        -------
        Tally
            The final bits with the signs of mid-circuit measurements, as shares of the shots.
        """
        ...
