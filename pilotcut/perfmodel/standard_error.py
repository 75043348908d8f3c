"""Standard error of a plan's values, estimated before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from pilotcut.cutting.bond import Bond
from pilotcut.cutting.plan import CutPlan
from pilotcut.reconstruction.contraction import Contraction


def predicted_error(
    plan: CutPlan,
    shots: int,
    contraction: Contraction | None = None,
    growths: Sequence[float] = (),
) -> float:
    """Return an upper estimate of the standard error with `shots` of each subexperiment.

    Parameters
    ----------
    plan
        Of its terms the one of largest error counts.
    shots
        Of each subexperiment.
    contraction
        The plan's in the physical basis, if its path has been searched already.
    growths
        How many times as large variances of each fragment are, () for once.

    Notes
    -----
    The variance to first order is ``sum_f sum_v env_v^2 Var(T_v)``. Nothing is run, so
    entries of tensors are taken to be independent of each other, of mean square 1 where they
    multiply and of variance 1 where they are estimated: `env_v^2` is then the contraction of
    the squares of all bond matrices, averaged over free angles.
    """
    contraction = contraction or Contraction.of(plan)
    terms = len(plan.terms)
    # An outcome of wires that are cut together is one of several: that is its chance.
    ones = [np.full((1, terms, *f.site_shape), f.outcomes**-2.0) for f in plan.fragments]
    operands = [*ones, *(_squares(bond)[None, None] for bond in plan.bonds)]
    _, environments = contraction.values_and_environments(operands)
    variance = np.zeros(terms)
    for f, fragment in enumerate(plan.fragments):
        random = ~fragment.trivial[plan.term_index[:, f]]
        flat = environments[f][0] * random / fragment.outcomes
        variance += (growths[f] if growths else 1.0) * flat.reshape(terms, -1).sum(axis=1)
    return sqrt(float(variance.max()) / shots)


def _squares(bond: Bond) -> np.ndarray:
    """Return the squares of a bond's coefficients, averaged over its free angles, (d0, d1)."""
    squares = bond.coefficients**2
    for _ in bond.angles:  # harmonics 1, cos x, sin x, whose products average to nothing
        squares = np.tensordot([1.0, 0.5, 0.5], squares, axes=1)
    return squares
