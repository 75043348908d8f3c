"""The law of a model's outcomes on a noisy device: every shifted expectation of one gradient.

A gate with its noise is a Pauli transfer matrix, a step of the circuit a sum of such matrices
over the harmonics of its angle. One walk backwards takes the observable through the ansatz
(Heisenberg's picture), and at every gate also through the gate at its shifted angles; one walk
forwards takes the encoded samples through the ansatz and meets there what the first one left.
So all circuits of a parameter-shift gradient cost as much as a few, and shots are drawn from
them. The noise is that of `Device.noise_model`, so the draws have the distribution of Aer's
counts.

Owns the arithmetic; knows nothing of data sets, training or processes. It wants a model that
encodes its inputs before its first weight, with one plain parameter a gate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from qiskit.circuit import Parameter

from pilotcut.backends.noise_model import Device
from pilotcut.errors import UserError
from pilotcut.fleet.pauli_transfer import gate_matrix, noise_matrix
from pilotcut.fleet.shifts import Shifts
from pilotcut.fleet.transpile import Compilation, CompiledGate
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


@dataclass(frozen=True)
class _Placed:
    """A turn of the ansatz, and how the axes of state and observable lie for it.

    Parameters
    ----------
    turn
        Its matrices are of the axes as they lie.
    order
        Of the axes as they lay before, None where they stay: those of the turn side by side.
    shape
        (axes before, d, axes behind), flattened.
    """

    turn: _Turn
    order: tuple[int, ...] | None
    shape: tuple[int, int, int]

    def forwards(self, states: np.ndarray) -> np.ndarray:
        """Return states (4^qubits, samples) with their axes as this wants them."""
        if self.order is None:
            return states
        split = states.reshape(*(4,) * len(self.order), -1)
        return split.transpose(*self.order, len(self.order)).reshape(states.shape)

    def backwards(self, observable: np.ndarray) -> np.ndarray:
        """Return an observable (4^qubits,) with its axes as they lay before."""
        if self.order is None:
            return observable
        split = observable.reshape((4,) * len(self.order))
        return split.transpose(np.argsort(self.order)).reshape(-1)

    def turned(self, matrix: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the states (4^qubits, samples) after a matrix of the turn."""
        before, d, _ = self.shape
        return (matrix @ states.reshape(before, d, -1)).reshape(states.shape)

    def seen(self, matrices: np.ndarray, observable: np.ndarray) -> np.ndarray:
        """Return the observable before each of several matrices, (matrices, 4^qubits)."""
        before, d, behind = self.shape
        wide = observable.reshape(self.shape).transpose(1, 0, 2).reshape(d, -1)
        found = matrices.transpose(0, 2, 1).reshape(-1, d) @ wide
        split = found.reshape(len(matrices), d, before, behind)
        return split.transpose(0, 2, 1, 3).reshape(len(matrices), -1)


