"""Bundles: the subexperiments of a batch, cut into tasks that are worth dispatching.

A bundle is some parameter sets of one fragment with some of its subexperiments, about
`TARGET_S` of work. How a batch is split depends on the plan and the shots alone, never
on the workers, and every bundle's seed derives from (query, fragment, bundle): results
are the same on one worker or sixteen, under any policy, and with workers dying in
between. What runs on devices is split by the number of circuits
(`pilotcut.execution.devices`) and bound to them beforehand. A task carries arrays and returns
the reduced tensor block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

import numpy as np

from pilotcut.backends.base import Shots
from pilotcut.cutting.fragment import Fragment, Site

#: Work of one bundle in predicted seconds. Small enough to keep many workers busy, large
#: enough that dispatching it (about 1 ms) does not matter.
TARGET_S = 0.08

# Measured on one core of a two-core machine with Aer 0.18: floor of a circuit, of a shot
# and its bits, and of a gate on one amplitude. Only the sizes of bundles depend on them.
_CIRCUIT_S, _SHOT_S, _SHOT_BIT_S, _GATE_AMPLITUDE_S = 3e-4, 5e-7, 1.5e-7, 2e-9

_EXACT_AMPLITUDE_S = 2e-9

# Small subexperiments share circuits up to this width (see `pilotcut.backends.aer`).
_SHARED_WIDTH = 8


def size_of(rows: slice, part: slice, shots: Shots) -> tuple[int, int]:
    """Return how many circuits have shots, and the shots of all of them."""
    if isinstance(shots, np.ndarray):
        return int(np.count_nonzero(shots)), int(shots.sum())
    count = (rows.stop - rows.start) * (part.stop - part.start)
    return count, count * shots


@dataclass(frozen=True)
class Bundle:
    """Some rows of a batch, and some subexperiments of one fragment."""

    fragment: int
    number: int
    rows: slice
    part: slice

    @property
    def place(self) -> tuple[int, int]:
        """What tells it from all others of a batch."""
        return self.fragment, self.number

    def shots(self, request: Request) -> Shots:
        """Return the bundle's share of its request's shots."""
        if isinstance(request.shots, np.ndarray):
            return request.shots[self.rows, self.part]
        return request.shots

    def size(self, request: Request) -> tuple[int, int]:
        """Return how many circuits have shots, and the shots of all of them."""
        return size_of(self.rows, self.part, self.shots(request))

    def predicted_s(self, request: Request) -> float:
        """Return the rough cost in seconds."""
        count, shots = self.size(request)
        return count * predicted_s(request.fragment, shots / max(count, 1))


@dataclass(frozen=True)
class Request:
    """Evaluate one fragment on a batch of angles.

    Parameters
    ----------
    fragment
        The fragment.
    angles
        (rows, angles) in radians.
    shots
        Of every subexperiment, or (rows, subexperiments); 0 in exact mode.
    """

    fragment: Fragment
    angles: np.ndarray
    shots: Shots = 0

    @property
    def subexperiments(self) -> int:
        """Number of circuits with shots."""
        if isinstance(self.shots, np.ndarray):
            return int(np.count_nonzero(self.shots))
        return len(self.angles) * self.fragment.num_subexperiments

    @property
    def total_shots(self) -> int:
        """Shots of all circuits together."""
        if isinstance(self.shots, np.ndarray):
            return int(self.shots.sum())
        return self.shots * self.subexperiments


def row_bundles(fragment: Fragment, rows: int) -> list[slice]:
    """Return the rows of each bundle of the exact engine."""
    return even_rows(rows, exact_row_s(fragment))


def even_rows(rows: int, row_s: float, most: int | None = None) -> list[slice]:
    """Return slices of rows, each about `TARGET_S` of work and of at most so many rows."""
    fitting = max(1, int(min(TARGET_S / row_s, rows)))
    size = fitting if most is None else min(fitting, most)
    return [slice(first, last) for first, last in _even(rows, size)]


def exact_row_s(fragment: Fragment) -> float:
    """Return the rough cost of one parameter set in the exact engine, in seconds."""
    branches = prod(site.rank for site in fragment.sites)
    amplitudes = branches * 2.0 ** min(fragment.width, 60)
    return max(1, len(fragment.steps)) * amplitudes * _EXACT_AMPLITUDE_S


def split(index: int, request: Request, most_circuits: int | None = None) -> Iterator[Bundle]:
    """Yield the bundles of one request, each about `TARGET_S` of work, or of so many circuits."""
    circuits = request.fragment.num_subexperiments
    rows = len(request.angles)
    run = request.subexperiments
    if not run:
        return
    # Of a batch's grid of parameter sets and subexperiments only those with shots take time.
    filled = run / (rows * circuits)
    if most_circuits is None:
        cell_s = predicted_s(request.fragment, request.total_shots / run) * filled
        most = max(1, round(TARGET_S / cell_s))
    else:
        most = max(1, round(most_circuits / filled))
    # Even pieces: a small last bundle would only wait for its dispatch.
    row_blocks = _even(rows, max(1, most // circuits))
    part_blocks = _even(circuits, most)
    number = 0
    for first_row, last_row in row_blocks:
        for first, last in part_blocks:
            yield Bundle(index, number, slice(first_row, last_row), slice(first, last))
            number += 1


def _even(size: int, most: int) -> list[tuple[int, int]]:
    pieces = ceil(size / most)
    edges = [size * k // pieces for k in range(pieces + 1)]
    return list(pairwise(edges))


def predicted_s(fragment: Fragment, shots: float) -> float:
    """Return the rough cost of one of the fragment's subexperiments, in seconds."""
    gates = sum(not isinstance(step, Site) for step in fragment.steps)
    width = fragment.width + len(fragment.sites) / 2  # with the ancillas of half the sites
    copies = max(1.0, _SHARED_WIDTH / width)
    shot_s = _SHOT_S + _SHOT_BIT_S * width * copies
    amplitudes = 2.0 ** min(width * copies, 60.0)
    circuit_s = _CIRCUIT_S + shots * shot_s + gates * copies * amplitudes * _GATE_AMPLITUDE_S
    return circuit_s / copies


def seed_of(seed: np.random.SeedSequence, bundle: Bundle) -> int:
    """Spawn a bundle's seed; Aer counts circuits up from it, so seeds must be far apart."""
    key = (*seed.spawn_key, bundle.fragment, bundle.number)
    child = np.random.SeedSequence(seed.entropy, spawn_key=key)
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
