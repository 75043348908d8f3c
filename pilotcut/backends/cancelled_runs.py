"""Runs of one template with its noise cancelled: shots dealt over circuits that are drawn.

The circuit with nothing put in has most of the weight, and gets its share of the shots for
certain; circuits with something are drawn for the rest (stratified sampling), each subexperiment
its own, so that errors of subexperiments are independent. Equal circuits are run together. What
differs from draw to draw is in the covariances. Refuses to know what is put in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.backends.cancellation import Cancellation
from pilotcut.backends.template_runs import TemplateRun
from pilotcut.cutting.fragment_tensor import Block

#: From so many shots on there are two parts; below, every shot has a circuit of its own draw.
LEAST_IN_PARTS = 8

#: The variance of means from draw to draw, in shares of that of the shots, that is aimed at.
SHARE = 0.2

#: Makes the run of a circuit's terms and shots (rows, settings); the flag says whether it is that
#: with nothing put in.
RunOf = Callable[[np.ndarray, np.ndarray, bool], TemplateRun]


@dataclass(frozen=True, eq=False)
class Deal:
    """How the shots of subexperiments are dealt, each array (subexperiments,).

    Parameters
    ----------
    certain
        Shots with nothing put in.
    samples, each
        Circuits that are drawn, and the shots of each.
    weights
        What the drawn ones count, on average.
    parts
        Whether what is drawn has something put in for certain.
    """

    certain: np.ndarray
    samples: np.ndarray
    each: np.ndarray
    weights: np.ndarray
    parts: np.ndarray

    @classmethod
    def of(cls, shots: np.ndarray, overhead: float, kept: float, most: int) -> Deal:
        """Return it for shots (subexperiments,), of at most so many circuits drawn for each.

        Examples
        --------
        >>> deal = Deal.of(np.array([10_000, 4, 0]), 1.2, 1.1, 200)
        >>> deal.samples.tolist(), deal.each.tolist(), deal.certain.tolist()
        ([200, 4, 0], [4, 1, 1], [9200, 0, 0])
        """
        rest = overhead - kept
        if not rest:  # no noise to undo
            nothing = np.zeros_like(shots)
            return cls(shots, nothing, nothing + 1, nothing.astype(float), shots > 0)
        parts = shots >= LEAST_IN_PARTS
        share = np.clip(np.round(shots * rest / overhead), 2, np.maximum(2, shots - 2)).astype(int)
        wanted = np.ceil(rest**2 * shots / (SHARE * overhead**2)).astype(int)
        samples = np.clip(wanted, 2, np.minimum(share, most))
        each = np.where(parts, share // samples, 1)
        samples = np.where(parts, samples, shots)
        certain = shots - samples * each
        return cls(certain, samples, each, np.where(parts, rest, overhead), parts)


class CancelledRun:
    """Some settings of one template, with the noise of their gates cancelled.

    Parameters
    ----------
    cancellation
        Of the template's circuit.
    shots
        (rows, settings).
    most
        Circuits that are drawn for a subexperiment, at most.
    run_of
        Makes runs of circuits.
    rng
        Draws.

    Attributes
    ----------
    runs
        All runs; their blocks go to `block`.
    """

    def __init__(
        self,
        cancellation: Cancellation,
        shots: np.ndarray,
        most: int,
        run_of: RunOf,
        rng: np.random.Generator,
    ) -> None:
        self._kept = cancellation.kept
        self._deal = Deal.of(shots.reshape(-1), cancellation.overhead, self._kept, most)
        self._shape = shots.shape
        deal = self._deal
        nothing = np.zeros(len(cancellation.inverses), dtype=np.int16)
        self.shots = [deal.certain.reshape(shots.shape)]
        self.runs = [run_of(nothing, self.shots[0], True)]
        self._times: list[np.ndarray] = []
        self._signs: list[float] = []
        for terms, sign, times in _merged(cancellation, deal, rng):
            self._times.append(times)
            self._signs.append(sign)
            self.shots.append((times * deal.each).reshape(shots.shape))
            self.runs.append(run_of(terms, self.shots[-1], not terms.any()))

    def block(self, blocks: Sequence[Block]) -> Block:
        """Return the runs' blocks as one, without the noise."""
        certain, *others = blocks
        deal, columns = self._deal, certain.means.shape[-1]
        means = np.where(deal.parts, self._kept, 0.0)[:, None] * _flat(certain.means, 1)
        spread = np.where(deal.parts, self._kept**2, 0.0)[:, None, None] * _flat(
            certain.covariances, 2
        )
        first = np.zeros((deal.samples.size, columns))
        second = np.zeros((deal.samples.size, columns, columns))
        for times, sign, one in zip(self._times, self._signs, others, strict=True):
            found = _flat(one.means, 1)
            n = times[:, None, None].astype(float)
            first += sign * times[:, None] * found
            # Draws of equal circuits share their shots: their own spread counts once for each pair.
            second += n * found[:, :, None] * found[:, None, :]
            second += n * (n - 1) * _flat(one.covariances, 2)
        n = np.maximum(deal.samples, 1)[:, None, None]
        first /= n[..., 0]
        between = second / n - first[:, :, None] * first[:, None, :]
        # One draw says nothing about the spread, so 1 is taken, as for one shot.
        drawn = np.where(n > 1, between / np.maximum(n - 1, 1), np.eye(columns))
        # What has no shots at all keeps the variance 1 that it has anywhere.
        silent = (deal.samples == 0) & ~deal.parts
        drawn *= np.where(silent, 1.0, deal.weights)[:, None, None] ** 2
        means = means + deal.weights[:, None] * first
        spread = spread + drawn
        return Block(
            certain.group,
            certain.variants,
            means.reshape(certain.means.shape),
            spread.reshape(certain.covariances.shape),
        )


def _merged(
    cancellation: Cancellation, deal: Deal, rng: np.random.Generator
) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Return each circuit that is drawn: its terms, its sign, how often for each subexperiment."""
    found = []
    for something in (True, False):
        samples = np.where(deal.parts == something, deal.samples, 0)
        owners = np.repeat(np.arange(samples.size), samples)
        if not owners.size:
            continue
        terms, signs = cancellation.drawn(rng, owners.size, something=something)
        unique, places, which = np.unique(terms, axis=0, return_index=True, return_inverse=True)
        which = which.reshape(-1)
        times = np.zeros((len(unique), samples.size), dtype=int)
        np.add.at(times, (which, owners), 1)
        found += list(zip(unique, signs[places].tolist(), times, strict=True))
    return found


def _flat(values: np.ndarray, kept: int) -> np.ndarray:
    """Return values (rows, settings, ...) with rows and settings on one axis."""
    return values.reshape(-1, *values.shape[-kept:])
