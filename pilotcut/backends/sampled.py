"""Draws from the exact distribution of every physical variant: noiseless counts without circuits.

The statevector engine gives the fragment's tensor in the coherent basis. Every physical operation
at a site is a fixed combination of branch pairs (`pilotcut.backends.physical_operations`), so the
expectation of any variant is a small contraction away, also of products of sub-observables that
are measured together. From these the joint distribution of their signs follows by a
Walsh-Hadamard transform, and from that binomial (one ±1 product) or multinomial (a commuting
group) draws: the same distribution as noiseless counts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from time import perf_counter

import numpy as np
from qiskit.quantum_info import PauliList

from pilotcut.backends.base import Measurement, Shots, shots_of, templates_in
from pilotcut.backends.cache import Cache
from pilotcut.backends.counts import covariances, products_of_outcomes
from pilotcut.backends.outcomes import StateOutcomes, Tally, outcome_wires
from pilotcut.backends.physical_operations import as_branch_pairs
from pilotcut.backends.statevector import StatevectorEngine
from pilotcut.circuits.observables import independent_rows
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.cutting.fragment_tensor import Block
from pilotcut.errors import ObservableError, UserError
from pilotcut.options import counted

#: Independent signs of one group; their distribution has 2^this outcomes.
MOST_SIGNS = 14

#: Numbers that are worked on at once.
MOST_NUMBERS = 2**22

#: Numbers of one fragment's outcome distribution over branch pairs.
MOST_PROBABILITIES = 2**26

#: Fragments whose distributions are kept prepared.
CACHED_FRAGMENTS = 64


class SampledBackend:
    """Draws the outcomes of physical variants from their exact distribution.

    Parameters
    ----------
    engine
        Computes the distributions.
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
        coherent = self._engine.values(distribution.extended, angles)
        rng = np.random.default_rng(seed)
        templates = [
            (template, shots_of(shots, len(angles), place))
            for template, place in templates_in(fragment, part)
        ]
        drawn = [distribution.draw(template, coherent, some, rng) for template, some in templates]
        ran = perf_counter()
        blocks = tuple(
            distribution.block(template, counts, some)
            for (template, some), counts in zip(templates, drawn, strict=True)
        )
        return Measurement(blocks, ran - started, perf_counter() - ran)

    def tally(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Tally:
        """Draw the final bits of a part of the subexperiments; see `Backend.tally`."""
        distribution = self._distribution(fragment)
        wires = outcome_wires(fragment)
        _check_size(fragment, len(wires))
        groups = self._engine.outcomes(distribution.extended, angles, wires)
        coherent = _whole_tensor(groups, wires, len(distribution.extended.sites))
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


@dataclass(frozen=True)
class _Signs:
    """The signs of one group in one kind of template, over independent ones.

    Parameters
    ----------
    members
        Integer array (g,): each member's sign as a subset of the independent signs, bit k
        for the k-th.
    observable
        Integer array (2^r,): the extended observable that is the product of each subset.
    signed
        Boolean (2^r,): whether that product takes the measurements' signs.
    """

    members: np.ndarray
    observable: np.ndarray
    signed: np.ndarray

    @cached_property
    def hadamard(self) -> np.ndarray:
        """(-1)^(u.s) for subsets u and outcomes s, (2^r, 2^r)."""
        size = np.arange(len(self.observable))
        return 1.0 - 2.0 * (np.bitwise_count(size[:, None] & size[None, :]) & 1)


def extended(fragment: Fragment) -> Fragment:
    """Return the fragment with all products of sub-observables that a draw needs."""
    return _Distribution(fragment).extended


class _Distribution:
    """Distribution of a fragment's signs: products of sub-observables, operations as branches."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        self._variants, self._choices = np.zeros((0, 1), dtype=int), np.zeros((0, 0), dtype=int)
        self._products: dict[bytes, int] = {}
        self._signs = {
            (group, any_measured): self._independent(members, any_measured)
            for group, members in enumerate(fragment.groups)
            for any_measured in ((False, True) if fragment.sites else (False,))
        }
        width = fragment.num_wires
        both = np.array([np.frombuffer(key, dtype=bool) for key in self._products])
        observables = PauliList.from_symplectic(both[:, width:], both[:, :width])
        # Every variant is a combination of branch pairs, so one tensor serves whichever are listed.
        whole = fragment.listing(None).separated()
        self.extended = replace(whole, observables=observables, groups=())
        self._signed = [not site.states for site in fragment.sites]
        self._to_operations = {
            signed: [as_branch_pairs(site, signed) for site in fragment.sites]
            for signed in (False, True)
        }

    def of(self, fragment: Fragment) -> _Distribution:
        """Return it for the variants that are listed of its fragment, each time others."""
        one = copy.copy(self)
        one._variants, one._choices = fragment.outcome_variants, fragment.choices
        return one

    def _independent(self, group: Sequence[int], measured: bool) -> _Signs:
        """Find independent signs that make up the members' signs, over GF(2)."""
        members = self.fragment.observables[list(group)]
        letters = np.hstack([members.x, members.z])
        vectors = np.hstack([letters, np.full((len(letters), 1), measured)])
        basis, subsets = independent_rows(vectors)
        if len(basis) > MOST_SIGNS:
            raise ObservableError(
                f"{len(basis)} independent Paulis are measured together on fragment "
                f"{self.fragment.label}, expected at most {MOST_SIGNS} in sampled mode; use "
                f"mode='counts'"
            )
        combined = [np.zeros(vectors.shape[1], dtype=bool)]
        for vector in vectors[basis]:  # subset u = low bits already listed, plus this vector
            combined += [other ^ vector for other in combined]
        return _Signs(
            members=np.array(subsets),
            observable=np.array([self._product(v[:-1]) for v in combined]),
            signed=np.array([v[-1] for v in combined]),
        )

    def _product(self, letters: np.ndarray) -> int:
        return self._products.setdefault(letters.tobytes(), len(self._products))

    def draw(
        self, template: Template, coherent: np.ndarray, shots: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return how often each outcome came, (rows, settings, outcomes, 2^r).

        The last axis is over the independent signs, that before it over what is found at the ends
        of wires that are cut together.
        """
        signs = self._signs_of(template)
        choices = self._all_choices(template.variants)
        expectation = np.empty((len(coherent), len(choices), len(signs.observable)))
        for signed in (False, True):
            columns = np.flatnonzero(signs.signed == signed)
            if len(columns):
                one = self._expectations(choices, coherent, signed)
                expectation[..., columns] = one[..., signs.observable[columns]]
        # E_u = sum_s p(s) (-1)^(u.s) over outcomes s, for every subset u of the signs: inverted,
        # p(s) = 2^-r sum_u (-1)^(u.s) E_u. Rounding leaves numbers just below 0.
        probabilities = np.clip(expectation @ signs.hadamard / len(signs.observable), 0.0, None)
        flat = probabilities.reshape(len(coherent), len(template.variants), -1)
        # numpy refuses probabilities that add up to more than 1, if only by rounding.
        counts = rng.multinomial(shots, flat / flat.sum(axis=-1, keepdims=True))
        return counts.reshape(*flat.shape[:2], -1, len(signs.observable))

    def _signs_of(self, template: Template) -> _Signs:
        measured = any(m for m, one in zip(template.measured, self._signed, strict=True) if one)
        return self._signs[template.group, measured]

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
        # p(x, sign) = (u(x) ± s(x)) / 2, u without the measurements' signs and s with them.
        settings = template.variants[chosen]
        choices = self._all_choices(settings)
        total = self._expectations(choices, coherent, signed=False)[0]
        signed = self._expectations(choices, coherent, signed=True)[0]
        probabilities = np.clip(np.concatenate([total + signed, total - signed], axis=1), 0.0, None)
        flat = probabilities.reshape(len(settings), -1)
        counts = rng.multinomial(shots, flat / flat.sum(axis=1, keepdims=True))
        counts = counts.reshape(probabilities.shape)
        variant, outcome = np.nonzero(counts)
        half = coherent.shape[1]
        wires = half.bit_length() - 1
        bits = (outcome[:, None] >> np.arange(wires) & 1).astype(np.uint8)
        share = counts[variant, outcome] / shots[variant // (len(counts) // len(settings))]
        signs = np.where(outcome < half, 1, -1)
        return Tally(self._variants[settings].reshape(-1)[variant], bits, signs * share, share)

    def _expectations(self, choices: np.ndarray, coherent: np.ndarray, signed: bool) -> np.ndarray:
        """Return exact expectations (rows, variants, extended observables)."""
        rows, observables = coherent.shape[:2]
        flat = coherent.reshape(rows, observables, 1, -1)
        size = max(1, MOST_NUMBERS // flat.size)
        parts = []
        for first in range(0, len(choices), size):
            some = choices[first : first + size]
            value = flat
            for axis, matrices in enumerate(self._to_operations[signed]):
                pairs = matrices[some[:, axis]]  # (variants, R^2)
                split = value.reshape(*value.shape[:3], pairs.shape[1], -1)
                value = np.einsum("rovpk,vp->rovk", split, pairs)
            value = np.broadcast_to(value, (rows, observables, len(some), 1))
            parts.append(value[..., 0].real.transpose(0, 2, 1))
        return np.concatenate(parts, axis=1)

    def block(self, template: Template, counts: np.ndarray, shots: np.ndarray) -> Block:
        """Reduce outcome counts, as `draw` returns them, to means and covariances."""
        signs = self._signs_of(template)
        frequency = counts / np.maximum(shots, 1)[..., None, None]
        means = frequency @ signs.hadamard[:, signs.members]
        pairs = signs.members[:, None] ^ signs.members[None, :]
        # The product of two members' signs is that of the symmetric difference of their subsets.
        products = frequency @ signs.hadamard[:, pairs.reshape(-1)]
        products = np.moveaxis(products, 2, -1)
        products = products.reshape(*means.shape[:2], *pairs.shape, means.shape[2])
        flat = np.moveaxis(means, 2, -1).reshape(*means.shape[:2], -1)
        spread = covariances(flat, products_of_outcomes(products), shots)
        return Block(template.group, template.variants, flat, spread)


def _check_size(fragment: Fragment, wires: int) -> None:
    """Raise `UserError` where a fragment's outcomes are too many numbers over branch pairs."""
    entries = prod(site.rank**2 for site in fragment.sites) << wires
    if entries > MOST_PROBABILITIES:
        raise UserError(
            f"fragment {fragment.label} has an outcome distribution of {entries:.3g} numbers for "
            f"{counted(wires, 'qubit')} and {counted(len(fragment.sites), 'site')}, expected at "
            "most "
            f"{MOST_PROBABILITIES:.3g} in sampled mode; use mode='counts' or 'exact', or cut into "
            f"smaller fragments"
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
