"""Evaluator of tapes: results, and vector-Jacobian products, of batches of them.

Tapes of one structure are rows of one batch. What a forward pass found is kept for the backward
pass behind it, until the next forward pass. Refuses to know PennyLane's transforms and interfaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pennylane.exceptions import DeviceError, QuantumFunctionError
from pennylane.tape import QuantumScript
from qiskit.quantum_info import SparsePauliOp

from pilotcut.execution.results import Evaluation, RowEvaluations
from pilotcut.primitives.circuit_function import CircuitFunction, function_of
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.pennylane.cotangents import (
    Cotangents,
    every_cotangent,
    jacobian_of,
    slopes_of,
)
from pilotcut.primitives.pennylane.measurements import (
    TapeMeasurement,
    is_wide,
    shape_of,
    sums_of,
)
from pilotcut.primitives.pennylane.reader import Structure, TapeReader, TapeReading
from pilotcut.primitives.pennylane.sampler import TapeSampler, is_sampled

#: A tape's result: an array, or a tuple of them.
Result = Any


@dataclass(frozen=True)
class _Compiled:
    """Circuit function of a structure, and its measurements; None for those of no function."""

    function: CircuitFunction | None
    measured: tuple[TapeMeasurement | None, ...]


@dataclass(frozen=True)
class _Kept:
    """What a forward pass found."""

    slots: np.ndarray
    outputs: np.ndarray
    evaluation: Evaluation | RowEvaluations


class TapeEvaluator:
    """Evaluates tapes with an estimator.

    Parameters
    ----------
    estimator
        What cuts and runs circuits.
    reader, sampler
        What reads tapes, and answers from distributions.
    """

    def __init__(self, estimator: CutEstimator, reader: TapeReader, sampler: TapeSampler) -> None:
        self._estimator, self._reader, self._sampler = estimator, reader, sampler
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}
        self._kept: dict[tuple[Any, ...], _Kept] = {}

    def results(self, tapes: Sequence[QuantumScript], keep: bool) -> list[Result]:
        """Return the results of preprocessed tapes; with `keep` for a backward pass too."""
        self._kept = {}
        found: list[Result] = [None] * len(tapes)
        for group in _groups([self._reader.read(tape) for tape in tapes]):
            if is_sampled(group.tape):
                for number, reading in zip(group.numbers, group.readings, strict=True):
                    found[number] = self._sampler.samples(reading)
                continue
            each = [self._group_results(group, shots, keep) for shots in _shots_of(group.tape)]
            is_vector = group.tape.shots.has_partitioned_shots
            for place, number in enumerate(group.numbers):
                results = tuple(some[place] for some in each)
                found[number] = results if is_vector else results[0]
        return found

    def _group_results(self, group: _Group, shots: int | None, keep: bool) -> list[Result]:
        compiled = self._compile(group.structure, group.tape)
        outputs = np.empty((len(group.values), 0))
        if compiled.function is not None:
            keep = keep and any(r.tape.trainable_params for r in group.readings)
            outputs = self._forward(compiled.function, group, shots, keep).outputs
        return [
            self._result(compiled, reading, outputs[rows], shots)
            for reading, rows in zip(group.readings, group.rows, strict=True)
        ]

    def _forward(
        self, function: CircuitFunction, group: _Group, shots: int | None, keep: bool
    ) -> _Kept:
        slots = function.slots(group.values)
        outputs, evaluation = function.evaluate(slots, keep, shots)
        found = _Kept(slots, outputs, evaluation)
        if keep:
            self._kept[group.key] = found
        return found

    def _result(
        self, compiled: _Compiled, reading: TapeReading, outputs: np.ndarray, shots: int | None
    ) -> Result:
        found = []
        for measurement, one in zip(reading.tape.measurements, compiled.measured, strict=True):
            if one is None:
                rows = self._sampler.probabilities(reading, measurement, shots)
            else:
                rows = one.result(outputs)
            shape = shape_of(measurement)
            shape = (len(rows), *shape) if reading.is_batched else shape
            found.append(rows.reshape(shape))
        return found[0] if len(found) == 1 else tuple(found)

    # -- derivatives -------------------------------------------------------------------

    def pulled_back(
        self, tapes: Sequence[QuantumScript], cotangents: Sequence[Any]
    ) -> list[tuple[np.ndarray, ...]]:
        """Return vector-Jacobian products by each tape's trainable parameters."""
        found: list[tuple[np.ndarray, ...]] = [()] * len(tapes)
        for group in _groups([self._reader.read(tape) for tape in tapes]):
            compiled = self._compile(group.structure, group.tape)
            given = [
                Cotangents.of(cotangents[number], reading, compiled.measured)
                for number, reading in zip(group.numbers, group.readings, strict=True)
            ]
            slopes = self._slopes(compiled, group, given)
            for number, reading, one, own in zip(
                group.numbers, group.readings, given, slopes, strict=True
            ):
                found[number] = slopes_of(reading, own, one.has_axis)
        return found

    def jacobians(self, tapes: Sequence[QuantumScript]) -> list[Any]:
        """Return Jacobians, by measurement (if several), by trainable parameter (if several)."""
        if any(tape.batch_size is not None for tape in tapes):
            raise DeviceError(
                "Jacobians of broadcast parameters are not supported on pilotcut; use "
                "qml.transforms.broadcast_expand"
            )
        each = [every_cotangent(tape) for tape in tapes]
        slopes = self.pulled_back(tapes, [cotangents for cotangents, _ in each])
        return [jacobian_of(own, shapes) for own, (_, shapes) in zip(slopes, each, strict=True)]

    def _slopes(
        self, compiled: _Compiled, group: _Group, given: Sequence[Cotangents]
    ) -> list[np.ndarray]:
        """Return derivatives of each tape, (rows, k, columns), or summed over rows."""
        function = compiled.function
        if function is None or None in compiled.measured:
            raise QuantumFunctionError(
                "pilotcut has no device derivatives of probabilities of so many wires; use "
                "diff_method='parameter-shift'"
            )
        kept = self._kept.get(group.key)
        if kept is None:
            kept = self._forward(function, group, next(_shots_of(group.tape)), True)
        weights = np.concatenate(
            [
                one.of_outputs(kept.outputs[rows])
                for one, rows in zip(given, group.rows, strict=True)
            ]
        )
        wanted, summed = _wanted(group)
        known = (kept.evaluation, group.values, kept.slots)
        found = function.pull_back(*known, weights, wanted, summed)
        if len(found) < len(group.values):
            return [found]
        return [found[rows] for rows in group.rows]

    # -- compiling ---------------------------------------------------------------------

    def _compile(self, structure: Structure, tape: QuantumScript) -> _Compiled:
        if structure.key not in self._compiled:
            self._compiled[structure.key] = self._new(structure, tape)
        return self._compiled[structure.key]

    def _new(self, structure: Structure, tape: QuantumScript) -> _Compiled:
        sums: list[SparsePauliOp] = []
        measured: list[TapeMeasurement | None] = []
        for measurement in tape.measurements:
            if is_wide(measurement):
                measured.append(None)
                continue
            own = sums_of(measurement, structure.place, structure.circuit.num_qubits)
            is_variance = type(measurement).__name__ == "VarianceMP"
            columns = slice(len(sums), len(sums) + len(own))
            measured.append(TapeMeasurement(columns, is_variance, shape_of(measurement)))
            sums += own
        if not sums:
            return _Compiled(None, tuple(measured))
        function = function_of(self._estimator, structure.circuit, sums, (), structure.names)
        return _Compiled(function, tuple(measured))


