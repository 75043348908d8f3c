"""Similarity of devices by their behavioural vectors, and the groups that it makes (ArbiterQ)."""

from __future__ import annotations

import numpy as np


def similarity(vectors: np.ndarray, kappa: float) -> np.ndarray:
    """Return exp(−κ·dist), dist = ‖v_i − v_j‖₂ / len, of behavioural vectors (ArbiterQ).

    Parameters
    ----------
    vectors
        (devices, len).
    kappa
        κ, from 0 up: 0 makes all devices alike, infinity none.

    Returns
    -------
    ndarray
        (devices, devices), in [0, 1], 1 on the diagonal.

    Examples
    --------
    >>> similarity(np.array([[0.0, 0.0], [0.0, 2e-4]]), 1e4)[0, 1].round(4)
    np.float64(0.3679)
    """
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1) / vectors.shape[1]
    return np.exp(-kappa * apart)


def groups(alike: np.ndarray, threshold: float) -> tuple[tuple[int, ...], ...]:
    """Return the devices that share: those that a chain of similarities over a threshold joins.

    Examples
    --------
    >>> groups(np.array([[1.0, 0.6, 0.1], [0.6, 1.0, 0.1], [0.1, 0.1, 1.0]]), 0.5)
    ((0, 1), (2,))
    """
    left, found = set(range(len(alike))), []
    while left:
        group, edge = set[int](), {min(left)}
        while edge:
            group |= edge
            edge = {j for i in edge for j in left if alike[i, j] >= threshold} - group
        found.append(tuple(sorted(group)))
        left -= group
    return tuple(found)
