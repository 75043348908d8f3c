"""Tapes as Qiskit circuits whose every number is a parameter, remembered by structure.

A training step sends the same tape with other numbers: it is told by names and wires, and only
its numbers are read. A tape with broadcast parameters becomes rows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pennylane.tape import QuantumScript
from pennylane.wires import Wires
from qiskit.circuit import ParameterVector, QuantumCircuit

from pilotcut.primitives.pennylane.gates import extra_of, gates_of, has_angles, is_mark
from pilotcut.primitives.pennylane.measurements import measurement_key

#: Structures that are remembered.
MOST_REMEMBERED = 128


@dataclass(frozen=True)
class Structure:
    """A tape without its numbers.

    Parameters
    ----------
    key
        Equal for tapes of one structure.
    circuit
        Its gates; the parameter of column k is called ``x[k]``.
    names
        Names of the parameters, in the order of columns.
    place
        The qubit of each wire.
    """

    key: tuple[Any, ...]
    circuit: QuantumCircuit
    names: tuple[str, ...]
    place: dict[Any, int]


@dataclass(frozen=True)
class TapeReading:
    """A tape as a structure and rows of numbers.

    Parameters
    ----------
    tape, structure
        What was read, and as what.
    values
        (rows, columns).
    is_batched
        Whether parameters are broadcast, so that results have an axis for it.
    columns
        The column of each of the operations' parameters, in the tape's order; None for those that
        are no angles: matrices and global phases.
    """

    tape: QuantumScript
    structure: Structure
    values: np.ndarray
    is_batched: bool
    columns: Sequence[int | None]


class TapeReader:
    """Reads tapes, and remembers the structures of those it has read.

    Parameters
    ----------
    wires
        The device's, which order the qubits; None for the order of each tape.
    use_all
        Whether qubits are all of the device's wires, or those alone that a tape uses.
    marks
        Whether `qml.WireCut` says where wires are cut, or nothing.
    """

    def __init__(self, wires: Wires | None, use_all: bool, marks: bool) -> None:
        self._wires, self._use_all, self._marks = wires, use_all, marks
        self._known: OrderedDict[tuple[Any, ...], Structure] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, tape: QuantumScript) -> TapeReading:
        """Return a preprocessed tape as structure and numbers."""
        numbers: list[Any] = []
        columns: list[int | None] = []
        for operator in tape.operations:
            free = has_angles(operator)
            for number in operator.data:
                columns.append(len(numbers) if free else None)
                if free:
                    numbers.append(number)
        # What `tape.batch_size` says, which asks every operator anew: a third of a light step.
        rows = [len(number) for number in numbers if np.ndim(number)]
        values = np.empty((rows[0] if rows else 1, len(numbers)))
        for column, number in enumerate(numbers):
            values[:, column] = number
        return TapeReading(tape, self._structure(tape), values, bool(rows), columns)

    def _structure(self, tape: QuantumScript) -> Structure:
        key = tuple(_key(tape))
        with self._lock:
            if key not in self._known:
                self._known[key] = self._built(tape, key)
                if len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def _built(self, tape: QuantumScript, key: tuple[Any, ...]) -> Structure:
        place = {wire: k for k, wire in enumerate(self._qubits(tape))}
        size = sum(len(o.data) for o in tape.operations if has_angles(o))
        free = ParameterVector("x", size)
        circuit = QuantumCircuit(max(1, len(place)))
        first = 0
        for operator in tape.operations:
            number = len(operator.data) if has_angles(operator) else 0
            angles = [free[k] for k in range(first, first + number)]
            first += number
            if is_mark(operator) and not self._marks:
                continue
            for gate, own in gates_of(operator, angles):
                circuit.append(gate, [place[operator.wires[k]] for k in own])
        return Structure(key, circuit, tuple(p.name for p in free), place)

    def _qubits(self, tape: QuantumScript) -> list[Any]:
        if self._wires is None:
            return list(tape.wires)
        used = set(tape.wires)
        return [wire for wire in self._wires if self._use_all or wire in used]


def _key(tape: QuantumScript) -> Iterator[Any]:
    """Yield what of a tape decides its circuit, but for the numbers."""
    for operator in tape.operations:
        yield operator.name, tuple(operator.wires), extra_of(operator)
    for measurement in tape.measurements:
        yield measurement_key(measurement)
