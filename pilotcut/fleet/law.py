"""The law of a model's outcomes on a noisy device: every shifted expectation of one gradient.

A gate with its noise is a Pauli transfer matrix, and the value of a sample is the product of
two vectors: the encoded sample, which no weight moves, and the observable, taken backwards
through the ansatz (Heisenberg's picture), which no sample moves. One walk backwards carries the
observable at the weights and at every shifted weight together, so all circuits of a
parameter-shift gradient cost about as much as a few, and shots are drawn from them. The noise
is that of `Device.noise_model`, so the draws have the distribution of Aer's counts.

Owns the arithmetic; knows nothing of data sets, training or processes. It wants a model that
encodes its inputs before its first weight, with one plain parameter a gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from qiskit.circuit import Gate, Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import PTM, SuperOp

from pilotcut.backends.device import Device
from pilotcut.errors import UserError
from pilotcut.fleet.compilation import Compilation, Step
from pilotcut.fleet.shifts import Shifts
from pilotcut.training.model import Model

#: Most qubits that a model may use on a device here: a vector has 4^qubits entries.
MOST_QUBITS = 9

#: Frequencies of an expectation in the angle of a gate: 0, 1/2, …, 2.
_HARMONICS = 4


@dataclass(frozen=True)
class _Turn:
    """A step with its noise: a matrix, or one that depends on an angle.

    Parameters
    ----------
    qubits
        Axes of the state it acts on, the first is the least significant.
    harmonics
        (2·harmonics + 1, d, d): the matrix is their sum, weighted by 1, cos(kθ/2), sin(kθ/2).
    parameter
        What the angle is, None for none.
    """

    qubits: tuple[int, ...]
    harmonics: np.ndarray
    parameter: Parameter | None

    def matrix(self, angles: np.ndarray | float) -> np.ndarray:
        """Return the matrix at each angle, (*angles, d, d)."""
        if self.parameter is None:
            return self.harmonics[0]
        return self.summed(_waves(angles))

    def summed(self, waves: np.ndarray) -> np.ndarray:
        """Return the matrix for each row of waves, (*rows, d, d)."""
        flat = self.harmonics.reshape(len(self.harmonics), -1)
        return (waves @ flat).reshape(*waves.shape[:-1], *self.harmonics.shape[1:])


class Law:
    """Expectations of a model on a device, at its weights and at all that a gradient shifts.

    Parameters
    ----------
    model
        Its inputs are encoded before its first weight; one observable, a Pauli string.
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
        self._axes = _axes(compilation)
        if len(self._axes) > MOST_QUBITS:
            raise UserError(
                f"the model uses {len(self._axes)} qubits of device '{device.name}', expected at "
                f"most {MOST_QUBITS} for exact noise; use engine counts"
            )
        errors = _Errors(device)
        turns = [_turn(step, errors, self._axes) for step in compilation.steps]
        self._encoding, self._ansatz = _divided(turns, set(model.inputs))
        self._inputs = {parameter: k for k, parameter in enumerate(model.inputs)}
        self._weights = {parameter: k for k, parameter in enumerate(model.weights)}
        self._observable = _observed(model, compilation, device, self._axes)
        self._walk = [t for t in reversed(self._ansatz) if t.parameter is not None]
        self._shifts = Shifts.of(model)
        self._rows_of = [np.flatnonzero(column) for column in self._shifts.offsets.T]

    def values(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return exact expectations (samples,) for weights (weights,)."""
        return self._encoded(samples) @ self._backwards(weights, shifted=False)[0]

    def shifted(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return exact expectations (circuits, samples), in the order of `Shifts`."""
        found = self._backwards(weights, shifted=True) @ self._encoded(samples).T
        met = [self._rows_of[self._weights[turn.parameter]] for turn in self._walk]
        ordered = np.empty_like(found)
        ordered[np.concatenate([[0], *met])] = found
        return ordered

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        """Return the states of the samples after encoding, (samples, 4^qubits)."""
        zero = np.array([1.0, 0.0, 0.0, 1.0])
        n = len(self._axes)
        state = np.ones((len(samples), *(1,) * n))
        for axis in range(n):
            shape = [1] * (n + 1)
            shape[axis + 1] = 4
            state = state * zero.reshape(shape)
        for turn in self._encoding:
            angles: np.ndarray | float = 0.0
            if turn.parameter is not None:
                angles = samples[:, self._inputs[turn.parameter]]
            state = _applied(turn.matrix(angles), state, turn.qubits)
        return state.reshape(len(samples), -1)

    def _backwards(self, weights: np.ndarray, *, shifted: bool) -> np.ndarray:
        """Return the observable before the ansatz, (circuits, 4^qubits), the unshifted first."""
        rows = self._observable
        every = iter(self._waves_of_walk(weights))
        for turn in reversed(self._ansatz):
            if turn.parameter is None:
                rows = _applied(turn.harmonics[0].T, rows, turn.qubits)
                continue
            matrices = turn.summed(next(every))
            moved = _applied(matrices[0].T, rows, turn.qubits)
            if shifted:
                own = np.broadcast_to(rows[:1], (len(matrices) - 1, *rows.shape[1:]))
                turned = _applied(matrices[1:].swapaxes(-1, -2), own, turn.qubits)
                moved = np.concatenate([moved, turned])
            rows = moved
        return rows.reshape(len(rows), -1)

    def _waves_of_walk(self, weights: np.ndarray) -> list[np.ndarray]:
        """Return the waves of every free turn of the walk, at its angle and at its shifts."""
        angles = []
        for turn in self._walk:
            weight = self._weights[turn.parameter]
            shifts = self._shifts.offsets[self._rows_of[weight], weight]
            angles.append(weights[weight] + np.array([0.0, *shifts]))
        waves = _waves(np.concatenate(angles)) if angles else np.empty((0, 2 * _HARMONICS + 1))
        return np.split(waves, np.cumsum([len(some) for some in angles])[:-1])


def _waves(angles: np.ndarray | float) -> np.ndarray:
    """Return 1, cos(θ/2), sin(θ/2), cos θ, … for each angle, (*angles, 2·harmonics + 1)."""
    half = np.multiply.outer(np.asarray(angles), np.arange(1, _HARMONICS + 1) / 2)
    waves = np.stack([np.cos(half), np.sin(half)], axis=-1).reshape(*half.shape[:-1], -1)
    return np.concatenate([np.ones((*half.shape[:-1], 1)), waves], axis=-1)


def _applied(matrix: np.ndarray, rows: np.ndarray, qubits: tuple[int, ...]) -> np.ndarray:
    """Return matrices (d, d), or one for each row, applied to some axes of rows (rows, 4, …)."""
    axes = [q + 1 for q in reversed(qubits)]  # the most significant first
    last = list(range(rows.ndim - len(axes), rows.ndim))
    moved = np.moveaxis(rows, axes, last)
    flat = moved.reshape(len(rows), -1, 4 ** len(axes))
    turned = flat @ matrix.swapaxes(-1, -2)
    return np.moveaxis(turned.reshape(moved.shape), last, axes)


# -- what is prepared once -------------------------------------------------------------


def _axes(compilation: Compilation) -> dict[int, int]:
    """Return the axis of each physical qubit that the model touches."""
    touched = {q for step in compilation.steps for q in step.qubits}
    touched |= {*compilation.initial_layout, *compilation.final_layout}
    return {qubit: axis for axis, qubit in enumerate(sorted(touched))}


def _divided(turns: Sequence[_Turn], inputs: set[Parameter]) -> tuple[list[_Turn], list[_Turn]]:
    """Return the turns of the encoding, and the rest; they may be mixed on different qubits."""
    encoding: list[_Turn] = []
    ansatz: list[_Turn] = []
    taken: set[int] = set()
    for turn in turns:
        if turn.parameter in inputs and taken & {*turn.qubits}:
            raise UserError(
                f"model encodes input '{turn.parameter}' after weights on its qubit, expected all "
                f"inputs first; use engine counts"
            )
        if turn.parameter in inputs or (turn.parameter is None and not taken & {*turn.qubits}):
            encoding.append(turn)
        else:
            ansatz.append(turn)
            taken |= {*turn.qubits}
    return encoding, ansatz


def _observed(
    model: Model, compilation: Compilation, device: Device, axes: dict[int, int]
) -> np.ndarray:
    """Return the observable as it is read on the device, (1, 4, …, 4)."""
    (pauli, *more) = model.observable.to_list()
    label, coefficient = pauli
    if more or set(label) - {"I", "Z"}:
        raise UserError(
            f"observable is {model.observable.to_list()}, expected one string of I and Z"
        )
    found = np.zeros((1, *(4,) * len(axes)))
    index, scale = [0] * len(axes), float(np.real(coefficient))
    for qubit, letter in enumerate(reversed(label)):
        if letter == "Z":
            place = compilation.final_layout[qubit]
            index[axes[place]] = 3
            scale *= 1.0 - 2.0 * _readout_error(device, place)
    found[(0, *index)] = scale
    return found


def _readout_error(device: Device, qubit: int) -> float:
    about = device.target["measure"].get((qubit,))
    return float((about and about.error) or 0.0)


def _turn(step: Step, errors: _Errors, axes: dict[int, int]) -> _Turn:
    """Return a step as the sum of harmonics of its angle."""
    parameters = {p for op in step.operations for value in op.params for p in _free(value)}
    if len(parameters) > 1:
        raise UserError(
            f"gate {step.gate} of the model has parameters "
            f"{', '.join(sorted(p.name for p in parameters))}, expected one at most"
        )
    qubits = tuple(axes[q] for q in step.qubits)
    if not parameters:
        return _Turn(qubits, _matrix_of(step, errors, {})[None], None)
    (parameter,) = parameters
    points = 4 * np.pi * np.arange(2 * _HARMONICS + 1) / (2 * _HARMONICS + 1)
    matrices = np.stack([_matrix_of(step, errors, {parameter: float(p)}) for p in points])
    harmonics = np.tensordot(np.linalg.inv(_waves(points)), matrices, axes=1)
    turn = _Turn(qubits, harmonics, parameter)
    if not np.allclose(turn.matrix(1.234), _matrix_of(step, errors, {parameter: 1.234})):
        raise UserError(
            f"gate {step.gate} of the model turns faster than its parameter '{parameter.name}', "
            f"expected the plain parameter as its angle"
        )
    return turn


def _free(value: object) -> Iterator[Parameter]:
    yield from getattr(value, "parameters", ())


def _matrix_of(step: Step, errors: _Errors, bound: dict[Parameter, float]) -> np.ndarray:
    """Return the Pauli transfer matrix of a step's operations and their noise."""
    place = {qubit: k for k, qubit in enumerate(step.qubits)}
    n = len(place)
    # One row for each input, which is numbered with the first qubit as the least significant.
    reverse = (0, *range(n, 0, -1))
    rows = np.eye(4**n).reshape(-1, *(4,) * n).transpose(reverse)
    for op in step.operations:
        angles = tuple(_number(value, bound) for value in op.params)
        qubits = tuple(place[q] for q in op.qubits)
        rows = _applied(_gate_matrix(op.name, angles), rows, qubits)
        noise = errors.of(op.name, op.qubits)
        if noise is not None:
            rows = _applied(noise, rows, qubits)
    return rows.transpose(reverse).reshape(4**n, -1).T


def _number(value: object, bound: dict[Parameter, float]) -> float:
    free = list(_free(value))
    if not free:
        return float(value)  # type: ignore[arg-type]
    return float(value.bind({p: bound[p] for p in free}))  # type: ignore[attr-defined]


_PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex
)
#: Paulis on two qubits, the first the least significant, both as index and in the matrix.
_PAIRS = np.einsum("aij,bkl->abikjl", _PAULIS, _PAULIS).reshape(16, 4, 4)


