"""Engines that estimate expectations on a device: draws from exact ones, or counts of circuits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from pilotcut.backends.aer_parameters import aer_binds_all
from pilotcut.backends.circuit_runs import CircuitRuns
from pilotcut.backends.counts import parities
from pilotcut.backends.device_runs import DeviceRuns
from pilotcut.backends.noise_model import Device
from pilotcut.errors import UserError
from pilotcut.fleet.model_on_device import ModelOnDevice
from pilotcut.fleet.models import observed_qubits
from pilotcut.fleet.shifts import Shifts
from pilotcut.fleet.transpile import Compilation
from pilotcut.training.model import Model

NAMES = ("law", "damped", "counts")

#: One number for all samples, or an integer array (samples,).
Shots: TypeAlias = int | np.ndarray


def seed_of(*place: int) -> int:
    """Return the seed of what has these numbers: seed of the run, device, step, ..."""
    return int(np.random.SeedSequence(place).generate_state(1)[0])


class Engine(Protocol):
    """Estimates expectations of a model on a device."""

    def shifted(
        self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int
    ) -> np.ndarray:
        """Return all circuits of a gradient, (circuits, samples), in the order of `Shifts`."""
        ...

    def values(
        self, weights: np.ndarray, samples: np.ndarray, shots: Shots, seed: int
    ) -> np.ndarray:
        """Return the expectations at the weights, (samples,); shots of all or of each sample."""
        ...


class DrawnExpectations:
    """Binomial draws from exact probabilities; with 0 shots the expectations themselves."""

    def __init__(self, exact: ModelOnDevice) -> None:
        self._exact = exact

    def shifted(
        self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int
    ) -> np.ndarray:
        """Return all circuits of a gradient; see `Engine.shifted`."""
        return drawn(self._exact.shifted(weights, samples), shots, seed)

    def values(
        self, weights: np.ndarray, samples: np.ndarray, shots: Shots, seed: int
    ) -> np.ndarray:
        """Return the expectations at the weights; see `Engine.values`."""
        return drawn(self._exact.values(weights, samples), shots, seed)


def drawn(expectations: np.ndarray, shots: Shots, seed: int) -> np.ndarray:
    """Return means of so many draws of -1 and +1 with these expectations; without shots those."""
    if not np.any(shots):
        return expectations
    probabilities = np.clip((1.0 + expectations) / 2.0, 0.0, 1.0)  # rounding
    return 2.0 * np.random.default_rng(seed).binomial(shots, probabilities) / shots - 1.0


class CountedCircuits:
    """Circuits with shots, on Aer with the device's noise or on the device's own backend."""

    def __init__(self, model: Model, compilation: Compilation, device: Device) -> None:
        self._shifts = Shifts.of(model)
        # Only what the model touches: Aer would simulate every qubit of a large device.
        qubits = list(range(device.qubits)) if device.direct else compilation.touched
        place = {qubit: k for k, qubit in enumerate(qubits)}
        read = [place[compilation.final_layout[q]] for q in observed_qubits(model)]
        circuit = _measured(compilation.circuit, place, read)
        order = (*model.inputs, *model.weights)
        if device.direct:
            self._expectations: _Expectations = _OnDevice(circuit, order, device.direct)
        else:
            self._expectations = _OnAer(circuit, order, device.noise_on(qubits))

    def shifted(
        self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int
    ) -> np.ndarray:
        """Return all circuits of a gradient; see `Engine.shifted`."""
        return self._run(weights + self._shifts.offsets, samples, shots, seed)

    def values(
        self, weights: np.ndarray, samples: np.ndarray, shots: Shots, seed: int
    ) -> np.ndarray:
        """Return the expectations at the weights; see `Engine.values`."""
        each = np.broadcast_to(shots, len(samples))
        found = np.empty(len(samples))
        # Aer takes one number of shots a job.
        for number, some in enumerate(np.unique(each)):
            own = seed_of(seed, number)
            found[each == some] = self._run(weights[None], samples[each == some], int(some), own)[0]
        return found

    def _run(self, weights: np.ndarray, samples: np.ndarray, shots: int, seed: int) -> np.ndarray:
        """Return expectations (rows of weights, samples)."""
        if shots < 1:
            raise UserError(
                f"shots is {shots}, expected 1 or more for engine counts; engine law can do without"
            )
        every = [np.tile(samples, (len(weights), 1)), np.repeat(weights, len(samples), axis=0)]
        found = self._expectations(np.concatenate(every, axis=1), shots, seed)
        return found.reshape(len(weights), len(samples))


#: Estimates the parity of the measured bits for each row of parameters: (rows, shots, seed).
_Expectations = Callable[[np.ndarray, int, int], np.ndarray]


class _OnAer:
    def __init__(
        self, circuit: QuantumCircuit, order: Sequence[Parameter], noise: NoiseModel
    ) -> None:
        self._circuit, self._order = circuit, order
        # Fusion costs more than it saves on so few qubits: 13 ms a circuit of 4, and 5 without.
        self._aer = AerSimulator(noise_model=noise, method="density_matrix", fusion_enable=False)
        has = {*self._aer.configuration().basis_gates, "measure"}
        if lacking := sorted({str(i.operation.name) for i in circuit.data} - has):
            raise UserError(
                f"the device has gates {', '.join(lacking)}, expected gates that Aer has too for "
                "engine counts; use engine law, or simulate: false"
            )

    def __call__(self, rows: np.ndarray, shots: int, seed: int) -> np.ndarray:
        circuits, binds = self._bound(rows)
        result = self._aer.run(
            circuits, parameter_binds=binds, shots=shots, seed_simulator=seed % 2**31
        ).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        # Where Aer binds nothing it runs a circuit once, at angle zero: see `aer_parameters`.
        if len(result.results) != len(rows):
            raise RuntimeError(f"Aer returned {len(result.results)} results for {len(rows)} rows")
        counts = [one.data.counts for one in result.results]
        every_bit = (1 << self._circuit.num_clbits) - 1
        return parities(counts, [every_bit], shots)[:, 0]

    def _bound(
        self, rows: np.ndarray
    ) -> tuple[list[QuantumCircuit], list[dict[Parameter, list[float]]]]:
        """Return the circuit with all rows for Aer to bind, or where it cannot, one for each."""
        if aer_binds_all(self._circuit):
            values = zip(self._order, rows.T, strict=True)
            return [self._circuit], [{p: column.tolist() for p, column in values}]
        each = [dict(zip(self._order, row, strict=True)) for row in rows.tolist()]
        return [self._circuit.assign_parameters(one) for one in each], [{}] * len(each)


class _OnDevice:
    def __init__(
        self, circuit: QuantumCircuit, order: Sequence[Parameter], device: DeviceRuns
    ) -> None:
        self._circuit, self._order, self._device = circuit, order, device

    def __call__(self, rows: np.ndarray, shots: int, seed: int) -> np.ndarray:
        columns = dict(zip(self._order, rows.T, strict=True))
        runs = CircuitRuns.of(self._circuit, columns)
        (counts,) = self._device.counts([runs], shots, seed)
        return parities(counts, [(1 << self._circuit.num_clbits) - 1], shots)[:, 0]


def _measured(circuit: QuantumCircuit, place: dict[int, int], read: list[int]) -> QuantumCircuit:
    """Return the circuit on its own qubits alone, with those measured that are observed."""
    own = QuantumCircuit(QuantumRegister(len(place), "q"), ClassicalRegister(len(read), "read"))
    for instruction in circuit.data:
        qubits = [place[circuit.find_bit(q).index] for q in instruction.qubits]
        own.append(instruction.operation, qubits)
    own.measure(read, range(len(read)))
    return own
