"""What runs the circuits of a fleet's model: draws from the exact law, or counts of circuits."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BackendSamplerV2
from qiskit_aer import AerSimulator

from pilotcut.backends.device import Device
from pilotcut.fleet.compilation import Compilation
from pilotcut.fleet.law import Law, observed_qubits, touched
from pilotcut.fleet.shifts import Shifts
from pilotcut.training.model import Model

NAMES = ("law", "counts")


class Engine(Protocol):
    """Estimates expectations of a model on a device."""

    def shifted(
        self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int
    ) -> np.ndarray:
        """Return all circuits of a gradient, (circuits, samples), in the order of `Shifts`."""
        ...

    def values(self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int) -> np.ndarray:
        """Return the expectations at the weights, (samples,)."""
        ...


class DrawnFromLaw:
    """Binomial draws from exact probabilities; with 0 shots the expectations themselves."""

    def __init__(self, law: Law) -> None:
        self._law = law

    def shifted(
        self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int
    ) -> np.ndarray:
        """Return all circuits of a gradient; see `Engine.shifted`."""
        return _drawn(self._law.shifted(weights, samples), shots, seed)

    def values(self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int) -> np.ndarray:
        """Return the expectations at the weights; see `Engine.values`."""
        return _drawn(self._law.values(weights, samples), shots, seed)


def _drawn(expectations: np.ndarray, shots: int, seed: int) -> np.ndarray:
    if not shots:
        return expectations
    probabilities = np.clip((1.0 + expectations) / 2.0, 0.0, 1.0)  # rounding
    return 2.0 * np.random.default_rng(seed).binomial(shots, probabilities) / shots - 1.0


class CountedCircuits:
    """Circuits with shots, on Aer with the device's noise or on the device's own backend."""

    def __init__(self, model: Model, compilation: Compilation, device: Device) -> None:
        self._shifts = Shifts.of(model)
        qubits = list(range(device.qubits)) if device.direct else touched(compilation)
        place = {qubit: k for k, qubit in enumerate(qubits)}
        read = [compilation.final_layout[q] for q in observed_qubits(model)]
        self._circuit = _measured(compilation.circuit, place, [place[q] for q in read])
        self._order = [*model.inputs, *model.weights]
        if device.direct:
            self._backend = device.direct
        else:
            self._backend = AerSimulator(
                noise_model=device.noise_on(qubits), method="density_matrix"
            )

    def shifted(
        self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int
    ) -> np.ndarray:
        """Return all circuits of a gradient; see `Engine.shifted`."""
        return self._run(weights + self._shifts.offsets, samples, shots, seed)

    def values(self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int) -> np.ndarray:
        """Return the expectations at the weights; see `Engine.values`."""
        return self._run(weights[None], samples, shots, seed)[0]

    def _run(self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int) -> np.ndarray:
        """Return expectations (rows of weights, samples)."""
        rows = np.concatenate(
            [np.tile(samples, (len(weights), 1)), np.repeat(weights, len(samples), axis=0)], axis=1
        )
        sampler = BackendSamplerV2(backend=self._backend, options={"seed_simulator": seed % 2**31})
        values = {tuple(p.name for p in self._order): rows}
        result = sampler.run([(self._circuit, values)], shots=shots).result()[0]
        found = 1.0 - 2.0 * _odd(result.data.read.array).mean(axis=-1)
        return found.reshape(len(weights), len(samples))


def _measured(circuit: QuantumCircuit, place: dict[int, int], read: list[int]) -> QuantumCircuit:
    """Return the circuit on its own qubits alone, with those measured that are observed."""
    from qiskit.circuit import ClassicalRegister, QuantumRegister

    own = QuantumCircuit(QuantumRegister(len(place), "q"), ClassicalRegister(len(read), "read"))
    for instruction in circuit.data:
        qubits = [place[circuit.find_bit(q).index] for q in instruction.qubits]
        own.append(instruction.operation, qubits)
    own.measure(read, range(len(read)))
    return own


def _odd(packed: np.ndarray) -> np.ndarray:
    """Return the parity of each shot, from bits packed into bytes (..., shots, bytes)."""
    folded = np.bitwise_xor.reduce(packed, axis=-1)
    for shift in (4, 2, 1):
        folded = folded ^ (folded >> shift)
    return folded & 1
