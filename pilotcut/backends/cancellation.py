"""Probabilistic error cancellation: a device's circuit as a signed sum of circuits without noise.

Behind each noisy gate stands the inverse of its noise, a weighted sum of operations
(`pilotcut.backends.inverse_noise`); a circuit with one of them behind each gate is drawn with the
sizes of the weights as probabilities, and counts with their sign and the sum of the sizes, the
overhead (Temme, Bravyi and Gambetta, arXiv:1612.02058; with learned noise van den Berg, Minev,
Kandala and Temme, arXiv:2201.09866). Refuses to know what circuits are of, and who runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SuperOp

from pilotcut.backends.inverse_noise import (
    Insertion,
    Inverse,
    insertions_on,
    inverse_of,
    transfer_of,
)
from pilotcut.backends.noise_model import Device
from pilotcut.errors import DeviceError

#: Gates whose inverse is no further from nothing than this are left alone.
_NOTHING = 1e-9

Where = tuple[str, tuple[int, ...]]


class Inverses:
    """Inverses of the noise of a device's gates, each worked out once.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._noises: dict[Where, np.ndarray | None] = {}
        self._insertions: dict[int, list[Insertion]] = {}
        self._found: dict[Where, Inverse | None] = {}

    def of(self, name: str, qubits: tuple[int, ...]) -> Inverse | None:
        """Return the inverse of an instruction's noise, None where it has none.

        Raises
        ------
        DeviceError
            If the device's noise is not known, or what can be put in makes up no inverse.
        """
        if not self._device.noise_known:
            raise DeviceError(
                f"pilot '{self._device.name}': mitigation 'pec' undoes noise that is known, and "
                "that of a device that runs circuits itself is not; expected a device that is "
                "simulated: take mitigation 'readout+zne'"
            )
        if (name, qubits) not in self._found:
            self._found[name, qubits] = self._inverse(name, qubits)
        return self._found[name, qubits]

    def _noise(self, name: str, qubits: tuple[int, ...]) -> np.ndarray | None:
        if (name, qubits) not in self._noises:
            error = self._device.error_of(name, qubits)
            found = None if error is None else transfer_of(SuperOp(error))
            self._noises[name, qubits] = found
        return self._noises[name, qubits]

    def _inverse(self, name: str, qubits: tuple[int, ...]) -> Inverse | None:
        noise = self._noise(name, qubits)
        if noise is None or np.abs(noise - np.eye(len(noise))).max() < _NOTHING:
            return None
        for qubit in qubits:
            if qubit not in self._insertions:
                found = insertions_on(qubit, self._device.target, self._noise)
                self._insertions[qubit] = found
        options = [self._insertions[qubit] for qubit in qubits]
        inverse = inverse_of(noise, options) if all(options) else None
        if inverse is None:
            raise DeviceError(
                f"pilot '{self._device.name}': mitigation 'pec' undoes relaxation and Pauli errors "
                f"by Paulis and resets, and the noise of {name} on "
                f"{_called(qubits)} is not of that kind (or the device has no Paulis there, or "
                "nothing is left to undo); expected such noise: take mitigation 'readout+zne'"
            )
        return inverse


@dataclass(frozen=True, eq=False)
class Cancellation:
    """A circuit's noise as places where something is put in.

    Parameters
    ----------
    circuit
        In the device's gates.
    inverses
        By the number of the instruction that they stand behind.
    """

    circuit: QuantumCircuit
    inverses: Mapping[int, Inverse]

    @classmethod
    def of(cls, circuit: QuantumCircuit, inverses: Inverses, name: str) -> Cancellation:
        """Return it for a device of that name.

        Raises
        ------
        DeviceError
            If the noise is not known, or cannot be undone.
        """
        found = {}
        for place, step in enumerate(circuit.data):
            operation = step.operation
            if operation.name in ("measure", "reset", "barrier", "delay"):
                continue
            if operation.name == "if_else":
                raise DeviceError(
                    f"pilot '{name}': mitigation 'pec' puts gates behind gates, and the circuit "
                    "has some under conditions, expected none; take mitigation 'readout'"
                )
            where = tuple(circuit.find_bit(qubit).index for qubit in step.qubits)
            if (inverse := inverses.of(operation.name, where)) is not None:
                found[place] = inverse
        return cls(circuit, found)

    @property
    def overhead(self) -> float:
        """How many times as large errors are with the same shots."""
        return prod(inverse.overhead for inverse in self.inverses.values())

    @property
    def kept(self) -> float:
        """The weight of the circuit with nothing put in."""
        return prod(float(inverse.weights[0]) for inverse in self.inverses.values())

    @cached_property
    def _nothing(self) -> np.ndarray:
        """Of each place, the probability that nothing is put in."""
        each = self.inverses.values()
        return np.array([inverse.weights[0] / inverse.overhead for inverse in each])

    def drawn(
        self, rng: np.random.Generator, samples: int, *, something: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return terms (samples, places), and their signs (samples,).

        Parameters
        ----------
        rng, samples
            From where, and how many.
        something
            Whether only what has something put in somewhere is drawn.
        """
        terms = np.zeros((samples, len(self.inverses)), dtype=np.int16)
        signs = np.ones(samples)
        first = self._firsts(rng, samples) if something else np.full(samples, -1)
        for k, inverse in enumerate(self.inverses.values()):
            chances = np.abs(inverse.weights) / inverse.overhead
            chosen = rng.choice(len(chances), samples, p=chances)
            others = chances[1:] / chances[1:].sum()
            forced = 1 + rng.choice(len(others), samples, p=others)
            terms[:, k] = np.where(first == k, forced, np.where(first < k, chosen, 0))
            signs *= np.sign(inverse.weights)[terms[:, k]]
        return terms, signs

    def _firsts(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """Return the first place of each sample where something is put in."""
        before = np.concatenate([[1.0], np.cumprod(self._nothing)[:-1]])
        chances = before * (1 - self._nothing)
        return rng.choice(len(chances), samples, p=chances / chances.sum())

    def with_terms(self, terms: np.ndarray) -> QuantumCircuit:
        """Return the circuit with a term put in at each place, (places,)."""
        if not terms.any():
            return self.circuit
        at = dict(zip(self.inverses, terms, strict=True))
        whole = self.circuit.copy_empty_like()
        for place, step in enumerate(self.circuit.data):
            whole.append(step)
            if not at.get(place, 0):
                continue
            # Whoever runs circuits after us must not merge them with the gates around.
            whole.barrier(step.qubits)
            for qubit, steps in zip(
                step.qubits, self.inverses[place].steps[at[place]], strict=True
            ):
                for one in steps:
                    whole.append(one, [qubit])
            whole.barrier(step.qubits)
        return whole


def _called(qubits: tuple[int, ...]) -> str:
    return f"qubit{'s' * (len(qubits) > 1)} {' and '.join(map(str, qubits))}"
