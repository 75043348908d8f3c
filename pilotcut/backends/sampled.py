"""Draws from the exact distribution of every physical variant: noiseless counts without circuits.

The statevector engine gives the final states of all branches, and these the joint distribution of
the signs that are measured together, over branch pairs (`pilotcut.backends.sign_tensors`). Every
physical operation at a site is a fixed combination of branch pairs
(`pilotcut.backends.physical_operations`), so the distribution of any variant is a small contraction
away. From it come binomial (one ±1 product) or multinomial (a commuting group) draws: the same
distribution as noiseless counts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from qiskit.quantum_info import Pauli, PauliList

from pilotcut.backends.base import Measurement, Shots, shots_of, templates_in
from pilotcut.backends.cache import Cache
from pilotcut.backends.counts import covariances, products_of_outcomes
from pilotcut.backends.outcomes import StateOutcomes, Tally, outcome_wires
from pilotcut.backends.physical_operations import as_branch_pairs
from pilotcut.backends.sign_tensors import (
    BranchStates,
    MeasuredGroup,
    sign_tensor,
    walsh_hadamard,
)
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.cutting.fragment_tensor import Block
from pilotcut.errors import ObservableError, UserError
from pilotcut.options import counted

if TYPE_CHECKING:  # torch is loaded with the first engine; what draws cost is asked without
    from pilotcut.backends.statevector import StatevectorEngine

#: Numbers that are worked on at once.
MOST_NUMBERS = 2**21

#: Numbers of one fragment's distribution over branch pairs, of signs or of outcomes.
MOST_PROBABILITIES = 2**26

#: Probabilities are multiples of 1 / this: what is less are rounding errors.
GRID = 2.0**42

#: Up to so many bins, or as many as there are shots, binomial draws bin by bin are the quicker way.
FEW_BINS = 128

#: Fragments whose distributions are kept prepared.
CACHED_FRAGMENTS = 64


class SampledBackend:
    """Draws the outcomes of physical variants from their exact distribution.

    Parameters
    ----------
    engine
        Computes the states.
    """

    name = "sampled"

    def __init__(self, engine: StatevectorEngine) -> None:
        self._engine = engine
        self._distributions: Cache[str, _Distribution] = Cache(CACHED_FRAGMENTS)

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Measurement:
        """Draw a part of the fragment's subexperiments; see `Backend.run`."""
        started = perf_counter()
        distribution = self._distribution(fragment)
        rng = np.random.default_rng(seed)
        templates = [
            (template, shots_of(shots, len(angles), place))
            for template, place in templates_in(fragment, part)
        ]
        rows = distribution.rows_at_once(self._engine.rows_at_once(distribution.observed))
        found = [
            distribution.blocks(
                self._engine.branch_states(distribution.observed, angles[some]),
                [(template, each[some]) for template, each in templates],
                rng,
            )
            for some in _chunks(len(angles), rows)
        ]
        blocks = tuple(map(_joined, zip(*(some for some, _ in found), strict=True)))
        reduce_s = sum(seconds for _, seconds in found)
        return Measurement(blocks, perf_counter() - started - reduce_s, reduce_s)

    def tally(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Tally:
        """Draw the final bits of a part of the subexperiments; see `Backend.tally`."""
        distribution = self._distribution(fragment)
        wires = outcome_wires(fragment)
        _check_size(fragment, len(wires))
        groups = self._engine.outcomes(distribution.observed, angles, wires)
        coherent = _whole_tensor(groups, wires, len(distribution.observed.sites))
        rng = np.random.default_rng(seed)
        found = [
            distribution.tally(
                template, chosen, coherent[None], shots_of(shots, 1, place)[0, chosen], rng
            )
            for template, place in templates_in(fragment, part)
            for chosen in _chunks(len(template.variants), MOST_NUMBERS // (2 * len(coherent)))
        ]
        return Tally.joined(found)

    def _distribution(self, fragment: Fragment) -> _Distribution:
        known = self._distributions.get(fragment.fingerprint, lambda: _Distribution(fragment))
        return known.of(fragment)


def observed(fragment: Fragment) -> Fragment:
    """Return the fragment as its states are asked for: with Z on all wires that are observed."""
    # Every variant is a combination of branch pairs, so one tensor serves whichever are listed.
    whole = fragment.listing(None).separated()
    seen = (fragment.observables.x | fragment.observables.z).any(axis=0)
    letters = PauliList(Pauli((seen, np.zeros_like(seen))))
    return replace(whole, observables=letters, groups=())


def measured_groups(fragment: Fragment) -> list[MeasuredGroup]:
    """Return each group of a fragment's sub-observables as parities of what is measured."""
    return [MeasuredGroup.of(fragment.observables[list(some)]) for some in fragment.groups]


class _Distribution:
    """Distribution of a fragment's signs: parities of bits, operations as branches."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        self._variants, self._choices = np.zeros((0, 1), dtype=int), np.zeros((0, 0), dtype=int)
        self._groups = measured_groups(fragment)
        self._check_signs()
        self.observed = observed(fragment)
        self._to_operations = {
            signed: [as_branch_pairs(site, signed) for site in fragment.sites]
            for signed in (False, True)
        }

    def of(self, fragment: Fragment) -> _Distribution:
        """Return it for the variants that are listed of its fragment, each time others."""
        one = copy.copy(self)
        one._variants, one._choices = fragment.outcome_variants, fragment.choices
        return one

    @property
    def _pairs(self) -> int:
        return prod(site.rank**2 for site in self.fragment.sites)

    def _check_signs(self) -> None:
        """Raise `ObservableError` where signs are too many numbers over branch pairs."""
        most = max((len(group.parities) for group in self._groups), default=0)
        if self._pairs << most > MOST_PROBABILITIES:
            raise ObservableError(
                f"{most} independent Paulis are measured together on fragment "
                f"{self.fragment.label} with {counted(len(self.fragment.sites), 'site')}: a "
                f"distribution of {float(self._pairs << most):.3g} numbers, expected at most "
                f"{MOST_PROBABILITIES:.3g} in sampled mode; use mode='counts'"
            )

    def rows_at_once(self, states: int) -> int:
        """Return how many parameter sets are drawn together, of so many whose states fit."""
        most = max((group.bins for group in self._groups), default=1)
        return max(1, min(states, MOST_NUMBERS // (self._pairs * most)))

    def blocks(
        self,
        states: Sequence[BranchStates],
        templates: Sequence[tuple[Template, np.ndarray]],
        rng: np.random.Generator,
    ) -> tuple[list[Block], float]:
        """Draw templates' variants with shots (rows, variants) each, and reduce what was found.

        Returns the blocks, and the seconds that reducing took.
        """
        found: list[Block] = []
        reduce_s = 0.0
        for group, some in groupby(templates, lambda both: both[0].group):
            # All of a group at once: beginnings of variants are shared by templates.
            own = list(some)
            variants = np.concatenate([template.variants for template, _ in own])
            shots = np.concatenate([each for _, each in own], axis=1)
            coherent = sign_tensor(states, self._groups[group])
            numbers = 2 * self.fragment.outcomes * coherent.shape[0] * coherent.shape[1]
            parts = []
            for few in _chunks(len(variants), MOST_NUMBERS // numbers):
                counts = self._drawn(variants[few], coherent, shots[:, few], rng)
                started = perf_counter()
                parts.append(self._reduced(group, counts, shots[:, few]))
                reduce_s += perf_counter() - started
            means, spreads = (np.concatenate(one, axis=1) for one in zip(*parts, strict=True))
            edges = np.cumsum([len(template.variants) for template, _ in own])[:-1]
            found += [
                Block(group, template.variants, *both)
                for (template, _), *both in zip(
                    own,
                    np.split(means, edges, axis=1),
                    np.split(spreads, edges, axis=1),
                    strict=True,
                )
            ]
        return found, reduce_s

    def _drawn(
        self,
        settings: np.ndarray,
        coherent: np.ndarray,
        shots: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return how often each outcome of some settings came.

        (rows, settings, outcomes, signs, bins): what is found at the ends of wires that are cut
        together, the sign of measurements if there can be any, and the parities of the group.
        """
        probabilities = self._probabilities(self._all_choices(settings), coherent)
        # Outcomes of wires that are cut together are found by the same shots.
        shape = (*shots.shape, self.fragment.outcomes, *probabilities.shape[2:])
        return drawn(probabilities.reshape(*shots.shape, -1), shots, rng).reshape(shape)

    def _reduced(
        self, group: int, counts: np.ndarray, shots: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return means (rows, settings, g) and covariances of g each, of counts as drawn."""
        frequency = counts / np.maximum(shots, 1)[..., None, None, None]
        members = self._groups[group].members
        signed = frequency[..., 0, :]
        if frequency.shape[-2] > 1:
            signed = signed - frequency[..., 1, :]
        means = np.moveaxis(walsh_hadamard(signed)[..., members], 2, -1)
        # The product of two members' signs is that of the symmetric difference of their subsets;
        # the sign of the measurements appears twice in it.
        pairs = members[:, None] ^ members[None, :]
        products = np.moveaxis(walsh_hadamard(frequency.sum(axis=-2))[..., pairs], 2, -1)
        flat = means.reshape(*shots.shape, -1)
        return flat, covariances(flat, products_of_outcomes(products), shots)

    def _probabilities(self, choices: np.ndarray, coherent: np.ndarray) -> np.ndarray:
        """Return probabilities (rows, variants, signs, bins), up to rounding.

        The sign of the measurements is +1 first; without any site there is none.
        """
        # p(s, sign) = (u(s) ± v(s)) / 2, u without the measurements' signs and v with them, which
        # are the same where nothing is measured.
        total = self._expectations(choices, coherent, signed=False)
        if not choices.shape[1]:
            return total[:, :, None]
        signed = self._expectations(choices, coherent, signed=True)
        return np.stack([total + signed, total - signed], axis=2) / 2

    def _all_choices(self, settings: np.ndarray) -> np.ndarray:
        """Return the operations of all variants of some settings, (settings x outcomes, sites)."""
        return self._choices[self._variants[settings].reshape(-1)]

    def tally(
        self,
        template: Template,
        chosen: slice,
        coherent: np.ndarray,
        shots: np.ndarray,
        rng: np.random.Generator,
    ) -> Tally:
        """Draw final bits with their signs for some of a template's variants.

        Parameters
        ----------
        template, chosen
            The variants.
        coherent
            (1, 2^wires, *R^2): the outcome tensor in the coherent basis.
        shots
            (settings chosen,).
        rng
            Where the draws come from.
        """
        settings = template.variants[chosen]
        probabilities = self._probabilities(self._all_choices(settings), coherent)[0]
        flat = probabilities.reshape(1, len(settings), -1)
        counts = drawn(flat, shots[None], rng).reshape(len(probabilities), -1)
        variant, outcome = np.nonzero(counts)
        half = coherent.shape[1]
        wires = half.bit_length() - 1
        bits = (outcome[:, None] >> np.arange(wires) & 1).astype(np.uint8)
        share = counts[variant, outcome] / shots[variant // (len(counts) // len(settings))]
        signs = np.where(outcome < half, 1, -1)
        return Tally(self._variants[settings].reshape(-1)[variant], bits, signs * share, share)

    def _expectations(self, choices: np.ndarray, coherent: np.ndarray, signed: bool) -> np.ndarray:
        """Return (rows, variants, bins) of (rows, bins, *R^2), the operations in place of pairs.

        Parameters
        ----------
        choices
            (variants, sites): the operations.
        signed
            Whether outcomes of the sites' measurements count with their signs.
        """
        rows, bins = coherent.shape[:2]
        # Site by site, for each beginning of a variant once: (rows, beginnings, pairs, rest).
        value = np.moveaxis(coherent, 1, -1).reshape(rows, 1, -1)
        begun = np.zeros(len(choices), dtype=int)
        for column, matrices in zip(choices.T, self._to_operations[signed], strict=True):
            used, place = np.unique(column, return_inverse=True)
            split = value.reshape(rows, value.shape[1], matrices.shape[1], -1)
            value = (matrices[used] @ split).reshape(rows, -1, split.shape[-1])
            kept, begun = np.unique(begun * len(used) + place.reshape(-1), return_inverse=True)
            if len(kept) < value.shape[1]:
                value = value[:, kept]
        return value[:, begun].real.reshape(rows, len(choices), bins)


def drawn(probabilities: np.ndarray, shots: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how often each bin came, (rows, variants, bins), for shots (rows, variants)."""
    # Of 0 numpy draws no random number, and up to 1/2 in another way than above: without a grid all
    # later draws would depend on how the states were rounded.
    grid = np.rint(probabilities * GRID)
    # numpy refuses probabilities that add up to more than 1, if only by rounding.
    shares = grid / grid.sum(axis=-1, keepdims=True)
    if shares.shape[-1] <= max(FEW_BINS, shots.max(initial=0)):
        return rng.multinomial(shots, shares)
    # Where shots are few, each is looked up among the bins.
    edges = shares.cumsum(axis=-1)
    counts = np.empty(shares.shape, dtype=np.int64)
    last = shares.shape[-1] - 1
    for place, number in np.ndenumerate(shots):
        found = np.searchsorted(edges[place], rng.random(number), side="right")
        counts[place] = np.bincount(np.minimum(found, last), minlength=last + 1)
    return counts


def _joined(blocks: Sequence[Block]) -> Block:
    """Return blocks of a template's variants as one, for the rows of all."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    means = np.concatenate([block.means for block in blocks])
    spreads = np.concatenate([block.covariances for block in blocks])
    return Block(first.group, first.variants, means, spreads)


def _check_size(fragment: Fragment, wires: int) -> None:
    """Raise `UserError` where a fragment's outcomes are too many numbers over branch pairs."""
    entries = prod(site.rank**2 for site in fragment.sites) << wires
    if entries > MOST_PROBABILITIES:
        raise UserError(
            f"fragment {fragment.label} has an outcome distribution of {entries:.3g} numbers for "
            f"{counted(wires, 'qubit')} and {counted(len(fragment.sites), 'site')}, expected "
            f"at most {MOST_PROBABILITIES:.3g} in sampled mode; use mode='counts' or 'exact', or "
            f"cut into smaller fragments"
        )


def _whole_tensor(groups: Sequence[StateOutcomes], wires: Sequence[int], sites: int) -> np.ndarray:
    """Return a fragment's outcome tensor (2^wires, *R^2 of each site), the groups multiplied."""
    tensor, axes = np.ones(()), list[tuple[str, int]]()
    for group in groups:
        own = group.tensor(group.wires, (), np.zeros((1, 0)))[0]
        bits = own.reshape(*[2] * len(group.wires), *group.site_shape)
        tensor = np.multiply.outer(tensor, bits)
        axes += [("wire", w) for w in reversed(group.wires)] + [("site", s) for s in group.sites]
    order = [axes.index(("wire", w)) for w in reversed(wires)]
    order += [axes.index(("site", s)) for s in range(sites)]
    ordered = tensor.transpose(order)
    return ordered.reshape(1 << len(wires), *ordered.shape[len(wires) :])


def _chunks(size: int, most: int) -> list[slice]:
    step = max(1, most)
    return [slice(first, first + step) for first in range(0, size, step)]
