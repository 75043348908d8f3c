"""Sampled terms: joint terms of all cuts drawn by weight, where all of them are too many.

A value is ``sum_ij... C_ij ... prod_f T_f``, one term for a choice at every bond, 6^cuts of
them for CX gates, over fragments with 5^sites variants. Terms that would be drawn at least
once in N are taken exactly, and N of the rest are drawn in proportion to ``|C_ij ...|``; the
signed average of their products, times the weight of the rest, completes an unbiased
estimate (arXiv:1909.07534) from a few variants a fragment. A variant that several terms have
is measured once: a product takes one factor a fragment, and fragments are independent, so
this biases nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan

#: Rest terms are drawn in rounds, at most so many, where most draws are taken exactly anyway.
MOST_ROUNDS = 20

#: With fewer draws than this the spread of the rest is not trusted: its weight is its error.
LEAST_DRAWS = 8


@dataclass(frozen=True)
class TermSample:
    """Terms of one parameter set; stands in for a `Contraction`.

    Parameters
    ----------
    plan
        The plan, its fragments with the variants of these terms only.
    variants
        For each fragment, integer array (terms,): which of its variants a term has.
    weights
        (terms,): what a term's product counts with; the sum is the value.
    exact
        How many of them, the first, are not drawn.
    rest
        Sum of the absolute weights of all terms that are not among these.
    """

    plan: CutPlan
    variants: tuple[np.ndarray, ...]
    weights: np.ndarray
    exact: int
    rest: float

    @classmethod
    def draw(
        cls, plan: CutPlan, bonds: Sequence[np.ndarray], num_samples: int, rng: np.random.Generator
    ) -> TermSample:
        """Draw terms for one parameter set.

        Parameters
        ----------
        plan
            The plan; which variants it lists does not matter.
        bonds
            The bond matrices, (d0, d1) each.
        num_samples
            N: terms of a share of at least 1/N are exact, and up to N others are drawn.
        """
        flat = [bond.reshape(-1) for bond in bonds]
        size = float(np.prod([np.abs(c).sum() for c in flat]))
        shares = [np.abs(c) / np.abs(c).sum() for c in flat]
        heavy = _heavy(shares, 1 / num_samples)
        share = _product(shares, heavy)
        left = max(0.0, 1.0 - float(share.sum()))
        drawn = heavy[:0]
        # What rounding alone has left over is nothing to draw from.
        if left > 1e-12:
            drawn = _drawn(shares, num_samples, rng)
        else:
            left = 0.0
        terms = np.concatenate([heavy, drawn])
        signs = reduce(np.multiply, (np.sign(c)[t] for c, t in zip(flat, terms.T, strict=True)), 1)
        each = np.concatenate([share, np.full(len(drawn), left / max(1, len(drawn)))])
        listed, variants = _variants(plan, bonds, terms)
        fragments = tuple(f.listing(v) for f, v in zip(plan.fragments, listed, strict=True))
        weights = size * each * signs
        return cls(replace(plan, fragments=fragments), variants, weights, len(heavy), size * left)

    def operands(
        self, tensors: Sequence[FragmentTensor], bonds: Sequence[np.ndarray] = ()
    ) -> list[np.ndarray]:
        """Return arrays (1, Paulis, variants) of fragments; weights stand for the bonds."""
        return [t.values[:, self.plan.term_index[:, f]] for f, t in enumerate(tensors)]

    def values_and_environments(
        self, operands: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return (1, Paulis) values and, shaped as each operand, d value / d operand."""
        factors = self._factors(operands)
        # Products from both ends, as a factor may be 0 and cannot be divided out of the whole.
        before = [np.broadcast_to(self.weights, factors[0].shape)]
        for factor in factors[:-1]:
            before.append(before[-1] * factor)
        value = (before[-1] * factors[-1]).sum(axis=1)
        environments = [np.empty_like(operand) for operand in operands]
        after = np.ones_like(factors[-1])
        for f in reversed(range(len(factors))):
            for total, one in zip(environments[f][0], before[f] * after, strict=True):
                total[:] = np.bincount(self.variants[f], weights=one, minlength=len(total))
            after = after * factors[f]
        return value[None], environments

    def variances(self, operands: Sequence[np.ndarray], coefficients: np.ndarray) -> np.ndarray:
        """Return the variance by the draw of the rest, (1, observables).

        From the spread of the drawn products, their own shot noise included, and with room
        for a kind of term that none of the draws was. Errors are rather too large.
        """
        draws = len(self.weights) - self.exact
        most = self.rest * np.abs(coefficients).sum(axis=1)
        if draws < LEAST_DRAWS:
            return most[None] ** 2
        products = np.prod(self._factors(operands), axis=0)[:, self.exact :]
        signed = coefficients @ (np.sign(self.weights[self.exact :]) * products)
        spread = self.rest**2 * signed.var(axis=1, ddof=1) / draws
        return (spread + (2 * most / draws) ** 2)[None]

    def _factors(self, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the fragments' expectations in every term, (Paulis, terms) each."""
        return [
            operand[0][:, variants]
            for operand, variants in zip(operands, self.variants, strict=True)
        ]


def _heavy(shares: Sequence[np.ndarray], least: float) -> np.ndarray:
    """Return all terms (terms, bonds) whose share, a product over bonds, is at least `least`."""
    most = [share.max() for share in shares]
    terms, products = np.zeros((1, 0), dtype=np.int32), np.ones(1)
    for bond, share in enumerate(shares):
        # The largest share that this beginning can still become, so nothing that is left out is
        # heavy.
        reachable = float(np.prod(most[bond + 1 :]))
        extended = products[:, None] * share
        kept, entry = np.nonzero(extended * reachable >= least * (1 - 1e-9))
        terms = np.column_stack([terms[kept], entry])
        products = extended[kept, entry]
    return terms


def _product(shares: Sequence[np.ndarray], terms: np.ndarray) -> np.ndarray:
    product = np.ones(len(terms))
    for bond, share in enumerate(shares):
        product = product * share[terms[:, bond]]
    return product


def _drawn(shares: Sequence[np.ndarray], number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to `number` terms by share among those with a share below 1/number.

    Where each bond has one entry that is nearly certain, nearly all draws would be the term
    of those entries. So the first bond that leaves its own is drawn first, then the others.
    """
    if np.prod([share.max() for share in shares]) < 1 / number:
        propose = _propose
    else:
        propose = _propose_a_departure
    found: list[np.ndarray] = []
    count = 0
    for _ in range(MOST_ROUNDS):
        terms = propose(shares, number, rng)
        # The margin is that of `_heavy`: another one would take a term of just this share twice or
        # never.
        light = terms[_product(shares, terms) < (1 - 1e-9) / number]
        found.append(light)
        count += len(light)
        if count >= number:
            break
    return np.concatenate(found)[:number]


def _propose(shares: Sequence[np.ndarray], number: int, rng: np.random.Generator) -> np.ndarray:
    columns = [rng.choice(len(share), number, p=share) for share in shares]
    return np.stack(columns, axis=1)


def _propose_a_departure(
    shares: Sequence[np.ndarray], number: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw terms that are not the one of all largest entries."""
    certain = np.array([share.max() for share in shares])
    stay = np.concatenate([[1.0], np.cumprod(certain)[:-1]])
    leave = stay * np.array([np.delete(s, s.argmax()).sum() for s in shares])
    first = rng.choice(len(shares), number, p=leave / leave.sum())
    terms = _propose(shares, number, rng)
    for bond, share in enumerate(shares):
        terms[first > bond, bond] = share.argmax()
        here = np.flatnonzero(first == bond)
        if len(here):
            others = share.copy()
            others[share.argmax()] = 0.0
            terms[here, bond] = rng.choice(len(share), len(here), p=others / others.sum())
    return terms


def _variants(
    plan: CutPlan, bonds: Sequence[np.ndarray], terms: np.ndarray
) -> tuple[list[np.ndarray], tuple[np.ndarray, ...]]:
    """Return each fragment's distinct variants (variants, sites), and which one a term has."""
    choices = [np.zeros((len(terms), len(f.sites)), dtype=np.int32) for f in plan.fragments]
    for bond, matrix, entry in zip(plan.bonds, bonds, terms.T, strict=True):
        for (fragment, axis), side in zip(
            bond.ends, np.unravel_index(entry, matrix.shape), strict=True
        ):
            choices[fragment][:, axis] = side
    distinct = [np.unique(c, axis=0, return_inverse=True) for c in choices]
    return [d[0] for d in distinct], tuple(d[1].reshape(-1) for d in distinct)
