"""Bonds: the matrices that join the two ends of each cut, in both bases.

A bond knows the coefficients of its cut and how they depend on the cut gate's angles; it does
not know what the fragments at its ends are made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotcut.circuits.program import AngleSum
from pilotcut.cutting.basis import harmonics, weighted


@dataclass(frozen=True)
class Bond:
    """The matrix that joins two sites.

    Parameters
    ----------
    index
        Its place in the plan.
    gate
        Name of the gate (or "move", "cut_wire") that was cut.
    ends
        ``((fragment, axis), (fragment, axis))`` of side 0 and side 1.
    coefficients
        See `pilotcut.cutting.basis.CutBasis`.
    amplitudes
        See `pilotcut.cutting.basis.CutBasis`; of one gate of a joint cut.
    angles
        The free angles of what is cut, an axis of `coefficients` each.
    overhead
        Sampling overhead gamma^2 of this cut alone (at the worst angle if it is free).
    gates
        Number of gates that are cut.
    way
        Of wires how they are cut: "communication", "randomised" or "separate"; "" for gates.
    """

    index: int
    gate: str
    ends: tuple[tuple[int, int], tuple[int, int]]
    coefficients: np.ndarray
    amplitudes: np.ndarray
    angles: tuple[AngleSum, ...]
    overhead: float
    gates: int = 1
    way: str = ""

    def matrix(self, slots: np.ndarray) -> np.ndarray:
        """Return the bond matrix (batch, d0, d1), or (1, d0, d1) when no angle is free."""
        return weighted(self.coefficients, [harmonics(a.of(slots)) for a in self.angles])

    def slope(self, slots: np.ndarray, position: int = 0) -> np.ndarray:
        """Return d matrix / d angle of the free angle at `position`, (batch, d0, d1)."""
        # The matrix is c0 + c1 cos x + c2 sin x in each angle: its slope takes no shifted circuit.
        weights = [harmonics(a.of(slots)) for a in self.angles]
        _, cos, sin = weights[position].T
        weights[position] = np.stack([np.zeros_like(cos), -sin, cos], axis=1)
        return weighted(self.coefficients, weights)

    def coherent_matrix(self, slots: np.ndarray) -> np.ndarray:
        """Return the bond matrix of the coherent basis, (batch or 1, R^2, R^2) complex.

        Diagonal: branch pairs (ket, bra) meet their like, weighted by ``c_ket conj(c_bra)``.
        Plans for this basis have no joint cuts.
        """
        c = self._amplitudes(slots)
        return _diagonal(c, c)

    def coherent_slope(self, slots: np.ndarray, position: int = 0) -> np.ndarray:
        """Return d coherent matrix / d angle of the free angle at `position`."""
        # Amplitudes have half the angle; c conj(c) has the whole one, as the physical basis.
        weights = self._halves(slots)
        _, cos, sin = weights[position].T
        weights[position] = np.stack([np.zeros_like(cos), -sin, cos], axis=1) / 2
        c, slope = self._amplitudes(slots), weighted(self.amplitudes, weights)
        return _diagonal(slope, c) + _diagonal(c, slope)

    def _amplitudes(self, slots: np.ndarray) -> np.ndarray:
        assert self.gates == 1, "the coherent basis cuts gates one by one"
        return weighted(self.amplitudes, self._halves(slots))

    def _halves(self, slots: np.ndarray) -> list[np.ndarray]:
        return [harmonics(a.of(slots) / 2) for a in self.angles]


def _diagonal(ket: np.ndarray, bra: np.ndarray) -> np.ndarray:
    """Return diag(ket x conj(bra)), (batch, R^2, R^2), for amplitudes (batch, R)."""
    pairs = (ket[:, :, None] * bra.conj()[:, None, :]).reshape(len(ket), -1)
    return pairs[:, :, None] * np.eye(pairs.shape[1])