class NoisyExpectations:
    """Expectations of a model on a device, at its weights and at all that a gradient shifts.

    Parameters
    ----------
    model
        Its inputs are encoded before its first weight; one observable, a string of I and Z.
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
        axes = _axes(compilation)
        if len(axes) > MOST_QUBITS:
            raise UserError(
                f"the model uses {len(axes)} qubits of device '{device.name}', expected at "
                f"most {MOST_QUBITS} for exact noise; use engine counts"
            )
        self._qubits = len(axes)
        self._shifts = Shifts.of(model)
        self._inputs = {parameter: k for k, parameter in enumerate(model.inputs)}
        self._weights = {parameter: k for k, parameter in enumerate(model.weights)}
        turns = [_turn(step, device, axes) for step in compilation.steps]
        encoding, ansatz = _divided(_merged(turns), self._inputs.keys())
        self._alone, self._joint = _alone_first(encoding)
        self._ansatz, lie = _placed(ansatz, self._qubits)
        read = _read(model, compilation, device, axes)
        self._observable = reduce(np.kron, [read.get(axis, _IDENTITY) for axis in lie])
        free = [placed for placed in self._ansatz if placed.turn.parameter is not None]
        self._angles = _Angles.of([self._weights[p.turn.parameter] for p in free], self._shifts)

    def values(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return exact expectations (samples,) for weights (weights,)."""
        observable = self._observable
        for placed, waves in self._walk_back(self._angles.at(weights)):
            seen = placed.seen(placed.turn.at(waves[:1]), observable)
            observable = placed.backwards(seen[0])
        return observable @ self._encoded(samples)

    def shifted(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return exact expectations (circuits, samples), in the order of `Shifts`."""
        observable, met = self._observable, []
        for placed, waves in self._walk_back(self._angles.at(weights)):
            matrices = placed.turn.at(waves)
            seen = placed.seen(matrices, observable)
            met.append((placed, matrices[0], seen[1:]))
            observable = placed.backwards(seen[0])
        states = self._encoded(samples)
        found = [observable[None] @ states]
        for placed, matrix, seen in reversed(met):
            states = placed.forwards(states)
            found.append(seen @ states)
            states = placed.turned(matrix, states)
        ordered = np.empty((self._shifts.circuits, len(samples)))
        ordered[self._angles.circuits] = np.concatenate(found)
        return ordered

    def _walk_back(self, waves: Sequence[np.ndarray]) -> Iterator[tuple[_Placed, np.ndarray]]:
        """Yield the turns of the ansatz from its end, with the waves at which each is wanted."""
        every = reversed(waves)
        for placed in reversed(self._ansatz):
            yield placed, _CONSTANT if placed.turn.parameter is None else next(every)

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        """Return the states of the samples after encoding, (4^qubits, samples)."""
        waves = _waves(samples)
        factors = [np.repeat(_ZERO[:, None], len(samples), axis=1) for _ in range(self._qubits)]
        for turn in self._alone:
            (axis,) = turn.qubits
            matrices = turn.at(self._waves_of(turn, waves))
            factors[axis] = np.einsum("bij,jb->ib", matrices, factors[axis])
        states = reduce(_beside, factors)
        for turn in self._joint:
            matrices = turn.at(self._waves_of(turn, waves))
            states = _applied(matrices, states, turn.qubits, self._qubits)
        return states

    def _waves_of(self, turn: _Turn, waves: np.ndarray) -> np.ndarray:
        """Return the waves of a turn's input, of those of all inputs (samples, inputs, waves)."""
        if turn.parameter is None:
            return np.broadcast_to(_CONSTANT, (len(waves), 1))
        return waves[:, self._inputs[turn.parameter]]


#: The wave of what depends on no angle; |0> and the identity in I, X, Y, Z.
_CONSTANT = np.ones((1, 1))
_ZERO = np.array([1.0, 0.0, 0.0, 1.0])
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class _Angles:
    """At which angles each free turn of the ansatz is wanted: its own, and at its shifts.

    Parameters
    ----------
    weights, shifts
        Which weight, and what is added to it, (angles,), turn after turn.
    ends
        Where the angles of each turn but the last end.
    circuits
        The circuits of `Shifts` that these are: the unshifted one, then turn after turn.
    """

    weights: np.ndarray
    shifts: np.ndarray
    ends: np.ndarray
    circuits: np.ndarray

    @classmethod
    def of(cls, weights: Sequence[int], shifts: Shifts) -> _Angles:
        """Return those of turns of these weights."""
        rows = [np.flatnonzero(shifts.offsets[:, weight]) for weight in weights]
        sizes = [1 + len(some) for some in rows]
        added = [np.r_[0.0, shifts.offsets[r, w]] for r, w in zip(rows, weights, strict=True)]
        return cls(
            np.repeat(np.array(weights, dtype=int), sizes),
            np.concatenate([[], *added]),
            np.cumsum(sizes)[:-1],
            np.concatenate([[0], *rows]).astype(int),
        )

    def at(self, weights: np.ndarray) -> list[np.ndarray]:
        """Return for each turn the waves at its angles, (angles, 2·harmonics + 1)."""
        return np.split(_waves(weights[self.weights] + self.shifts), self.ends)


def _waves(angles: np.ndarray) -> np.ndarray:
    """Return 1, cos(θ/2), sin(θ/2), cos θ, … for each angle, (*angles, 2·harmonics + 1)."""
    half = np.multiply.outer(angles, np.arange(1, _HARMONICS + 1) / 2)
    waves = np.ones((*np.shape(angles), 2 * _HARMONICS + 1))
    waves[..., 1::2], waves[..., 2::2] = np.cos(half), np.sin(half)
    return waves


def _beside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the product of states (d, samples) of different qubits."""
    return (one[:, None] * other[None]).reshape(-1, one.shape[-1])


def _applied(
    matrices: np.ndarray, states: np.ndarray, qubits: tuple[int, ...], width: int
) -> np.ndarray:
    """Return states (4^width, samples) after matrices (samples, d, d) on some of their axes."""
    first, axes = list(range(len(qubits))), list(reversed(qubits))
    moved = np.moveaxis(states.reshape(*(4,) * width, -1), axes, first)
    flat = moved.reshape(matrices.shape[-1], -1, states.shape[-1])
    turned = np.einsum("bij,jrb->irb", matrices, flat).reshape(moved.shape)
    return np.moveaxis(turned, first, axes).reshape(states.shape)


# -- what is prepared once -------------------------------------------------------------


def _axes(compilation: Compilation) -> dict[int, int]:
    """Return the axis of each physical qubit that the model touches."""
    return {qubit: axis for axis, qubit in enumerate(touched(compilation))}


def touched(compilation: Compilation) -> list[int]:
    """Return the physical qubits that the model touches, in their order."""
    stepped = {q for step in compilation.steps for q in step.qubits}
    return sorted(stepped | {*compilation.initial_layout, *compilation.final_layout})


def observed_qubits(model: Model) -> list[int]:
    """Return the qubits whose parity a model's expectation is.

    Raises
    ------
    UserError
        If it is not the parity of some qubits.
    """
    strings = [string for observable in model.observables for string in observable.to_list()]
    label = strings[0][0]
    if len(strings) > 1 or set(label) - {"I", "Z"} or "Z" not in label or strings[0][1] != 1.0:
        found = ", ".join(f"{_plain(c):g} {string}" for string, c in strings)
        raise UserError(
            f"observable is {found}, expected one string of I and Z, such as {'Z' * len(label)}, "
            "with coefficient 1"
        )
    return [qubit for qubit, letter in enumerate(reversed(label)) if letter == "Z"]


def _plain(coefficient: complex) -> complex:
    return coefficient if coefficient.imag else coefficient.real


def _read(
    model: Model, compilation: Compilation, device: Device, axes: dict[int, int]
) -> dict[int, np.ndarray]:
    """Return the observable as it is read on the device, by its axes: a factor of I, X, Y, Z."""
    places = [compilation.final_layout[qubit] for qubit in observed_qubits(model)]
    found = {}
    for place in places:
        ones, zeros = device.readout_errors(place)
        found[axes[place]] = np.array([zeros - ones, 0.0, 0.0, 1.0 - ones - zeros])
    return found


def _merged(turns: Sequence[_Turn]) -> list[_Turn]:
    """Return the turns, those without an angle merged into neighbours that hold their qubits."""
    merged: list[_Turn] = []
    for turn in turns:
        while (k := _last_on(merged, turn.qubits)) is not None:
            last = merged[k]
            if turn.parameter is None and {*turn.qubits} <= {*last.qubits}:
                wide = _widened(turn.harmonics, turn.qubits, last.qubits)
                merged[k] = _Turn(last.qubits, wide @ last.harmonics, last.parameter)
                break
            if last.parameter is not None or not {*last.qubits} <= {*turn.qubits}:
                merged.append(turn)
                break
            wide = _widened(last.harmonics, last.qubits, turn.qubits)
            turn = _Turn(turn.qubits, turn.harmonics @ wide, turn.parameter)
            del merged[k]
        else:
            merged.append(turn)
    return merged


def _last_on(turns: Sequence[_Turn], qubits: tuple[int, ...]) -> int | None:
    """Return the last turn that shares a qubit with some."""
    return next((k for k in reversed(range(len(turns))) if {*turns[k].qubits} & {*qubits}), None)


def _widened(matrices: np.ndarray, qubits: tuple[int, ...], onto: tuple[int, ...]) -> np.ndarray:
    """Return matrices (…, d, d) of some qubits as of those, the first the least significant."""
    if qubits == onto:
        return matrices
    if len(qubits) == 2:
        return _exchanged(matrices)
    others = np.eye(4)
    return np.kron(others, matrices) if qubits[0] == onto[0] else np.kron(matrices, others)


def _exchanged(matrices: np.ndarray) -> np.ndarray:
    """Return matrices (n, 16, 16) of two qubits as of these in the other order."""
    split = matrices.reshape(-1, 4, 4, 4, 4).transpose(0, 2, 1, 4, 3)
    return split.reshape(matrices.shape)


def _divided(
    turns: Sequence[_Turn], inputs: Collection[Parameter]
) -> tuple[list[_Turn], list[_Turn]]:
    """Return the turns of the encoding, and the rest; they may be mixed on different qubits."""
    encoding: list[_Turn] = []
    ansatz: list[_Turn] = []
    taken: set[int] = set()
    for turn in turns:
        is_free = not taken & {*turn.qubits}
        if turn.parameter in inputs and not is_free:
            raise UserError(
                f"model encodes input '{turn.parameter}' after weights on its qubit, expected all "
                f"inputs first; use engine counts"
            )
        if turn.parameter in inputs or (turn.parameter is None and is_free):
            encoding.append(turn)
        else:
            ansatz.append(turn)
            taken |= {*turn.qubits}
    return encoding, ansatz


def _alone_first(turns: Sequence[_Turn]) -> tuple[list[_Turn], list[_Turn]]:
    """Return the turns of qubits that are alone until then, and those after they are joined."""
    alone: list[_Turn] = []
    joint: list[_Turn] = []
    taken: set[int] = set()
    for turn in turns:
        if len(turn.qubits) == 1 and not taken & {*turn.qubits}:
            alone.append(turn)
        else:
            joint.append(turn)
            taken |= {*turn.qubits}
    return alone, joint


def _placed(turns: Sequence[_Turn], width: int) -> tuple[list[_Placed], list[int]]:
    """Return the turns with their layouts, and the axes as they lie at the end."""
    lie, placed = list(range(width)), []
    for turn in turns:
        where = [lie.index(axis) for axis in turn.qubits]
        order = None
        if max(where) - min(where) > 1:
            least, most = turn.qubits
            after = [axis for axis in lie if axis != least]
            after.insert(after.index(most) + 1, least)
            order, lie = tuple(lie.index(axis) for axis in after), after
            where = [lie.index(axis) for axis in turn.qubits]
        # Rows and columns of a matrix run fastest over its first qubit, states over the last axis.
        harmonics = turn.harmonics
        if where == sorted(where) and len(where) == 2:
            harmonics = _exchanged(harmonics)
        shape = 4 ** min(where), 4 ** len(where), 4 ** (width - 1 - max(where))
        placed.append(_Placed(_Turn(turn.qubits, harmonics, turn.parameter), order, shape))
    return placed, lie


def _turn(step: CompiledGate, device: Device, axes: dict[int, int]) -> _Turn:
    """Return a step as the sum of harmonics of its angle."""
    parameters = {p for op in step.operations for value in op.params for p in _free(value)}
    if len(parameters) > 1:
        raise UserError(
            f"gate {step.gate} of the model has parameters "
            f"{', '.join(sorted(p.name for p in parameters))}, expected one at most"
        )
    qubits = tuple(axes[q] for q in step.qubits)
    if not parameters:
        return _Turn(qubits, _matrices_of(step, device, np.zeros(1)))
    (parameter,) = parameters
    points = 4 * np.pi * np.arange(2 * _HARMONICS + 1) / (2 * _HARMONICS + 1)
    matrices = _matrices_of(step, device, np.append(points, _ELSEWHERE))
    harmonics = np.tensordot(np.linalg.inv(_waves(points)), matrices[:-1], axes=1)
    turn = _Turn(qubits, harmonics, parameter)
    if not np.allclose(turn.at(_waves(np.array([_ELSEWHERE])))[0], matrices[-1]):
        raise UserError(
            f"gate {step.gate} of the model turns faster than its parameter '{parameter.name}', "
            f"expected the plain parameter as its angle"
        )
    return turn


#: An angle at which the harmonics of a gate are checked: any that they are not made from.
_ELSEWHERE = 1.234


def _free(value: object) -> Iterator[Parameter]:
    yield from getattr(value, "parameters", ())


def _matrices_of(step: CompiledGate, device: Device, angles: np.ndarray) -> np.ndarray:
    """Return the Pauli transfer matrices of a step with its noise, (1 or angles, d, d)."""
    total = np.eye(4 ** len(step.qubits))[None]
    for op in step.operations:
        wanted = angles if any(True for value in op.params for _ in _free(value)) else angles[:1]
        rows = [tuple(_number(value, angle) for value in op.params) for angle in wanted]
        gates = np.stack([gate_matrix(op.name, row) for row in rows])
        noisy = noise_matrix(device.gate_noise(op.name, op.qubits)) @ gates
        total = _widened(noisy, op.qubits, step.qubits) @ total
    return total


def _number(value: object, angle: float) -> float:
    """Return an angle of a basis gate, where that of the model's gate is known."""
    bound = {parameter: float(angle) for parameter in _free(value)}
    return float(value.bind(bound) if bound else value)  # type: ignore[attr-defined, arg-type]
