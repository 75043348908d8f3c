"""Exact expectations of a model on a noisy device: all shifted ones of a gradient in two walks.

A gate with its noise is a Pauli transfer matrix (`pilotcut.fleet.noisy_gates`). One walk backwards
takes the observable through the ansatz (Heisenberg's picture), and at every gate also through the
gate at its shifted angles; one walk forwards takes the encoded samples through the ansatz and
meets there what the first one left. So all circuits of a parameter-shift gradient cost as much as
a few, and shots are drawn from them. The noise is that of `Device.noise_on`, so the draws have
the distribution of Aer's counts.

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
from pilotcut.fleet.model_on_device import ModelOnDevice, applied
from pilotcut.fleet.models import observed_qubits
from pilotcut.fleet.noisy_gates import CONSTANT, NoisyGate, exchanged, merged, noisy_gate, waves_at
from pilotcut.fleet.shifts import Shifts
from pilotcut.fleet.transpile import Compilation
from pilotcut.training.model import Model

#: Most qubits that a model may use on a device here: a vector has 4^qubits entries.
MOST_QUBITS = 9


@dataclass(frozen=True)
class _PlacedGate:
    """A gate of the ansatz, and how the axes of state and observable lie for it.

    Parameters
    ----------
    gate
        Its matrices are of the axes as they lie.
    order
        Of the axes as they lay before, None where they stay: those of the gate side by side.
    shape
        (axes before, d, axes behind), flattened.
    """

    gate: NoisyGate
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
        """Return the states (4^qubits, samples) after a matrix of the gate."""
        before, d, _ = self.shape
        return (matrix @ states.reshape(before, d, -1)).reshape(states.shape)

    def seen(self, matrices: np.ndarray, observable: np.ndarray) -> np.ndarray:
        """Return the observable before each of several matrices, (matrices, 4^qubits)."""
        before, d, behind = self.shape
        wide = observable.reshape(self.shape).transpose(1, 0, 2).reshape(d, -1)
        found = matrices.transpose(0, 2, 1).reshape(-1, d) @ wide
        split = found.reshape(len(matrices), d, before, behind)
        return split.transpose(0, 2, 1, 3).reshape(len(matrices), -1)


class NoisyExpectations(ModelOnDevice):
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
        super().__init__(
            model, compilation, device, MOST_QUBITS, "for exact noise; use engine damped, or counts"
        )
        gates = [noisy_gate(step, device, self._axes) for step in compilation.steps]
        encoding, ansatz = _divided(merged(gates), self._inputs.keys())
        self._separate, self._joint = _separate_first(encoding)
        self._ansatz, lie = _placed(ansatz, self._qubits)
        read = _read(model, compilation, device, self._axes)
        self._observable = reduce(np.kron, [read.get(axis, _IDENTITY) for axis in lie])
        free = [placed for placed in self._ansatz if placed.gate.parameter is not None]
        self._angles = _Angles.of([self._weights[p.gate.parameter] for p in free], self._shifts)

    def values(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return exact expectations (samples,) for weights (weights,)."""
        observable = self._observable
        for placed, waves in self._walk_back(self._angles.at(weights)):
            seen = placed.seen(placed.gate.at(waves[:1]), observable)
            observable = placed.backwards(seen[0])
        return observable @ self._encoded(samples)

    def shifted(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return exact expectations (circuits, samples), in the order of `Shifts`."""
        # Each shifted observable meets the states where it arises: 0.7 ms for 4 qubits and 16
        # samples, where carrying all of them on to the start took 2 to 4 ms.
        observable, met = self._observable, []
        for placed, waves in self._walk_back(self._angles.at(weights)):
            matrices = placed.gate.at(waves)
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

    def _walk_back(self, waves: Sequence[np.ndarray]) -> Iterator[tuple[_PlacedGate, np.ndarray]]:
        """Yield the gates of the ansatz from its end, with the waves at which each is wanted."""
        every = reversed(waves)
        for placed in reversed(self._ansatz):
            yield placed, CONSTANT if placed.gate.parameter is None else next(every)

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        """Return the states of the samples after encoding, (4^qubits, samples)."""
        waves = waves_at(samples)
        factors = [np.repeat(_ZERO[:, None], len(samples), axis=1) for _ in range(self._qubits)]
        for gate in self._separate:
            (axis,) = gate.qubits
            matrices = gate.at(self._waves_of(gate, waves))
            factors[axis] = np.einsum("bij,jb->ib", matrices, factors[axis])
        states = reduce(_beside, factors)
        flat, split = states.shape, (*(4,) * self._qubits, len(samples))
        for gate in self._joint:
            matrices = gate.at(self._waves_of(gate, waves))
            states = applied(matrices, states.reshape(split), gate.qubits).reshape(flat)
        return states

    def _waves_of(self, gate: NoisyGate, waves: np.ndarray) -> np.ndarray:
        """Return the waves of a gate's input, of those of all inputs (samples, inputs, waves)."""
        if gate.parameter is None:
            return np.broadcast_to(CONSTANT, (len(waves), 1))
        return waves[:, self._inputs[gate.parameter]]


#: |0> and the identity in I, X, Y, Z.
_ZERO = np.array([1.0, 0.0, 0.0, 1.0])
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class _Angles:
    """At which angles each free gate of the ansatz is wanted: its own, and at its shifts.

    Parameters
    ----------
    weights, shifts
        Which weight, and what is added to it, (angles,), gate after gate.
    ends
        Where the angles of each gate but the last end.
    circuits
        The circuits of `Shifts` that these are: the unshifted one, then gate after gate.
    """

    weights: np.ndarray
    shifts: np.ndarray
    ends: np.ndarray
    circuits: np.ndarray

    @classmethod
    def of(cls, weights: Sequence[int], shifts: Shifts) -> _Angles:
        """Return those of gates of these weights."""
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
        """Return for each gate the waves at its angles, (angles, 2·harmonics + 1)."""
        return np.split(waves_at(weights[self.weights] + self.shifts), self.ends)


def _beside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the product of states (d, samples) of different qubits."""
    return (one[:, None] * other[None]).reshape(-1, one.shape[-1])


# -- what is prepared once -------------------------------------------------------------


def _read(
    model: Model, compilation: Compilation, device: Device, axes: dict[int, int]
) -> dict[int, np.ndarray]:
    """Return the observable as it is read on the device, by its axes: a factor of I, X, Y, Z."""
    places = [compilation.final_layout[qubit] for qubit in observed_qubits(model)]
    found = {}
    for place in places:
        # With P(1|0) = ones and P(0|1) = zeros, Z is read as (zeros - ones) + (1 - ones - zeros) Z.
        ones, zeros = device.readout_errors(place)
        found[axes[place]] = np.array([zeros - ones, 0.0, 0.0, 1.0 - ones - zeros])
    return found


def _divided(
    gates: Sequence[NoisyGate], inputs: Collection[Parameter]
) -> tuple[list[NoisyGate], list[NoisyGate]]:
    """Return the gates of the encoding, and the rest; they may be mixed on different qubits."""
    encoding: list[NoisyGate] = []
    ansatz: list[NoisyGate] = []
    taken: set[int] = set()
    for gate in gates:
        is_free = not taken & {*gate.qubits}
        if gate.parameter in inputs and not is_free:
            raise UserError(
                f"model encodes input '{gate.parameter}' after weights on its qubit, expected all "
                f"inputs first; use engine counts"
            )
        if gate.parameter in inputs or (gate.parameter is None and is_free):
            encoding.append(gate)
        else:
            ansatz.append(gate)
            taken |= {*gate.qubits}
    return encoding, ansatz


def _separate_first(gates: Sequence[NoisyGate]) -> tuple[list[NoisyGate], list[NoisyGate]]:
    """Return the gates before their qubits meet others, and those after.

    Until then the state is a product, and a factor of it takes a gate at 4 numbers a sample in
    place of 4^qubits.
    """
    separate: list[NoisyGate] = []
    joint: list[NoisyGate] = []
    taken: set[int] = set()
    for gate in gates:
        if len(gate.qubits) == 1 and not taken & {*gate.qubits}:
            separate.append(gate)
        else:
            joint.append(gate)
            taken |= {*gate.qubits}
    return separate, joint


def _placed(gates: Sequence[NoisyGate], width: int) -> tuple[list[_PlacedGate], list[int]]:
    """Return the gates with their layouts, and the axes as they lie at the end."""
    lie, placed = list(range(width)), []
    for gate in gates:
        where = [lie.index(axis) for axis in gate.qubits]
        order = None
        if max(where) - min(where) > 1:
            least, most = gate.qubits
            after = [axis for axis in lie if axis != least]
            after.insert(after.index(most) + 1, least)
            order, lie = tuple(lie.index(axis) for axis in after), after
            where = [lie.index(axis) for axis in gate.qubits]
        # Rows and columns of a matrix run fastest over its first qubit, states over the last axis.
        harmonics = gate.harmonics
        if where == sorted(where) and len(where) == 2:
            harmonics = exchanged(harmonics)
        shape = 4 ** min(where), 4 ** len(where), 4 ** (width - 1 - max(where))
        placed.append(_PlacedGate(NoisyGate(gate.qubits, harmonics, gate.parameter), order, shape))
    return placed, lie
