"""Counts of a noisy circuit drawn from its distribution, in the place of shot after shot.

A density matrix holds the law of all shots, so many of them are one draw from a multinomial
distribution: of Aer, which draws them one by one, a million took some seconds a circuit. Refuses
to know whose noise it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import QuantumCircuit

#: From so many shots on this is quicker by more than it matters that Aer draws other numbers.
DRAWN_SHOTS = 4096


@dataclass(frozen=True)
class Drawable:
    """A circuit whose measurements are its last steps.

    Parameters
    ----------
    circuit
        Without them; it saves the probabilities of what they would find.
    qubits
        Which qubit is measured into each bit.
    bits
        These bits, ascending.
    """

    circuit: QuantumCircuit
    qubits: tuple[int, ...]
    bits: tuple[int, ...]

    @classmethod
    def of(cls, circuit: QuantumCircuit) -> Drawable | None:
        """Return it, None if a measurement is not last, or a bit is written twice."""
        bare = circuit.copy_empty_like()
        found: dict[int, int] = {}
        for step in circuit.data:
            qubits = [circuit.find_bit(qubit).index for qubit in step.qubits]
            if step.operation.name == "measure":
                bit = circuit.find_bit(step.clbits[0]).index
                if bit in found or qubits[0] in found.values():
                    return None
                found[bit] = qubits[0]
            elif step.clbits or {*qubits} & {*found.values()}:
                return None
            else:
                bare.append(step)
        bits = tuple(sorted(found))
        measured = tuple(found[bit] for bit in bits)
        if bits:
            bare.save_probabilities(list(measured))
        return cls(bare, measured, bits) if bits else None

    def counts(
        self,
        probabilities: np.ndarray,
        readout: Callable[[int], tuple[float, float]],
        shots: int,
        rng: np.random.Generator,
    ) -> dict[str, int]:
        """Return counts, hexadecimal as Aer's.

        Parameters
        ----------
        probabilities
            (2^bits,) of what is there to be read, the first bit lowest.
        readout
            Of a qubit, the probabilities that 0 is read as 1, and 1 as 0.
        shots, rng
            How many, and from where.
        """
        law = np.asarray(probabilities, float).reshape((2,) * len(self.bits))
        for place, qubit in enumerate(self.qubits):
            ones, zeros = readout(qubit)
            axis = len(self.bits) - 1 - place  # the first bit is the last axis
            matrix = np.array([[1 - ones, zeros], [ones, 1 - zeros]])
            law = np.moveaxis(np.tensordot(matrix, law, (1, axis)), 0, axis)
        flat = np.maximum(law.reshape(-1), 0.0)
        drawn = rng.multinomial(shots, flat / flat.sum())
        some = np.flatnonzero(drawn)
        return {self._outcome(int(k)): int(drawn[k]) for k in some}

    def _outcome(self, number: int) -> str:
        return hex(sum((number >> place & 1) << bit for place, bit in enumerate(self.bits)))


def drawables(circuits: Sequence[QuantumCircuit]) -> list[Drawable] | None:
    """Return all circuits so, None if one cannot be."""
    found = [Drawable.of(circuit) for circuit in circuits]
    return None if None in found else [one for one in found if one is not None]
