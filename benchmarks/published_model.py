"""The published performance model of Pilot-Quantum's Q-Dreamer, to compare ours with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np


@dataclass(frozen=True)
class PublishedModel:
    """Q-Dreamer's Circuit Cutting Resource Optimizer, for comparison.

    Speed-up of cutting ``2^(n - n_sub) eta(R) / R`` with ``eta = eta_max / R^p``, rounds
    ``R = ceil(tasks / workers)`` and ``tasks = 9^cuts`` (Pilot-Quantum with Q-Dreamer,
    arXiv:2412.18519). It knows neither shots nor depth, search, reconstruction or memory.

    Examples
    --------
    >>> PublishedModel(eta_max=1.0, p=0.0).speed_up(20, 10, cuts=1, workers=9)
    1024.0
    """

    eta_max: float
    p: float

    @classmethod
    def fit(cls, cases: Sequence[tuple[int, int, int, int, float]]) -> PublishedModel:
        """Fit eta_max and p to cases (qubits, widest, cuts, workers, measured speed-up).

        A line through log(eta) over log(R), weighted by the speed-up as in the original.
        """
        rounds = np.array([_rounds(cuts, workers) for _, _, cuts, workers, _ in cases], float)
        ideal = np.array([2.0 ** (n - sub) for n, sub, _, _, _ in cases]) / rounds
        eta = np.array([measured for *_, measured in cases]) / ideal
        weights = np.sqrt(np.array([max(measured, 1e-6) for *_, measured in cases]))
        design = np.stack([np.ones(len(cases)), -np.log(rounds)], axis=1)
        found, *_ = np.linalg.lstsq(design * weights[:, None], np.log(eta) * weights, rcond=None)
        return cls(float(np.exp(found[0])), float(found[1]))

    def speed_up(self, qubits: int, widest: int, cuts: int, workers: int) -> float:
        """Return the predicted speed-up over the uncut circuit, 1 without cuts."""
        if cuts == 0:
            return 1.0
        rounds = _rounds(cuts, workers)
        return 2.0 ** (qubits - widest) * self.eta_max / rounds**self.p / rounds


def _rounds(cuts: int, workers: int) -> int:
    return ceil(9**cuts / workers)
