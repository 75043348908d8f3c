"""Readout of qubits: how often each reads wrong, and what a bit counts so that means are unbiased.

A bit that is read wrong with known probabilities still says something: with the two weights of its
qubit in the place of 1 and -1, its mean is the sign that was there. Products of weights are then
products of signs, where qubits read independently of each other. Refuses to know how the
probabilities were measured, and what the bits are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.errors import DeviceError

#: A qubit says nothing where 0 and 1 read alike. Below this difference of the two it is refused:
#: shots would have to be 25 times as many.
LEAST_CONTRAST = 0.2


@dataclass(frozen=True)
class BitWeights:
    """What each bit of a circuit counts.

    Parameters
    ----------
    values
        (bits, 2): where the bit is 0, and where it is 1.
    slopes
        (bits, 2, 2): by the two probabilities of its qubit, times their standard errors.
    parameters
        Integer array (bits, 2): which of the readout's parameters these are.
    number
        How many parameters the readout has.
    """

    values: np.ndarray
    slopes: np.ndarray
    parameters: np.ndarray
    number: int


@dataclass(frozen=True, eq=False)
class Readout:
    """How often some qubits of a device read wrong.

    Parameters
    ----------
    qubits
        The device's numbers of them.
    wrong
        (qubits, 2): the probabilities that 0 reads 1, and that 1 reads 0.
    errors
        (qubits, 2): their standard errors.
    shots, usage
        Shots that were taken to find out, and what else of the device.
    """

    qubits: tuple[int, ...]
    wrong: np.ndarray
    errors: np.ndarray
    shots: int = 0
    usage: Usage = NOTHING

    @classmethod
    def counted(cls, qubits: Sequence[int], found: np.ndarray, shots: int) -> Readout:
        """Return it from how often each qubit read wrong, (qubits, 2), in so many shots each."""
        share = found / shots
        # With a success and a failure more than there were: what never happened may yet.
        guess = (found + 1) / (shots + 2)
        return cls(tuple(qubits), share, np.sqrt(guess * (1 - guess) / shots), 2 * shots)

    def check(self, device: str) -> None:
        """Raise a DeviceError, with the device's name, if a qubit's bits say too little."""
        contrast = 1 - self.wrong.sum(axis=1)
        if (bad := np.flatnonzero(contrast < LEAST_CONTRAST)).size:
            qubit, (ones, zeros) = self.qubits[bad[0]], self.wrong[bad[0]]
            raise DeviceError(
                f"pilot '{device}': qubit {qubit} reads 0 as 1 in {ones:.0%} and 1 as 0 in "
                f"{zeros:.0%} of the shots, expected bits that tell them apart; leave the pilot "
                "or mitigation out"
            )

    def weights(self, qubits: Sequence[int]) -> BitWeights:
        """Return what bits count that are read from these qubits, one a bit; -1 for none."""
        # A bit that is read from none, -1, counts as it is.
        places = np.array([self.qubits.index(q) if q >= 0 else -1 for q in qubits], dtype=int)
        none = np.zeros((1, 2))
        ones, zeros = np.concatenate([self.wrong, none])[places].T
        contrast = 1 - ones - zeros
        values = np.stack([1 + ones - zeros, ones - zeros - 1], axis=1) / contrast[:, None]
        by_ones = 2 * np.stack([1 - zeros, -zeros], axis=1)
        by_zeros = 2 * np.stack([ones, ones - 1], axis=1)
        slopes = np.stack([by_ones, by_zeros], axis=1) / contrast[:, None, None] ** 2
        parameters = 2 * np.maximum(places, 0)[:, None] + np.arange(2)
        scaled = slopes * np.concatenate([self.errors, none])[places][:, :, None]
        return BitWeights(values, scaled, parameters, 2 * len(self.qubits))


def wrongly_read(bits: int, zeros: Mapping[str, int], ones: Mapping[str, int]) -> np.ndarray:
    """Return how often each bit read wrong, (bits, 2), from counts where all were 0, and all 1.

    Examples
    --------
    >>> wrongly_read(2, {"0x0": 8, "0x1": 2}, {"0x3": 9, "0x1": 1}).tolist()
    [[2.0, 0.0], [0.0, 1.0]]
    """
    found = np.zeros((bits, 2))
    for column, counts in enumerate((zeros, ones)):
        for outcome, number in counts.items():
            wrong = int(outcome, 16) ^ (column and (1 << bits) - 1)
            found[:, column] += [number * (wrong >> bit & 1) for bit in range(bits)]
    return found
