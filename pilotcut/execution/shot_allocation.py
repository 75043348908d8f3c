"""Dealing shots to subexperiments in proportion to what they add to the error.

The variance of a value is ``sum_v s_v^2 sigma_v^2 / N_v`` with s the sensitivities, so for
a fixed total the best N_v is proportional to ``|s_v| sigma_v`` (Neyman). Sensitivities and
deviations come from a small pilot round and are noisy themselves; a floor dealt evenly
keeps what looked unimportant by chance from starving.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor

#: Share of the budget that is dealt evenly.
FLOOR = 0.3

#: Shots are dealt in multiples of this: Aer runs a job for every binary digit.
QUANTUM = 16


# For the same error uniform shots would have to be 1.3 to 12.7 times as many, most where cut
# gates are weak (benchmarks/allocation.py, sampled mode, 150 repetitions). It is the sum of the
# observables' variances that falls: a small one beside a large one may lose (0.61).
def deal(
    fragments: Sequence[Fragment],
    tensors: Sequence[FragmentTensor],
    sensitivities: Sequence[np.ndarray],
    pilot: int,
    budget: int,
) -> list[np.ndarray]:
    """Return shots (rows, subexperiments) for each fragment, `budget` each on average.

    Parameters
    ----------
    fragments, tensors
        The fragments and what the pilot round measured of them.
    sensitivities
        (rows, observables, sub-observables, variants) for each fragment; the variances of
        several observables are added.
    pilot
        Shots of each subexperiment in the pilot round.
    budget
        Mean shots of a subexperiment still to be dealt.
    """
    weights = [
        importance(f, t, s, pilot)
        for f, t, s in zip(fragments, tensors, sensitivities, strict=True)
    ]
    total = sum(w.sum(axis=1) for w in weights)
    count = sum(w.shape[1] for w in weights)
    shots = []
    for weight in weights:
        # Where nothing shows any variance there is nothing to deal by: all alike.
        share = np.divide(
            weight, total[:, None], out=np.full_like(weight, 1 / count), where=total[:, None] > 0
        )
        exact = budget * (FLOOR + (1 - FLOOR) * count * share)
        shots.append(np.maximum(QUANTUM, np.rint(exact / QUANTUM).astype(int) * QUANTUM))
    return shots


def importance(
    fragment: Fragment, tensor: FragmentTensor, sensitivity: np.ndarray, pilot: int
) -> np.ndarray:
    """Return ``|s| sigma`` of each subexperiment, (rows, subexperiments), up to a factor.

    A subexperiment that showed one outcome only may still have another: to its variance is
    added that of an outcome that comes once in `pilot` shots. Without that, a value near 1
    looks certain and starves.
    """
    columns = []
    flat = sensitivity.reshape(*sensitivity.shape[:2], -1)
    for template in fragment.templates:
        s = flat[:, :, fragment.entries[template.group][template.variants]]
        covariance = tensor.covariances[template.group][:, template.variants]
        variance = np.einsum("bovm,bvmn,bovn->bv", s, covariance, s, optimize=True)
        # A sign that is -1 with probability 1/N has a variance of about 4/N, and its mean over N
        # shots one of 4/N^2.
        unseen = (s**2).sum(axis=(1, 3)) * 4 / pilot**2
        columns.append(np.sqrt(np.maximum(variance, 0.0) + unseen))
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(sensitivity), 0))


def merge(
    fragment: Fragment, first: FragmentTensor, second: FragmentTensor, n1: int, n2: np.ndarray
) -> FragmentTensor:
    """Return the estimates of both rounds together, weighted by their shots.

    Parameters
    ----------
    n1
        Shots of each subexperiment of the first round.
    n2
        (rows, subexperiments) of the second.
    """
    values = first.values.copy()
    covariances = tuple(c.copy() for c in first.covariances)
    flat = values.reshape(len(values), -1)
    other = second.values.reshape(flat.shape)
    start = 0
    for template in fragment.templates:
        share = n2[:, start : start + len(template.variants)]
        share = share / (share + n1)  # of the second round, (rows, settings)
        start += len(template.variants)
        places = fragment.entries[template.group][template.variants]
        a, b = flat[:, places], other[:, places]
        flat[:, places] = (1 - share[..., None]) * a + share[..., None] * b
        w = share[..., None, None]
        a, b = (t.covariances[template.group][:, template.variants] for t in (first, second))
        covariances[template.group][:, template.variants] = (1 - w) ** 2 * a + w**2 * b
    return FragmentTensor(values, covariances)
