"""Runs of one template: settings packed into circuits, and their counts as means and covariances.

Refuses to know who runs the circuits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pilotcut.backends.base import Shots
from pilotcut.backends.counts import (
    bits_of,
    by_outcome,
    covariances,
    parities,
    products_of_outcomes,
)
from pilotcut.backends.outcomes import Tally, numbers
from pilotcut.backends.packing import Pack, packs_of
from pilotcut.backends.readout import BitWeights
from pilotcut.backends.template_circuits import TemplateCircuit
from pilotcut.backends.weighted_counts import moments
from pilotcut.cutting.fragment import Template
from pilotcut.cutting.fragment_tensor import Block


@dataclass(frozen=True)
class Round:
    """The subexperiments that get `shots` shots in one job."""

    shots: int
    digit: bool  # those whose number has this binary digit, else those whose number it is

    def of(self, shots: np.ndarray) -> np.ndarray:
        """Return the flat positions among shots (rows, variants)."""
        flat = shots.reshape(-1)
        return np.flatnonzero(flat & self.shots if self.digit else flat == self.shots)


def rounds_of(shots: Shots) -> list[Round]:
    """Return one round a number of shots, or a binary digit where these are fewer."""
    # Aer takes one number of shots a job, and an optimal allocation has many numbers: 13 shots are
    # then a round of 8, one of 4 and one of 1, whose signs add up.
    numbers = np.unique(shots)
    used = int(np.bitwise_or.reduce(numbers))
    if np.count_nonzero(numbers) <= used.bit_count():
        return [Round(int(number), digit=False) for number in numbers if number]
    return [Round(1 << k, digit=True) for k in range(used.bit_length()) if used >> k & 1]


class TemplateRun:
    """Some variants of one template, for all rows of a work unit.

    Parameters
    ----------
    compiled, template
        The circuit, and the settings to run.
    variants
        (all settings, outcomes): the variants of each.
    shots
        Of each row and setting, (rows, settings).
    """

    def __init__(
        self,
        compiled: TemplateCircuit,
        template: Template,
        variants: np.ndarray,
        shots: np.ndarray,
    ) -> None:
        self._compiled, self._template, self._shots = compiled, template, shots
        self._variants = variants[template.variants]
        masks = compiled.masks
        self._members = len(masks)
        first = compiled.circuit.num_clbits - compiled.found
        # The signs of two commuting members multiply to the parity of the bits not shared; outcomes
        # follow from the signs with each set of their bits.
        signs = [*masks, *(masks[i] ^ masks[j] for i, j in self._pairs())]
        if compiled.found:
            signs.append(0)  # of a member with itself
        self._wanted = [sign ^ some << first for sign in signs for some in range(self._outcomes)]
        self._sums = np.zeros((shots.size, len(self._wanted)))

    @property
    def _outcomes(self) -> int:
        return 1 << self._compiled.found

    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(self._members), 2))

    def packs(self, angles: np.ndarray, one: Round, qubits: int) -> list[Pack]:
        """Return the packs that run a round's (row, variant) pairs, the fullest first."""
        rows, chosen = np.divmod(one.of(self._shots), self._shots.shape[1])
        values = self._compiled.values(angles[rows], self._template.choices[chosen])
        return packs_of(self._compiled, values, qubits)

    def add(
        self, packs: Sequence[Pack], counts: Sequence[list[dict[str, int]]], one: Round
    ) -> None:
        """Add the signs of a round's packs, summed over shots."""
        if packs:
            signs = [self._signs(p, c, one.shots) for p, c in zip(packs, counts, strict=True)]
            self._sums[one.of(self._shots)] += one.shots * np.concatenate(signs)

    def _signs(self, pack: Pack, counts: list[dict[str, int]], shots: int) -> np.ndarray:
        """Return mean signs (subexperiments, wanted), each copy read from its own bits."""
        bits = self._compiled.circuit.num_clbits
        shifted = [mask << (bits * copy) for copy in range(pack.copies) for mask in self._wanted]
        return parities(counts, shifted, shots).reshape(-1, len(self._wanted))

    def tally(
        self, packs: Sequence[Pack], counts: Sequence[list[dict[str, int]]], one: Round
    ) -> Tally | None:
        """Return final bits of a round, with the parity of the signs' bits behind as their sign."""
        if not packs:
            return None
        first, found = 0, []
        settings, shots = one.of(self._shots), self._shots.reshape(-1)
        bits, outputs = self._compiled.circuit.num_clbits, self._compiled.outputs
        behind, last = outputs + self._compiled.signs, bits - self._compiled.found
        for pack, some in zip(packs, counts, strict=True):
            which, outcomes, number = bits_of(some, pack.copies, bits)
            signs = 1 - 2 * (outcomes[:, outputs:behind].sum(axis=1, dtype=int) & 1)
            own = settings[first + which]
            variants = self._variants[own, numbers(outcomes[:, last:])]
            share = number / shots[own]
            found.append(Tally(variants, outcomes[:, :outputs], signs * share, share))
            first += pack.copies * pack.runs
        return Tally.joined(found)

    def block(self) -> Block:
        """Reduce the summed signs to means and covariances."""
        g = self._members
        # What has no shots keeps the estimate 0, and is not divided by them.
        behind = np.maximum(self._shots, 1).reshape(-1, 1)
        signs = (self._sums / behind).reshape(*self._shots.shape, -1, self._outcomes)
        found = by_outcome(signs) if self._compiled.found else signs
        products = np.ones((*self._shots.shape, g, g, self._outcomes))
        if self._compiled.found:
            products[..., range(g), range(g), :] = found[..., -1:, :]
        for k, (i, j) in enumerate(self._pairs()):
            products[..., i, j, :] = products[..., j, i, :] = found[..., g + k, :]
        means = found[..., :g, :].reshape(*self._shots.shape, -1)
        spread = covariances(means, products_of_outcomes(products), self._shots)
        return Block(self._template.group, self._template.variants, means, spread)


