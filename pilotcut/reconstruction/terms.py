"""Sampled terms: joint terms of all cuts drawn by weight, where all of them are too many.

A value is ``sum_ij... C_ij ... prod_f T_f``, one term for a choice at every bond, 6^cuts of
them for CX gates, over fragments with 5^sites variants. Drawing N terms in proportion to
``|C_ij ...|`` and averaging their signed products, times the sum of all weights, is an
unbiased estimate (arXiv:1909.07534) from at most N variants a fragment. A variant that is
drawn again is measured once: products take one factor a fragment, and fragments are
independent, so this biases nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pilotcut.cutting.fragment import FragmentTensor
from pilotcut.cutting.plan import CutPlan


@dataclass(frozen=True)
class TermSample:
    """Terms drawn for every parameter set of a batch; stands in for a `Contraction`.

    Parameters
    ----------
    plan
        The plan, its fragments with the drawn variants only.
    drawn
        For each fragment, integer array (rows, N): which of its variants a term has.
    weights
        (rows, N): what a term's product counts with, the sum of all weights and the sign
        included. Their mean is the value.
    """

    plan: CutPlan
    drawn: tuple[np.ndarray, ...]
    weights: np.ndarray

    @classmethod
    def draw(
        cls,
        plan: CutPlan,
        bonds: Sequence[np.ndarray],
        rows: int,
        num_samples: int,
        rng: np.random.Generator,
    ) -> TermSample:
        """Draw `num_samples` terms a row, independently.

        Parameters
        ----------
        plan
            The plan; which variants it lists does not matter.
        bonds
            The bond matrices, (rows or 1, d0, d1) each.
        rows
            Parameter sets of the batch.
        """
        weights = np.ones((rows, num_samples))
        choices = [
            np.zeros((rows, num_samples, len(f.sites)), dtype=np.int16) for f in plan.fragments
        ]
        for bond, matrix in zip(plan.bonds, bonds, strict=True):
            flat = np.broadcast_to(matrix.reshape(len(matrix), -1), (rows, matrix[0].size))
            term = _draw(np.abs(flat), num_samples, rng)
            size = np.abs(flat).sum(axis=1, keepdims=True)
            weights *= size * np.sign(np.take_along_axis(flat, term, axis=1))
            sides = np.unravel_index(term, matrix.shape[1:])
            for (fragment, axis), operation in zip(bond.ends, sides, strict=True):
                choices[fragment][:, :, axis] = operation
        listed, drawn = zip(*map(_distinct, choices), strict=True)
        fragments = tuple(f.listing(v) for f, v in zip(plan.fragments, listed, strict=True))
        return cls(replace(plan, fragments=fragments), drawn, weights)

    def shots(self, each: int) -> list[np.ndarray]:
        """Return shots (rows, subexperiments) for each fragment: none where nothing was drawn."""
        dealt = []
        for fragment, drawn in zip(self.plan.fragments, self.drawn, strict=True):
            used = np.zeros((len(drawn), fragment.num_variants), dtype=int)
            np.put_along_axis(used, drawn, each, axis=1)
            columns = [used[:, template.variants] for template in fragment.templates]
            dealt.append(np.hstack([used[:, :0], *columns]))
        return dealt

    def operands(
        self, tensors: Sequence[FragmentTensor], bonds: Sequence[np.ndarray] = ()
    ) -> list[np.ndarray]:
        """Return arrays (rows, terms, variants) of fragments; weights stand for the bonds."""
        return [t.values[:, self.plan.term_index[:, f]] for f, t in enumerate(tensors)]

    def values_and_environments(
        self, operands: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return (rows, terms) values and, shaped as each operand, d value / d operand."""
        values = np.empty(operands[0].shape[:2])
        environments = [np.zeros_like(operand) for operand in operands]
        for row, weights in enumerate(self.weights / self.weights.shape[1]):
            factors = self._factors(operands, row)
            before = _products_before(factors, weights)
            values[row] = (before[-1] * factors[-1]).sum(axis=1)
            after = np.ones_like(before[-1])
            for f in reversed(range(len(factors))):
                _add_up(environments[f][row], self.drawn[f][row], before[f] * after)
                after = after * factors[f]
        return values, environments

    def variances(self, operands: Sequence[np.ndarray], coefficients: np.ndarray) -> np.ndarray:
        """Return the variance by the choice of terms, (rows, observables).

        From the spread of the terms' products, whose own shot noise is in it: errors are a
        little too large when a subexperiment has few shots, never too small.
        """
        terms = self.weights.shape[1]
        found = [
            (coefficients @ (weights * np.prod(self._factors(operands, row), axis=0))).var(
                axis=1, ddof=1
            )
            for row, weights in enumerate(self.weights)
        ]
        return np.array(found) / terms

    def _factors(self, operands: Sequence[np.ndarray], row: int) -> list[np.ndarray]:
        """Return the fragments' expectations in every drawn term, (terms, N) each."""
        return [
            operand[row][:, drawn[row]] for operand, drawn in zip(operands, self.drawn, strict=True)
        ]


def _draw(weights: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return (rows, number) columns of `weights` (rows, columns), drawn in proportion."""
    bounds = np.cumsum(weights, axis=1)
    uniform = rng.random((len(weights), number)) * bounds[:, -1:]
    found = [np.searchsorted(b, u, side="right") for b, u in zip(bounds, uniform, strict=True)]
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    return np.minimum(np.array(found), last[:, None])  # rounding may end beyond the last bound


def _distinct(choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of choices (rows, N, sites), and which one each is."""
    flat = choices.reshape(-1, choices.shape[-1])
    listed, which = np.unique(flat, axis=0, return_inverse=True)
    return listed, which.reshape(choices.shape[:2])


def _products_before(factors: Sequence[np.ndarray], weights: np.ndarray) -> list[np.ndarray]:
    """Return for each factor the weighted product of those before it."""
    products = [np.broadcast_to(weights, factors[0].shape)]
    for factor in factors[:-1]:
        products.append(products[-1] * factor)
    return products


def _add_up(totals: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """Write sums of values (terms, N) by place into totals (terms, places)."""
    for total, value in zip(totals, values, strict=True):
        total[:] = np.bincount(places, weights=value, minlength=len(total))
