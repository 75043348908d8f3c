"""Approximate expectations of a large model on a noisy device: a state vector that is damped.

Exact noise takes 4^qubits numbers a sample (`pilotcut.fleet.noisy_expectations`). Here gates and
the turns that they make too far are unitary, as they are; all random errors together are one
depolarisation of the whole state, as if every error reached the observable. Slopes come from one
walk back (adjoint differentiation, arXiv:2009.02823). What a gradient's shifted circuits have is
made up so that the slope is right: the value, and as much above and below it as the slope is. So
shots scatter about as they would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from qiskit.circuit import Parameter

from pilotcut.backends.noise_model import Device
from pilotcut.errors import UserError
from pilotcut.fleet.gate_translation import STANDARD_GATES
from pilotcut.fleet.model_on_device import ModelOnDevice, applied
from pilotcut.fleet.models import observed_qubits
from pilotcut.fleet.noisy_gates import bound_number, free_parameters
from pilotcut.fleet.pauli_transfer import noise_matrix
from pilotcut.fleet.transpile import Compilation, CompiledGate
from pilotcut.training.model import Model

#: Most qubits that a model may use on a device here.
MOST_QUBITS = 16

#: Frequencies of a unitary in the angle of the model's gate, in quarters: crx has rz of half of it.
_QUARTERS = np.arange(-2, 3)


@dataclass(frozen=True)
class _Step:
    """A gate of the model in gates of the device, as one unitary.

    Parameters
    ----------
    axes
        Of the state, the first is the least significant of the matrix.
    harmonics
        (5, d, d): the matrix is their sum, weighted by exp(i k θ / 4), k from -2 to 2.
    parameter
        What the angle is, None for none.
    """

    axes: tuple[int, ...]
    harmonics: np.ndarray
    parameter: Parameter | None

    def at(self, angles: np.ndarray) -> np.ndarray:
        """Return the matrix at angles, (*angles, d, d)."""
        waves = np.exp(0.25j * np.multiply.outer(angles, _QUARTERS))
        return np.tensordot(waves, self.harmonics, axes=1)

    def slope(self, angle: float) -> np.ndarray:
        """Return the matrix's derivative by the angle, (d, d)."""
        waves = 0.25j * _QUARTERS * np.exp(0.25j * angle * _QUARTERS)
        return np.tensordot(waves, self.harmonics, axes=1)