@dataclass(frozen=True)
class _Group:
    """Tapes of one structure and number of shots, with their rows one behind the other."""

    numbers: list[int]
    readings: list[TapeReading]
    rows: list[slice]
    values: np.ndarray

    @property
    def tape(self) -> QuantumScript:
        return self.readings[0].tape

    @property
    def structure(self) -> Structure:
        return self.readings[0].structure

    @property
    def key(self) -> tuple[Any, ...]:
        return self.structure.key, self.tape.shots, self.values.tobytes()


def _groups(readings: Sequence[TapeReading]) -> Iterator[_Group]:
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, reading in enumerate(readings):
        key = (id(reading.structure), reading.tape.shots)
        alike.setdefault(key, []).append(number)
    for numbers in alike.values():
        own = [readings[number] for number in numbers]
        edges = np.cumsum([0, *(len(one.values) for one in own)])
        rows = [slice(*pair) for pair in pairwise(edges.tolist())]
        yield _Group(numbers, own, rows, np.concatenate([one.values for one in own]))


def _shots_of(tape: QuantumScript) -> Iterator[int | None]:
    if tape.shots:
        yield from tape.shots
    else:
        yield None


def _wanted(group: _Group) -> tuple[np.ndarray, bool]:
    """Return the columns that derivatives are wanted by, and whether sums over rows will do."""
    wanted = np.zeros(group.values.shape[1], dtype=bool)
    summed = len(group.readings) == 1
    for reading in group.readings:
        operators = len(reading.columns)
        parameters = reading.tape.get_parameters(trainable_only=False)
        for number in reading.tape.trainable_params:
            if number >= operators:
                raise DeviceError(
                    "Differentiating with respect to the input parameters of an observable is not "
                    "supported with device derivatives of pilotcut; use "
                    "diff_method='parameter-shift'"
                )
            column = reading.columns[number]
            if column is not None:
                wanted[column] = True
            elif np.ndim(parameters[number]):
                raise DeviceError(
                    "Differentiating with respect to a matrix is not supported with device "
                    "derivatives of pilotcut; give it as numbers that need no gradient"
                )
            summed = summed and not np.ndim(parameters[number])
    return wanted, summed