class WeightedRun(TemplateRun):
    """The same with a weight for each bit in the place of its sign.

    Parameters
    ----------
    weights
        Of the circuit's bits.
    compiled, template, variants, shots
        As in `TemplateRun`; nothing is packed.
    """

    def __init__(
        self,
        weights: BitWeights,
        compiled: TemplateCircuit,
        template: Template,
        variants: np.ndarray,
        shots: np.ndarray,
    ) -> None:
        super().__init__(compiled, template, variants, shots)
        columns = self._members * self._outcomes
        self._weights = weights
        self._firsts = np.zeros((shots.size, columns))
        self._seconds = np.zeros((shots.size, columns, columns))
        self._slopes = np.zeros((shots.size, weights.number, columns))

    def add(
        self, packs: Sequence[Pack], counts: Sequence[list[dict[str, int]]], one: Round
    ) -> None:
        """Add the weights of a round's packs, summed over shots."""
        if not packs:
            return
        assert all(pack.copies == 1 for pack in packs), "bits of copies have weights of their own"
        flat = [found for some in counts for found in some]
        compiled = self._compiled
        bits = compiled.circuit.num_clbits
        some = moments(flat, bits, compiled.masks, compiled.found, self._weights)
        where = one.of(self._shots)
        self._firsts[where] += some.firsts
        self._seconds[where] += some.seconds
        self._slopes[where] += some.slopes

    def block(self) -> Block:
        """Reduce the sums to means and covariances, with those of the weights themselves."""
        shape, columns = self._shots.shape, self._firsts.shape[1]
        behind = np.maximum(self._shots, 1)[..., None]
        means = self._firsts.reshape(*shape, columns) / behind
        products = self._seconds.reshape(*shape, columns, columns) / behind[..., None]
        slopes = self._slopes.reshape(*shape, -1, columns) / behind[..., None]
        # All settings share the readout's errors; they are taken as each one's own. A value is a
        # sum of settings with both signs, so that comes to about the same.
        spread = covariances(means, products, self._shots) + slopes.swapaxes(-1, -2) @ slopes
        return Block(self._template.group, self._template.variants, means, spread)