@lru_cache(maxsize=4096)
def _gate_matrix(name: str, angles: tuple[float, ...]) -> np.ndarray:
    """Return Tr(P_i U P_j U†) / d, which for single gates is ten times as fast as Qiskit's."""
    unitary = _standard()[name].base_class(*angles).to_matrix()
    paulis = _PAULIS if len(unitary) == 2 else _PAIRS
    turned = unitary @ paulis @ unitary.conj().T
    return np.real(np.einsum("iab,jba->ij", paulis, turned)) / len(unitary)


@lru_cache(maxsize=1)
def _standard() -> dict[str, Gate]:
    return get_standard_gate_name_mapping()


class _Errors:
    """Pauli transfer matrices of a device's gate errors; what the target gives alike is alike."""

    def __init__(self, device: Device) -> None:
        self._device, self._errors = device, device.gate_errors
        self._matrices: dict[tuple[object, ...], np.ndarray] = {}

    def of(self, name: str, qubits: tuple[int, ...]) -> np.ndarray | None:
        """Return what happens after a gate, None if nothing does."""
        if (name, qubits) not in self._errors:
            return None
        key = self._decisive(name, qubits)
        if key not in self._matrices:
            error = SuperOp(self._errors[name, qubits])
            self._matrices[key] = np.real(PTM(error).data)
        return self._matrices[key]

    def _decisive(self, name: str, qubits: tuple[int, ...]) -> tuple[object, ...]:
        target = self._device.target
        about, times = target[name][qubits], target.qubit_properties
        qubit_times = [(times[q].t1, times[q].t2) for q in qubits] if times else []
        return (len(qubits), about.duration, about.error, *qubit_times)
