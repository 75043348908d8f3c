"""Gates of a model with their noise, as Pauli transfer matrices over the harmonics of an angle.

What a gate became on the device, basis gate by basis gate with the noise of each, is one matrix.
Where the gate has a parameter, the matrix is a sum of a few over 1, cos(θ/2), sin(θ/2), cos θ, …,
so that another angle costs no other product of matrices. Knows nothing of states and observables,
see `pilotcut.fleet.noisy_expectations`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Parameter

from pilotcut.backends.noise_model import Device
from pilotcut.errors import UserError
from pilotcut.fleet.pauli_transfer import gate_matrix, noise_matrix
from pilotcut.fleet.transpile import CompiledGate

#: Frequencies of an expectation in the angle of a gate: 0, 1/2, …, 2.
_HARMONICS = 4

#: An angle at which the harmonics of a gate are checked: any that they are not made from.
_ELSEWHERE = 1.234

#: The waves of what depends on no angle.
CONSTANT = np.ones((1, 1))


@dataclass(frozen=True)
class NoisyGate:
    """A gate of the model with its noise: a Pauli transfer matrix, or one that depends on an angle.

    Parameters
    ----------
    qubits
        Axes of the state it acts on, the first is the least significant of the matrix.
    harmonics
        (2·harmonics + 1, d, d): the matrix is their sum, weighted by 1, cos(kθ/2), sin(kθ/2).
        (1, d, d) where it depends on no angle.
    parameter
        What the angle is, None for none.
    """

    qubits: tuple[int, ...]
    harmonics: np.ndarray
    parameter: Parameter | None = None

    def at(self, waves: np.ndarray) -> np.ndarray:
        """Return the matrix for each row of waves, (rows, d, d)."""
        flat = self.harmonics.reshape(len(self.harmonics), -1)
        return (waves @ flat).reshape(len(waves), *self.harmonics.shape[1:])


def noisy_gate(step: CompiledGate, device: Device, axes: dict[int, int]) -> NoisyGate:
    """Return a gate with its noise as the sum of harmonics of its angle.

    The matrix is a trigonometric polynomial in the angle, so it is known everywhere from as many
    angles as it has coefficients; one more checks that it has no others.

    Parameters
    ----------
    step
        The gate, or SWAP, in basis gates.
    device
        Their noise.
    axes
        The axis of each physical qubit.

    Raises
    ------
    UserError
        If it has several parameters, or its matrix more harmonics than are reckoned with.
    """
    parameters = {
        p for op in step.operations for value in op.params for p in free_parameters(value)
    }
    if len(parameters) > 1:
        raise UserError(
            f"gate {step.gate} of the model has parameters "
            f"{', '.join(sorted(p.name for p in parameters))}, expected one at most"
        )
    qubits = tuple(axes[q] for q in step.qubits)
    if not parameters:
        return NoisyGate(qubits, _matrices_of(step, device, np.zeros(1)))
    (parameter,) = parameters
    # Half angles have the period 4 pi; equal steps over it keep the fit well conditioned.
    points = 4 * np.pi * np.arange(2 * _HARMONICS + 1) / (2 * _HARMONICS + 1)
    matrices = _matrices_of(step, device, np.append(points, _ELSEWHERE))
    harmonics = np.tensordot(np.linalg.inv(waves_at(points)), matrices[:-1], axes=1)
    gate = NoisyGate(qubits, harmonics, parameter)
    if not np.allclose(gate.at(waves_at(np.array([_ELSEWHERE])))[0], matrices[-1]):
        raise UserError(
            f"gate {step.gate} of the model turns faster than its parameter '{parameter.name}', "
            f"expected the plain parameter as its angle"
        )
    return gate


def free_parameters(value: object) -> Iterator[Parameter]:
    """Yield the parameters of an angle."""
    yield from getattr(value, "parameters", ())


def _matrices_of(step: CompiledGate, device: Device, angles: np.ndarray) -> np.ndarray:
    """Return the Pauli transfer matrices of a step with its noise, (1 or angles, d, d)."""
    total = np.eye(4 ** len(step.qubits))[None]
    for op in step.operations:
        wanted = (
            angles
            if any(True for value in op.params for _ in free_parameters(value))
            else angles[:1]
        )
        rows = [tuple(bound_number(value, angle) for value in op.params) for angle in wanted]
        gates = np.stack([gate_matrix(op.name, row) for row in rows])
        noisy = noise_matrix(device.gate_noise(op.name, op.qubits)) @ gates
        total = _widened(noisy, op.qubits, step.qubits) @ total
    return total


def bound_number(value: object, angle: float) -> float:
    """Return an angle of a basis gate, where that of the model's gate is known."""
    bound = {parameter: float(angle) for parameter in free_parameters(value)}
    return float(value.bind(bound) if bound else value)  # type: ignore[attr-defined, arg-type]


def waves_at(angles: np.ndarray) -> np.ndarray:
    """Return 1, cos(θ/2), sin(θ/2), cos θ, … for each angle, (*angles, 2·harmonics + 1)."""
    half = np.multiply.outer(angles, np.arange(1, _HARMONICS + 1) / 2)
    waves = np.ones((*np.shape(angles), 2 * _HARMONICS + 1))
    waves[..., 1::2], waves[..., 2::2] = np.cos(half), np.sin(half)
    return waves


def merged(gates: Sequence[NoisyGate]) -> list[NoisyGate]:
    """Return the gates, those without an angle merged into neighbours that hold their qubits."""
    found: list[NoisyGate] = []
    for gate in gates:
        while (k := _last_on(found, gate.qubits)) is not None:
            last = found[k]
            if gate.parameter is None and {*gate.qubits} <= {*last.qubits}:
                wide = _widened(gate.harmonics, gate.qubits, last.qubits)
                found[k] = NoisyGate(last.qubits, wide @ last.harmonics, last.parameter)
                break
            if last.parameter is not None or not {*last.qubits} <= {*gate.qubits}:
                found.append(gate)
                break
            wide = _widened(last.harmonics, last.qubits, gate.qubits)
            gate = NoisyGate(gate.qubits, gate.harmonics @ wide, gate.parameter)
            del found[k]
        else:
            found.append(gate)
    return found


def _last_on(gates: Sequence[NoisyGate], qubits: tuple[int, ...]) -> int | None:
    """Return the last gate that shares a qubit with some."""
    return next((k for k in reversed(range(len(gates))) if {*gates[k].qubits} & {*qubits}), None)


def _widened(matrices: np.ndarray, qubits: tuple[int, ...], onto: tuple[int, ...]) -> np.ndarray:
    """Return matrices (…, d, d) of some qubits as of those, the first the least significant."""
    if qubits == onto:
        return matrices
    if len(qubits) == 2:
        return exchanged(matrices)
    others = np.eye(4)
    return np.kron(others, matrices) if qubits[0] == onto[0] else np.kron(matrices, others)


def exchanged(matrices: np.ndarray) -> np.ndarray:
    """Return matrices (n, 16, 16) of two qubits as of these in the other order."""
    split = matrices.reshape(-1, 4, 4, 4, 4).transpose(0, 2, 1, 4, 3)
    return split.reshape(matrices.shape)