class DampedExpectations(ModelOnDevice):
    """Expectations of a model on a device, and slopes in the form of a gradient's circuits.

    Parameters
    ----------
    model
        Its inputs are encoded before its first weight on their qubits, each by a gate of one qubit.
    compilation
        The model's circuit on the device.
    device
        The device.

    Raises
    ------
    UserError
        If the model or the number of qubits is not such as this wants.
    """

    def __init__(self, model: Model, compilation: Compilation, device: Device) -> None:
        super().__init__(
            model, compilation, device, MOST_QUBITS, "for engine damped; use engine counts"
        )
        steps = compilation.steps
        self._steps = [_step(one, device, self._axes) for one in steps if one.operations]
        self._kept = math.prod(_survival(one, device) for one in steps)
        self._read = self._readout(model, compilation, device)

    def values(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return expectations (samples,) for weights (weights,)."""
        return self._seen(self._forwards(weights, samples))

    def shifted(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return expectations (circuits, samples), in the order of `Shifts`, with right slopes."""
        states = self._forwards(weights, samples)
        values, slopes = self._seen(states), self._slopes(weights, samples, states)
        rows = self._shifts.coefficients[1:]
        of = np.abs(rows).argmax(axis=1)
        signs = np.sign(rows[np.arange(len(rows)), of])
        # Of two and of four terms the sizes of the coefficients add up to 1.
        room = 1.0 - np.abs(slopes)
        middle = np.clip(values, -room, room)
        return np.concatenate([values[None], middle[of] + signs[:, None] * slopes[of]])

    def _forwards(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        states = np.zeros((2**self._qubits, len(samples)), dtype=complex)
        states[0] = 1.0
        states = states.reshape(*(2,) * self._qubits, -1)
        for step in self._steps:
            states = applied(self._matrix(step, weights, samples), states, step.axes)
        return states

    def _matrix(self, step: _Step, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return a step's matrix, (d, d); of an input one for each sample, (samples, d, d)."""
        if step.parameter is None:
            return step.at(np.zeros(()))
        if step.parameter in self._inputs:
            return step.at(samples[:, self._inputs[step.parameter]])
        return step.at(np.asarray(weights[self._weights[step.parameter]]))

    def _slopes(self, weights: np.ndarray, samples: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the derivatives of the expectations, (weights, samples)."""
        found = np.zeros((len(weights), len(samples)))
        effects = states * (self._kept * self._read[..., None])
        for step in reversed(self._steps):
            back = self._matrix(step, weights, samples).conj().swapaxes(-1, -2)
            states = applied(back, states, step.axes)
            if step.parameter in self._weights:
                number = self._weights[step.parameter]
                turned = applied(step.slope(float(weights[number])), states, step.axes)
                both = (effects.conj() * turned).reshape(-1, len(samples))
                found[number] += 2.0 * both.sum(axis=0).real
            effects = applied(back, effects, step.axes)
        return found

    def _seen(self, states: np.ndarray) -> np.ndarray:
        """Return the expectations of states, (samples,)."""
        likely = (np.abs(states) ** 2).reshape(-1, states.shape[-1])
        whole: np.ndarray = self._kept * (self._read.reshape(-1) @ likely)
        return whole + (1.0 - self._kept) * float(self._read.mean())

    def _readout(self, model: Model, compilation: Compilation, device: Device) -> np.ndarray:
        """Return the observable as it is read on the device, its diagonal, (2, 2, …)."""
        found = np.ones((2,) * self._qubits)
        for place in (compilation.final_layout[qubit] for qubit in observed_qubits(model)):
            ones, zeros = device.readout_errors(place)
            shape = [1] * self._qubits
            shape[self._axes[place]] = 2
            found = found * np.array([1.0 - 2.0 * ones, 2.0 * zeros - 1.0]).reshape(shape)
        return found


def _step(step: CompiledGate, device: Device, axes: dict[int, int]) -> _Step:
    """Return a step as a unitary, whose harmonics are fitted and checked at another angle."""
    parameters = {
        p for op in step.operations for value in op.params for p in free_parameters(value)
    }
    if len(parameters) > 1:
        raise UserError(f"gate {step.gate} of the model has several parameters, expected one")
    points = 8 * np.pi * np.arange(len(_QUARTERS)) / len(_QUARTERS)
    matrices = np.stack([_unitary(step, device, angle) for angle in points])
    waves = np.exp(0.25j * np.multiply.outer(points, _QUARTERS))
    harmonics = np.tensordot(np.linalg.inv(waves), matrices, axes=1)
    own = _Step(tuple(axes[q] for q in step.qubits), harmonics, next(iter(parameters), None))
    if not np.allclose(own.at(np.asarray(1.234)), _unitary(step, device, 1.234)):
        raise UserError(
            f"gate {step.gate} of the model turns faster than its parameter, expected the plain "
            f"parameter as its angle"
        )
    return own


def _unitary(step: CompiledGate, device: Device, angle: float) -> np.ndarray:
    total = np.eye(2 ** len(step.qubits), dtype=complex)
    for op in step.operations:
        angles = [bound_number(value, angle) for value in op.params]
        gate = STANDARD_GATES[op.name].base_class(*angles).to_matrix()
        noise = device.gate_noise(op.name, op.qubits)
        turned = noise.unitary @ gate if noise.turn else gate
        total = _widened(turned, op.qubits, step.qubits) @ total
    return total


def _widened(matrix: np.ndarray, qubits: tuple[int, ...], onto: tuple[int, ...]) -> np.ndarray:
    """Return a matrix of some qubits as of those, the first the least significant."""
    if qubits == onto:
        return matrix
    if len(qubits) == 2:
        return matrix.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
    other = np.eye(2)
    return np.kron(other, matrix) if qubits[0] == onto[0] else np.kron(matrix, other)


def _survival(step: CompiledGate, device: Device) -> float:
    """Return the mean of what is left of a Pauli string on a step's qubits after its errors."""
    kept = 1.0
    for op in step.operations:
        matrix = noise_matrix(replace(device.gate_noise(op.name, op.qubits), turn=0.0))
        kept *= (float(np.trace(matrix)) - 1.0) / (len(matrix) - 1)
    return kept
