"""Dealing shots to subexperiments in proportion to what they add to the error.

The variance of a value is ``sum_v s_v^2 sigma_v^2 / N_v`` with s the sensitivities, so for
a fixed total the best N_v is proportional to ``|s_v| sigma_v`` (Neyman). Before anything is
measured the weights of the cuts say what s may be; a small pilot round measures s and sigma, and
both are noisy themselves. A floor dealt evenly keeps what looked unimportant from starving.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.results import Evaluation, contracted
from pilotcut.execution.wire_shots import WireShots
from pilotcut.reconstruction.contraction import Contraction, sensitivities

#: Share of the budget that is dealt evenly.
FLOOR = 0.3

#: Shots are dealt in multiples of this: Aer runs a job for every binary digit. Few shots are
#: dealt finer, down to a sixteenth of their mean.
QUANTUM = 16

#: An unbiased estimate of a variance takes two shots.
LEAST = 2


def weighted_shots(
    contraction: Contraction,
    slots: np.ndarray,
    coefficients: np.ndarray,
    budget: int,
    *,
    slopes: bool = False,
) -> list[np.ndarray]:
    """Return shots (rows, subexperiments) for each fragment, by the weights of the cuts alone.

    Parameters
    ----------
    contraction, slots
        What is to run, with its plan, and for which slot values (rows, slots).
    coefficients
        (observables, terms) of what is wanted.
    budget
        Mean shots of a subexperiment.
    slopes
        Whether derivatives by angles of the cuts are wanted too.
    """
    squares = squares_of(contraction.plan, slots, slopes=slopes)
    found = shared(expected(contraction, squares, coefficients), budget)
    return [np.repeat(shots, len(slots) // len(shots), axis=0) for shots in found]


def squares_of(plan: CutPlan, slots: np.ndarray, *, slopes: bool) -> list[np.ndarray]:
    """Return the squares of all bond matrices, (rows or 1, d0, d1), with those of their slopes."""
    # What a small angle gives no weight has some in the derivative by that angle.
    found = []
    for bond in plan.bonds:
        angles = range(len(bond.angles) if slopes else 0)
        found.append(bond.matrix(slots) ** 2 + sum(bond.slope(slots, k) ** 2 for k in angles))
    return found


def expected(
    contraction: Contraction, squares: Sequence[np.ndarray], coefficients: np.ndarray
) -> list[np.ndarray]:
    """Return ``|s| sigma`` of each subexperiment before any is run, up to a factor.

    Parameters
    ----------
    contraction
        The plan's, in the physical basis.
    squares
        Of the bond matrices, (rows or 1, d0, d1).
    coefficients
        (observables, terms); the variances of several observables are added.

    Returns
    -------
    list of np.ndarray
        (rows or 1, subexperiments) for each fragment.

    Notes
    -----
    Entries of tensors are taken to be independent, of variance 1 where they are estimated, and
    where they multiply of mean square 1, or that of random states where wires end or begin: s^2 is
    then a contraction with the squares of all bond matrices. Of a QPD (arXiv:1909.07534), which
    draws terms by ``|C_ij|``, it keeps that a subexperiment of much weight, or one in many terms,
    has many shots.
    """
    plan = contraction.plan
    shape = (1, len(plan.terms))
    means = [np.broadcast_to(mean_squares(f), (*shape, *f.site_shape)) for f in plan.fragments]
    operands = [*means, *(square[:, None] for square in squares)]
    _, environments = contraction.values_and_environments(operands)
    found = []
    for f, fragment in enumerate(plan.fragments):
        square = sensitivities(plan.term_index[:, f], environments[f], coefficients**2)
        flat = square.sum(axis=1).reshape(len(square), -1)
        columns = [
            flat[:, fragment.entries[t.group][t.variants]].sum(axis=2) / fragment.outcomes
            for t in fragment.templates
        ]
        none = np.zeros((len(square), 0))
        found.append(np.sqrt(np.concatenate(columns, axis=1) if columns else none))
    return found


def mean_squares(fragment: Fragment) -> np.ndarray:
    """Return the mean squares of a fragment's entries, (*site_shape,), had it random states."""
    # Of d dimensions: 1 / (d + 1) for a Pauli's expectation and 2 / (d (d + 1)) for an outcome's
    # probability, the second moments of any 2-design. With 1 for all, randomised wires took up to
    # 1.25 times the shots of uniform ones.
    squares = np.ones(fragment.site_shape)
    for site in fragment.sites:
        d, here = 2 ** len(site.wires), np.ones(len(site.operations))
        if site.kind == "start":
            here[:] = 1 / (d + 1)
        elif site.kind == "end" and site.states:
            here[:] = 2 / (d * (d + 1))
        elif site.kind == "end":
            here[[op.measured for op in site.local_operations]] = 1 / (d + 1)
        squares *= np.expand_dims(here, [k for k in range(squares.ndim) if k != site.axis])
    return squares


def shared(
    weights: Sequence[np.ndarray], budget: int, wanted: Sequence[np.ndarray] = ()
) -> list[np.ndarray]:
    """Return shots (rows, subexperiments) for each fragment, `budget` each on average.

    Parameters
    ----------
    weights
        (rows, subexperiments) for each fragment: what shots are in proportion to.
    budget
        Mean shots of a subexperiment.
    wanted
        For each fragment, boolean (rows or 1, subexperiments): what has shots at all; default all.
    """
    some = [np.asarray(w, float) for w in wanted] or [np.ones_like(w) for w in weights]
    total = sum((w * x).sum(axis=1, keepdims=True) for w, x in zip(weights, some, strict=True))
    count = sum(x.sum(axis=1, keepdims=True) for x in some)
    budget_of_all = budget * sum(w.shape[1] for w in weights)
    step = min(QUANTUM, 1 << max(0, (budget // QUANTUM).bit_length() - 1))
    shots = []
    for weight, here in zip(weights, some, strict=True):
        even = np.broadcast_to(here / count, weight.shape)
        # Where nothing shows any variance there is nothing to deal by: all alike.
        share = np.divide(weight * here, total, out=even.copy(), where=total > 0)
        exact = budget_of_all * (FLOOR * even + (1 - FLOOR) * share)
        whole = np.rint(exact / step).astype(int) * step
        shots.append(np.where(here > 0, np.maximum(max(step, min(LEAST, budget)), whole), 0))
    return shots


# For the same error uniform shots would have to be 1.3 to 12.7 times as many, most where cut
# gates are weak (benchmarks/allocation.py, sampled mode, 150 repetitions). It is the sum of the
# observables' variances that falls: a small one beside a large one may lose (0.61).
def dealt_after(
    pilot: Evaluation,
    matrices: Sequence[np.ndarray],
    coefficients: np.ndarray,
    first: Sequence[np.ndarray],
    budget: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return shots (rows, subexperiments) of the second round, and the bond matrices for both.

    Parameters
    ----------
    pilot
        What the pilot round measured.
    matrices
        The bond matrices of the pilot round, (rows or 1, d0, d1).
    coefficients
        (observables, terms); the variances of several observables are added.
    first
        (rows, subexperiments) for each fragment: shots of the pilot round.
    budget
        Mean shots of a subexperiment still to be dealt.
    """
    contraction = pilot.contraction
    assert isinstance(contraction, Contraction), "sampled terms have shots alike"
    # What a wire's receiver prepares is for its bond to say, and that for what its sender found.
    # With the bond of even shots weights are spread over all states: up to 20 times the shots.
    wires = WireShots(contraction.plan, len(pilot.values), budget, list(matrices))
    for stage in wires.stages[:-1]:
        wires.learn(stage, pilot.tensors)
    found = contracted(contraction, wires.matrices, pilot.tensors)
    fragments = contraction.plan.fragments
    rounds = zip(fragments, pilot.tensors, found.sensitivities(coefficients), first, strict=True)
    weights = [importance(f, t, s, n) for f, t, s, n in rounds]
    return shared(weights, budget, [wires.prepared(f) for f in fragments]), wires.matrices


def importance(
    fragment: Fragment, tensor: FragmentTensor, sensitivity: np.ndarray, pilot: np.ndarray
) -> np.ndarray:
    """Return ``|s| sigma`` of each subexperiment, (rows, subexperiments), up to a factor.

    A subexperiment that showed one outcome only may still have another: to its variance is
    added that of an outcome that comes once in `pilot` shots. Without that, a value near 1
    looks certain and starves.
    """
    columns = []
    flat = sensitivity.reshape(*sensitivity.shape[:2], -1)
    start = 0
    for template in fragment.templates:
        number = pilot[:, start : start + len(template.variants)]
        start += len(template.variants)
        s = flat[:, :, fragment.entries[template.group][template.variants]]
        covariance = tensor.covariances[template.group][:, template.variants]
        variance = np.einsum("bovm,bvmn,bovn->bv", s, covariance, s, optimize=True)
        # Of a mean of N shots; a sign that is -1 with probability 1/N has one of about 4/N.
        unseen = (s**2).sum(axis=(1, 3)) * 4 / number
        columns.append(np.sqrt(np.maximum(variance, 0.0) * number + unseen))
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(sensitivity), 0))


def merge(
    fragment: Fragment,
    first: FragmentTensor,
    second: FragmentTensor,
    n1: np.ndarray,
    n2: np.ndarray,
) -> FragmentTensor:
    """Return the estimates of both rounds together, weighted by their shots.

    Parameters
    ----------
    n1, n2
        (rows, subexperiments): shots of the first round, and of the second.
    """
    values = first.values.copy()
    covariances = tuple(c.copy() for c in first.covariances)
    flat = values.reshape(len(values), -1)
    other = second.values.reshape(flat.shape)
    start = 0
    for template in fragment.templates:
        some = slice(start, start + len(template.variants))
        share = n2[:, some] / (n1 + n2)[:, some]  # of the second round, (rows, settings)
        start = some.stop
        places = fragment.entries[template.group][template.variants]
        a, b = flat[:, places], other[:, places]
        # What is not in the second round has no estimate there.
        flat[:, places] = (1 - share[..., None]) * a + np.where(
            share[..., None], share[..., None] * b, 0
        )
        w = share[..., None, None]
        a, b = (t.covariances[template.group][:, template.variants] for t in (first, second))
        covariances[template.group][:, template.variants] = (1 - w) ** 2 * a + w**2 * b
    return FragmentTensor(values, covariances)
